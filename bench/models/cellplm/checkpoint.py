"""Check a CellPLM checkpoint, published or your own, and give its genes their symbols.

Layout: Wen et al., ICLR 2024; ``X.best.ckpt``, a torch file with ``model_state_dict``, and ``X.config.json``, whose
``gene_list`` says what the rows of the gene embedding are.  The authors' loader skips what does not fit and says
nothing; here every tensor is kept, or named with the reason why it is left out.
"""

import json
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor

from bench.core.errors import BenchError, listed
from bench.datasets.sources import fetch
from bench.models.cellplm.layout import TABLE, position_table, shapes
from bench.models.cellplm.network import UNUSED, Architecture
from bench.models.cellplm.sources import SYMBOLS
from bench.weights.files import read
from bench.weights.plain_pickle import read_dictionary

HEADS = 8  # where the configuration does not say it, as the published ones do not
SIZES = {  # of the configuration -> what the tensors have
    "enc_hid": "dim",
    "enc_layers": "depth",
    "post_latent_dim": "latent",
    "dec_hid": "decoder",
    "latent_mod": "kind",
    "batch_num": "n_batches",
    "dataset_num": "n_datasets",
}
OF_MIXTURE = {"num_clusters": "n_clusters"}


def convert(paths: list[Path], genes: list[str] | None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors that the network has, and metadata: genes by symbol and identifier, heads, what is left out.

    Parameters
    ----------
    paths
        The checkpoint and its configuration, in this order.
    genes
        None: the configuration names them.

    Raises
    ------
    BenchError
        Naming every tensor that CellPLM has and the file has not, or the other way round; if sizes contradict the
        configuration; or if the dictionary of symbols cannot be had.
    """
    if genes is not None:
        raise BenchError("--genes is not for cellplm: its genes are those of config.json, beside the checkpoint.")
    checkpoint, config = read(paths[0]), read_config(paths[1])
    heads = config.get("enc_head", HEADS)
    architecture = Architecture.of(checkpoint.tensors, heads)
    _check_sizes(paths, architecture, config)
    _check_layout(paths[0], checkpoint.tensors, architecture)
    kept = {n: t for n, t in checkpoint.tensors.items() if not any(fnmatchcase(n, p) for p in UNUSED)}
    left_out = [name for name in checkpoint.tensors if name not in kept]
    told = {key: checkpoint.metadata[key] for key in ("epoch", "ignored") if key in checkpoint.metadata}
    if left_out:
        told["left_out"] = f"{', '.join(left_out)} (the authors' code never reads them)"
    told |= {"genes": json.dumps(symbols_of(config["gene_list"])), "ensembl": json.dumps(config["gene_list"])}
    told |= {"heads": str(heads), "library": "counts", "latent": architecture.kind}
    return kept, told | {"parameters": str(sum(tensor.numel() for tensor in kept.values()))}


def read_config(path: Path) -> dict:
    """Return what a configuration says, with a gene list and sizes.

    Raises
    ------
    BenchError
        If it is no such file, or its genes are not named once each.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise BenchError(f"{path} is not JSON ({error}). Download or copy it again.") from error
    genes = found.get("gene_list") if isinstance(found, dict) else None
    if not isinstance(genes, list) or not genes or not all(isinstance(gene, str) for gene in genes):
        raise BenchError(f"{path} has no gene_list, the names of genes in the order of the embedding's rows.")
    if twice := [gene for gene, count in Counter(genes).items() if count > 1]:
        raise BenchError(f"{path} names genes more than once: {listed(twice, 5)}. Take the published configuration.")
    heads = found.get("enc_head", HEADS)
    if not isinstance(heads, int) or isinstance(heads, bool) or heads < 1:
        raise BenchError(f"{path} says enc_head={heads!r}; a whole number above 0 was expected.")
    return found


def symbols_of(identifiers: list[str]) -> list[str]:
    """Return the symbols of genes, and the Ensembl identifier of one that has none."""
    if not any(name.startswith("ENSG") for name in identifiers):
        return identifiers
    symbol = {identifier: name for name, identifier in read_dictionary(fetch(SYMBOLS)).items()}
    return [symbol.get(identifier, identifier) for identifier in identifiers]


def described(header: dict, told: dict[str, str]) -> list[str]:
    """Return lines on sizes, latent layer and genes, from the header and the metadata of a converted file."""
    lines = []
    if "embedder.feat_enc.emb" in header:
        width = header["embedder.feat_enc.emb"]["shape"][1]
        depth = len({name.split(".")[2] for name in header if name.startswith("encoder.layers.")})
        lines.append(f"{depth} layers, {told.get('heads', '?')} heads, width {width}")
    if told.get("latent") == "gmvae":
        lines.append("latent layer: a mixture, whose clusters are drawn with a seed made of the cell's own counts")
    genes = json.loads(told["genes"]) if "genes" in told else []
    named = sum(not gene.startswith("ENSG") for gene in genes)
    return [*lines, f"genes: {len(genes):,}, {named:,} of them with a symbol" if genes else "genes: it names none"]


def _check_sizes(paths: list[Path], architecture: Architecture, config: dict) -> None:
    """Compare the configuration with the tensors, as far as it says anything."""
    named = SIZES | (OF_MIXTURE if architecture.kind == "gmvae" else {})
    wrong = [
        f"{theirs}={config[theirs]!r}, the tensors have {getattr(architecture, ours)!r}"
        for theirs, ours in named.items()
        if theirs in config and config[theirs] != getattr(architecture, ours)
    ]
    if len(config["gene_list"]) != architecture.n_genes:
        wrong.append(f"{len(config['gene_list']):,} genes, the tensors have {architecture.n_genes:,}")
    if wrong:
        raise BenchError(
            f"{paths[0].name} and {paths[1].name} are not of one model: the configuration says {'; '.join(wrong)}. "
            "Take both from one place; each checkpoint has a configuration of the same name."
        )


def _check_layout(path: Path, tensors: dict[str, Tensor], architecture: Architecture) -> None:
    expected = shapes(architecture)
    lacking = [n for n in expected if n not in tensors and not any(fnmatchcase(n, p) for p in UNUSED)]
    extra = [name for name in tensors if name not in expected]
    wrong = [
        f"{name}: {tuple(tensors[name].shape)}, expected {shape}"
        for name, shape in expected.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    wrong += [f"{name}: {tensor.dtype}" for name, tensor in tensors.items() if not tensor.is_floating_point()]
    said = [
        f"Not in it, and would stay random: {listed(lacking)}." if lacking else "",
        f"Not of CellPLM: {listed(extra)}." if extra else "",
        f"Of another shape or type: {listed(wrong)}." if wrong else "",
    ]
    if any(said):
        raise BenchError(
            f"{path} is not a checkpoint of CellPLM. {' '.join(filter(None, said))} Give a checkpoint of its "
            "pretraining; nothing is loaded in part."
        )
    table = tensors.get(TABLE)
    if table is not None and not torch.allclose(table.float(), position_table(architecture.dim), atol=1e-3):
        raise BenchError(
            f"{path} has another {TABLE} than the fixed table, which the network leaves out: these weights were "
            "trained with positions, and CellPLM's authors publish no code that reads them."
        )
