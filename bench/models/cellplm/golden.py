"""Golden cases of CellPLM's network: forward passes, embeddings, other company, logits."""

from collections.abc import Callable
from fnmatch import fnmatchcase

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from bench.models.cellplm import finetuning
from bench.models.cellplm.network import UNUSED, Architecture, CellPLMNetwork
from bench.models.cellplm.passes import Pass, chunks, groups, known_columns
from bench.models.golden import run
from bench.training.device import autocast
from bench.verify.case import Case
from bench.verify.tolerances import or_bf16
from bench.weights import load_into

TOLERANCES = {  # case -> kind of output -> largest error, of numbers of size one
    "cellplm_forward": {"outputs": 2e-5},
    "cellplm_embed": {"outputs": 2e-5},
    "cellplm_context": {"outputs": 2e-5},
    "cellplm_annotate": {"outputs": 2e-5, "metrics": 1e-6},
}


def network_of(case: Case) -> CellPLMNetwork:
    """Return the network with the case's weights; those that the authors never read are not in it."""
    weights, s = weights_of(case), case.settings
    sizes = Architecture.of(weights, s["n_heads"], dropout=s["dropout"], attention_dropout=s["dropout"])
    network = CellPLMNetwork(sizes)
    if "head.mlp.1.weight" in weights:
        network.classify_into(len(weights["head.mlp.1.weight"]), seed=0)
    load_into(network, weights, allow_unused=UNUSED)
    return network.to(case.backend.device).eval()


def weights_of(case: Case) -> dict[str, Tensor]:
    """Return the weights that a case borrows, less those it drops, and its own in their place."""
    own = {n.removeprefix("weights."): t for n, t in case.tensors.items() if n.startswith("weights.")}
    dropped = case.about.get("weights_drop", [])
    borrowed = {n: t for n, t in case.weights().items() if not any(fnmatchcase(n, p) for p in dropped)}
    return borrowed | own


def cells_of(case: Case, counts: Tensor | None = None, genes: Tensor | None = None) -> Pass:
    """Return counts of the case, of genes in the vocabulary's order unless it says which, as one pass."""
    counts = case["input.counts"] if counts is None else counts
    if genes is None:
        genes = case.tensors.get("input.gene_index", torch.arange(counts.shape[1]))
    return Pass(sp.csr_matrix(counts.numpy().astype(np.float32)), genes.numpy(), torch.device(case.backend.device))


def forward(case: Case) -> None:
    """Compare every stage of a pass, and embeddings of other compositions of it."""
    network, cells, n = network_of(case), cells_of(case), len(case["input.counts"])
    compare = _comparison(case)
    compare("features", cells.features(network.embedder.feat_enc.emb))
    with torch.no_grad(), autocast(cells.device, case.backend.precision):
        x = network.embedder(cells)
        compare("embedder", x)
        for number, layer in enumerate(network.encoder["layers"]):
            x = layer(x)
            compare(f"layer{number}", x)
        compare("pre_latent", network.encode(cells))
        compare("log_variance_raw", network.latent["layers"][1].hid_2sigma(network.encode(cells)))
    everything = cells_of(case, case["input.counts_all_genes"], torch.arange(case["input.counts_all_genes"].shape[1]))
    passes = {
        "latent": np.arange(n),
        "latent_permuted": case["input.permutation"].numpy(),
        "latent_each_cell_twice": np.repeat(np.arange(n), 2),
        "latent_first5": np.arange(len(case["output.latent_first5"])),
        "latent_single_cell": np.arange(1),
    }
    for name, rows in passes.items():
        compare(name, _embedded(case, network, cells, rows))
    compare("latent_all_genes", _embedded(case, network, everything, np.arange(len(everything))))


def embed(case: Case) -> None:
    """Compare embeddings as the authors extract them, with and without batches, in chunks."""
    network, compare = network_of(case), _comparison(case)
    columns, genes = known_columns(case.about["gene_names"], case.about["vocabulary"])
    cells = cells_of(case, case["input.counts"][:, columns], torch.from_numpy(genes))
    batches = np.array(case.about["batch_names"])
    for name in case.outputs(("output.",)):
        kind = name.removeprefix("output.")
        most = int(kind.rpartition("chunks_of_")[2]) if "chunks_of_" in kind else 0
        found = torch.zeros(len(cells), network.architecture.latent)
        for group in groups(batches if kind.startswith("by_batch") else None, len(cells)):
            for rows in chunks(group, most):
                found[rows] = _embedded(case, network, cells, rows)
        compare(kind, found)


def context(case: Case) -> None:
    """Compare embeddings of the same cells in other company."""
    network, cells, compare = network_of(case), cells_of(case), _comparison(case)
    n = len(case["output.latent_query_only"])
    alone = Pass(cells.counts[:n], cells.genes, cells.device, alone=True)
    compare("latent_alone_one_by_one", run(case, network.embed, alone))
    for name in case.outputs(("output.latent_",)) - {"output.latent_alone_one_by_one"}:
        kind = name.removeprefix("output.latent_")
        compare(f"latent_{kind}", _embedded(case, network, cells, case[f"input.rows_{kind}"].numpy())[:n])


def annotate(case: Case) -> None:
    """Compare logits of the same cells in three compositions of their pass, and the metrics' formulas."""
    network, cells, compare = network_of(case), cells_of(case), _comparison(case)
    rows = case["input.test_rows"].numpy()
    compare("logits_all_cells", run(case, network, cells)[rows])
    some = cells.with_counts(cells.counts[rows])
    compare("logits_test_cells_only", run(case, network, some))
    alone = Pass(some.counts, some.genes, some.device, alone=True)
    compare("logits_test_cells_one_by_one", run(case, network, alone))
    found = macro(case["input.metric_labels"].numpy(), case["input.metric_predictions"].numpy())
    case.compare("output.metrics", found, TOLERANCES[case.name]["metrics"])


def macro(labels: np.ndarray, predictions: np.ndarray) -> list[float]:
    """Return what the authors call accuracy, F1, precision and recall."""
    found = finetuning.macro(labels, predictions, int(max(labels.max(), predictions.max())) + 1)
    return [found[name] for name in ("macro_recall", "macro_f1", "macro_precision", "macro_recall")]


def _comparison(case: Case) -> Callable[[str, Tensor], None]:
    """Return a function that compares an output by its name within the case's tolerance of outputs."""
    allowed = or_bf16(case.backend, TOLERANCES[case.name]["outputs"])
    return lambda name, found: case.compare(f"output.{name}", found, allowed)


def _embedded(case: Case, network: CellPLMNetwork, cells: Pass, rows: np.ndarray) -> Tensor:
    return run(case, network.embed, cells.with_counts(cells.counts[rows]))
