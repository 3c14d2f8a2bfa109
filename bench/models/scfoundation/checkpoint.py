"""Check a checkpoint of scFoundation, published or your own, and say which of its models it is and of which sizes.

Layout: one torch file with a dictionary for each of ``cell``, ``rde`` and ``gene``, of a ``config`` in two parts and a
``state_dict`` whose names begin with ``model.``; 265 tensors each.  A file of a single model is taken as well.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.core.errors import BenchError, listed
from bench.models.scfoundation.architecture import Architecture
from bench.models.scfoundation.network import ScFoundationNetwork
from bench.models.scfoundation.vocabulary import GENE_LIST, N_GENES, published_genes
from bench.weights.files import read

PARTS = ("gene", "cell", "rde")
MODEL = "mae_autobin"
PREFIX = "model."
PUBLISHED_DIM = 768  # of the only size that was ever published
TOLD = {"bin_alpha": "bin_alpha", "mask_id": "mask_token_id", "pad_id": "pad_token_id"}  # ours -> in the configuration
BUFFERS = ("projection_matrix", "calls_since_last_redraw")


def convert(
    paths: list[Path], genes: list[str] | None, *, part: str = PARTS[0]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors without their prefix and metadata: genes, heads, what else the tensors do not tell.

    Parameters
    ----------
    paths
        The checkpoint.  The list of genes beside it saves the download of that file.
    genes
        Symbols in the order of the positions; None for the published 19,264.
    part
        Which of the models of a file that holds several.

    Raises
    ------
    BenchError
        Naming every tensor that an scFoundation has and the file has not, or the other way round, or of a wrong shape;
        if the genes are not as many as the positions, or the file does not tell what its tensors do not.
    """
    path, told = paths[0], {}

    def _pick(found: Any) -> Any:
        if not isinstance(found, Mapping) or not (set(PARTS) | {"config"}) & set(found):
            return found
        tensors, about = part_of(path, found, part)
        told.update(about)
        return tensors

    checkpoint = read(path, _pick)
    tensors = _without_prefix(checkpoint.tensors)
    architecture = architecture_of(tensors, told or _published_settings(path, tensors))
    _check(path, tensors, architecture)
    genes = _genes(path, architecture.n_genes) if genes is None else genes
    if len(genes) != architecture.n_genes:
        raise BenchError(
            f"{path} has {architecture.n_genes:,} positions of genes, but {len(genes):,} are named. Give the symbols "
            "in the order of its positions with --genes, one a line."
        )
    kept = {key: checkpoint.metadata[key] for key in ("epoch", "ignored") if key in checkpoint.metadata}
    learned = sum(t.numel() for name, t in tensors.items() if not name.endswith(BUFFERS))
    return tensors, kept | metadata_of(architecture, genes) | {"parameters": str(learned)}


