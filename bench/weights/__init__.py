"""Pretrained weights: fetched, checked, converted once to safetensors, and loaded so that nothing is dropped unseen."""

from importlib import import_module

from bench.weights.card import describe, identity
from bench.weights.checkpoints import of_model, own
from bench.weights.sources import known, pretrained_names, published, resolve

_WITH_TORCH = {
    "Checkpoint": "bench.weights.files",
    "read": "bench.weights.files",
    "save": "bench.weights.files",
    "Audit": "bench.weights.loading",
    "load_into": "bench.weights.loading",
}

__all__ = [
    "Audit",
    "Checkpoint",
    "describe",
    "identity",
    "known",
    "load_into",
    "of_model",
    "own",
    "pretrained_names",
    "published",
    "read",
    "resolve",
    "save",
]


def __getattr__(name: str):
    """Import torch only for who touches tensors; names and identities must not cost seconds."""
    if name not in _WITH_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WITH_TORCH[name]), name)
