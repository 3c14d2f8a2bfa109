"""Golden cases of what goes into CellPLM: genes, passes, variable genes, masks; and of its files' layout."""

import numpy as np
import scipy.sparse as sp
import torch

from bench.models.cellplm import variable_genes
from bench.models.cellplm.layout import SIDE, position_table, shapes
from bench.models.cellplm.network import Architecture
from bench.models.cellplm.passes import Pass, chosen, groups, hidden, known_columns, n_kept, without
from bench.verify.case import Case

TOLERANCES = {  # case -> kind of output -> largest error, of numbers of size one unless the kind says relative
    "cellplm_preprocess": {"integers": 0, "features": 2e-5},
    "cellplm_hvg": {"columns": 0, "relative": 1e-6},
    "cellplm_mask": {"masks": 0},
    "cellplm_layout": {"names": 0, "table": 1e-6},
}


def preprocess(case: Case) -> None:
    """Compare the genes that are kept, the passes, and the sums of gene vectors."""
    exact, about = TOLERANCES[case.name]["integers"], case.about
    columns, genes = known_columns(about["gene_names"], about["vocabulary"])
    case.compare("output.kept_columns", columns, exact)
    case.compare("output.gene_index", genes, exact)
    fitted = [about["gene_names"][column] for column in columns]
    later, places = known_columns(about["gene_names_after_fit"], about["vocabulary"])
    among = [number for number, column in enumerate(later) if about["gene_names_after_fit"][column] in fitted]
    case.compare("output.kept_columns_after_fit", later[among], exact)
    case.compare("output.gene_index_after_fit", places[among], exact)
    X = sp.csr_matrix(case["input.X"].numpy()[:, columns])
    labels = np.unique(about["celltype"], return_inverse=True)[1]
    trains = np.array(about["split"]) == "train"
    for number, rows in enumerate(groups(np.array(about["batch_names"]), X.shape[0])):
        found = Pass(X[rows], genes, torch.device("cpu"))
        case.compare(f"output.batch{number}.order", rows, exact)
        case.compare(f"output.batch{number}.x", found.counts.toarray(), exact)
        case.compare(f"output.batch{number}.celltype", labels[rows], exact)
        case.compare(f"output.batch{number}.train_mask", trains[rows], exact)
        features = found.features(case["weights.embedder.feat_enc.emb"])
        case.compare(f"output.batch{number}.features", features, TOLERANCES[case.name]["features"])


def hvg(case: Case) -> None:
    """Compare the criterion of variable genes, and which are chosen."""
    told, X, n = TOLERANCES[case.name], sp.csr_matrix(case["input.counts"].numpy()), case.settings["n_top_genes"]
    mean, variance, criterion = variable_genes.criterion(X)
    for name, found in {"means": mean, "variances": variance, "variances_norm": criterion}.items():
        case.compare(f"output.{name}", found, told["relative"], relative=True)
    chosen_ones = variable_genes.most_variable(X, n)
    case.compare("output.selected_columns", chosen_ones, told["columns"])
    rank = np.full(X.shape[1], -1)
    rank[variable_genes.ranked(criterion)[:n]] = np.arange(n)
    case.compare("output.rank", rank, told["columns"])
    names = [case.about["gene_names"][column] for column in chosen_ones]
    kept = chosen_ones[known_columns(names, case.about["vocabulary"])[0]]
    case.compare("output.kept_columns", kept, told["columns"])


def mask(case: Case) -> None:
    """Compare which cells stay and which counts are hidden, given the random numbers."""
    s, exact = case.settings, TOLERANCES[case.name]["masks"]
    counts, label = sp.csr_matrix(case["input.counts"].numpy().astype(np.float32)), case["input.label"].numpy()
    for kind in sorted({name.split(".")[1] for name in case.outputs(("output.",))}):
        drawn = {name: case[f"random.{kind}.{name}"].numpy() for name in ("cell_permutation", "node_permutation")}
        uniform, most = case[f"random.{kind}.uniform"].numpy(), s["max_batch_size"]
        if kind.endswith("capped"):  # the case does not say at how many
            most = len(drawn["node_permutation"])
        kept = drawn["cell_permutation"][: n_kept(counts.shape[0], s["drop_node_rate"], most)]
        rate = s["mask_feature_rate"]
        if f"random.{kind}.ratio" in case.tensors:
            rate = case[f"random.{kind}.ratio"].numpy().clip(max=s["max_ratio"])[:, None]
        hide = hidden(uniform, chosen(drawn["node_permutation"], s["mask_node_rate"])[:, None], rate)
        shown = without(counts[kept], hide[counts[kept].tocoo().coords])
        found = {"kept_cells": kept, "label": label[kept], "input_mask": hide}
        found |= {"masked_counts": shown.toarray(), "x_seq": counts[kept].toarray()}
        for name, values in found.items():
            case.compare(f"output.{kind}.{name}", values, exact)


def layout(case: Case) -> None:
    """Compare names and shapes of both published files and of what is made of them, and the table that is not used."""
    told = case.about["layouts"]
    for kind, expected in told.items():
        n_classes = expected.get("head.mlp.1.bias", [0])[0]
        found = {name: list(shape) for name, shape in shapes(_sizes(case, kind), n_classes).items()}
        wrong = {name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)}
        case.note(f"names and shapes, {kind}", float(len(wrong)), TOLERANCES[case.name]["names"])
    rows = case["input.position_table_row_numbers"]
    found = position_table(case["output.position_table_rows"].shape[1])[rows]
    error = float((found - case["output.position_table_rows"]).abs().max())
    case.note("output.position_table_rows", error, TOLERANCES[case.name]["table"], size=SIDE)  # of the angles


def _sizes(case: Case, kind: str) -> Architecture:
    s = case.settings
    sizes = {"n_genes": s["out_dim"], "dim": s["enc_hid"], "depth": s["enc_layers"], "latent": s["post_latent_dim"]}
    sizes |= {"n_clusters": s["num_clusters"], "n_batches": s["batch_num"], "n_datasets": s["dataset_num"]}
    sizes |= {"decoder": s["dec_hid"], "hidden": 2 * s["enc_hid"], "decoder_depth": s["dec_layers"] - 1}
    if kind.startswith("annotation"):
        sizes |= {"kind": "ae", "decoder": 0}
    elif kind.startswith("embedding"):
        sizes |= {"decoder": 0}
    return Architecture(**sizes | ({"kind": "gmvae"} if "GMVAE" in kind else {}))
