"""Under which conditions a number came about: cells and genes that were used, the weights file, what it has seen."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData

from bench.datasets.names import overlap
from bench.datasets.sources import sha256_of
from bench.models.registry import MODELS
from bench.models.spec import Spec
from bench.preprocess import Genes
from bench.protocol.columns import yes_no
from bench.weights.seen import seen_by


def conditions(model: Any, spec: Spec, train: AnnData, scored: AnnData) -> dict[str, Any]:
    """Return columns of a record that a fitted model and its cells tell.

    Parameters
    ----------
    model, spec
        The model, which may say its ``audit_`` and its ``genes_``, and what it was made of.
    train
        The cells that it was fitted on.
    scored
        The cells that it predicted, as it saw them.
    """
    told = {
        "weights": getattr(model, "audit_", ""),
        "weights_sha256": hash_of(spec.weights),
        "pretrained_on_scored_cells": _seen(spec, scored),
    }
    for vectors in map(train.uns["bench"].get("obsm", {}).get, spec.vectors):
        told |= {"weights": vectors["about"], "weights_sha256": vectors["sha256"]}
    return told | _genes(model, train)


def _genes(model: Any, train: AnnData) -> dict[str, float]:
    """Return how many genes the model looked for and found, and their share of the counts; nothing if it says none."""
    genes = getattr(model, "genes_", None)
    if not isinstance(genes, Genes):  # other libraries use the name for lists
        return {}
    found = {"genes_wanted": len(genes.wanted), "genes_used": len(genes.used)}
    if train.uns["bench"]["values"] != "counts":
        return found  # a sum of logarithms is no number of molecules
    used = train.X[:, train.var_names.isin(genes.used)].sum(dtype=np.float64)
    return found | {"genes_share": round(float(used / train.X.sum(dtype=np.float64)), 6)}


def _seen(spec: Spec, scored: AnnData) -> str:
    """Say whether weights have seen scored cells, as those made in this project can tell, or the user of vectors."""
    if spec.vectors:
        return spec.hyperparameters.get("seen", "unknown")
    if not spec.weights:
        return "no" if spec.name in MODELS else "unknown"  # a model from outside may carry weights of its own
    if not spec.is_pretrained:
        return "no"
    ids = seen_by(spec.weights)
    return "unknown" if ids is None else yes_no(overlap(ids, scored.uns["bench"]["name"], scored.obs_names) > 0)


def hash_of(weights: Path | str | None) -> str:
    """Return the SHA-256 of a file such as weights, an empty text without one; kept until the file changes."""
    if not weights:
        return ""
    path = Path(weights)
    return _hash(path, path.stat().st_mtime_ns, path.stat().st_size)


@lru_cache(maxsize=100)
def _hash(path: Path, _modified: int, _size: int) -> str:
    return sha256_of(path)