def part_of(path: Path, found: Mapping, part: str) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Return the tensors of one model of a file, and what its configuration tells beside their sizes.

    Raises
    ------
    BenchError
        If the file has no such part, or the part is of another model.
    """
    if "state_dict" not in found and part not in found:
        there = [key for key in PARTS if key in found]
        raise BenchError(f"{path} has no part {part!r}; it has {listed(there)}: take one with --{there[0]}.")
    given = found if "state_dict" in found else found[part]
    config, state = (given.get(name) if isinstance(given, Mapping) else None for name in ("config", "state_dict"))
    if not isinstance(config, Mapping) or not isinstance(state, Mapping):
        raise BenchError(
            f"{path}: {part!r} should hold a config and a state_dict, both plain dictionaries; save them so."
        )
    if (kind := config.get("model", MODEL)) != MODEL:
        raise BenchError(f"{path} is of the model type {kind!r}; expected {MODEL!r}, scFoundation's.")
    flat = dict(config.get("model_config", {}).get(MODEL, config)) | dict(
        config.get("dataset_config", {}).get("rnaseq", {})
    )
    try:
        about = {ours: flat[theirs] for ours, theirs in TOLD.items()} | {"heads": flat["encoder"]["heads"]}
    except (KeyError, TypeError) as error:
        raise BenchError(
            f"{path}: the config of {part!r} does not say {error}, without which it cannot be used."
        ) from error
    return _without_prefix(state), about


def architecture_of(tensors: dict[str, Tensor], told: Mapping[str, Any], **more: float) -> Architecture:
    """Return the sizes of tensors, with what a configuration or the metadata of converted weights say beside them."""
    kinds = {"heads": int, "bin_alpha": float, "mask_id": int, "pad_id": int}
    lacking = [name for name in kinds if name not in told]
    if lacking:
        raise BenchError(f"These weights do not say their {', '.join(lacking)}; convert the original file again.")
    return Architecture.of(tensors, **{name: kind(told[name]) for name, kind in kinds.items()}, **more)


def metadata_of(architecture: Architecture, genes: list[str]) -> dict[str, str]:
    """Return what a weights file says of its tensors."""
    told = {name: str(getattr(architecture, name)) for name in ("heads", "bin_alpha", "mask_id", "pad_id")}
    return told | {"genes": json.dumps(genes), "library": "list"}


def shapes_of(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of all tensors of a network, of which none is made."""
    with torch.device("meta"):
        return {name: tuple(t.shape) for name, t in ScFoundationNetwork(architecture).state_dict().items()}


def _without_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the names that follow the prefix, where all have it."""
    if all(str(name).startswith(PREFIX) for name in tensors):
        return {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    return dict(tensors)


def _published_settings(path: Path, tensors: dict[str, Tensor]) -> dict[str, float]:
    """Return the settings of the published size, which a file without a configuration must then have."""
    table = tensors.get("token_emb.emb.weight")
    if table is not None and table.ndim == 2 and table.shape[1] != PUBLISHED_DIM:
        raise BenchError(
            f"{path} has encodings of {table.shape[1]} numbers, not the published {PUBLISHED_DIM}, and no config: it "
            "does not say its number of heads. Give the torch file with config and state_dict."
        )
    a = Architecture()
    return {name: getattr(a, name) for name in ("heads", "bin_alpha", "mask_id", "pad_id")}


def _check(path: Path, tensors: dict[str, Tensor], architecture: Architecture) -> None:
    wanted = shapes_of(architecture)
    lacking = [name for name in wanted if name not in tensors]
    extra = [name for name in tensors if name not in wanted]
    wrong = [
        f"{name}: {tuple(t.shape)}, expected {wanted[name]}"
        for name, t in tensors.items()
        if name in wanted and tuple(t.shape) != wanted[name]
    ]
    said = [
        f"Not in it: {listed(lacking)}." if lacking else "",
        f"Not of scFoundation: {listed(extra)}." if extra else "",
        f"Of another shape: {listed(wrong)}." if wrong else "",
    ]
    if any(said):
        raise BenchError(
            f"{path} is not a checkpoint of scFoundation. {' '.join(filter(None, said))} Give one of its own layout; "
            "nothing is loaded in part."
        )


def _genes(path: Path, n_genes: int) -> list[str]:
    if n_genes != N_GENES:
        raise BenchError(
            f"{path} has {n_genes:,} genes, not the published {N_GENES:,}, and does not name them: give their symbols "
            "in the order of its positions with --genes, one a line."
        )
    beside = path.with_name(GENE_LIST.name)
    return published_genes(beside if beside.is_file() else None)


def described(header: dict, told: dict[str, str]) -> list[str]:
    """Return lines on layers, heads and genes, from the header and the metadata of a converted file."""
    depth = len({name.split(".")[2] for name in header if name.startswith("encoder.transformer_encoder.")})
    lines = [f"{depth} layers of the encoder, {told.get('heads', '?')} heads"] if depth else []
    if "genes" not in told:
        return [*lines, "genes: the file does not name them"]
    n_genes = len(json.loads(told["genes"]))
    kind = "the published list" if n_genes == N_GENES else "not the published list"
    return [*lines, f"genes: {n_genes:,} ({kind}), and the tokens T and S of read depth"]
