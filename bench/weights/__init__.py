"""Pretrained weights: fetched, checked, converted once to safetensors, and loaded so that nothing is dropped unseen."""

from importlib import import_module

_HOMES = {
    "Audit": "loading",
    "Checkpoint": "files",
    "describe": "card",
    "identity": "card",
    "identity_of": "sources",
    "known": "sources",
    "load_into": "loading",
    "named_genes": "vocabulary",
    "of_model": "checkpoints",
    "own": "checkpoints",
    "pretrained_names": "sources",
    "published": "sources",
    "read": "files",
    "resolve": "sources",
    "save": "files",
}

__all__ = [*_HOMES]


def __getattr__(name: str):
    """Import torch only for who touches tensors, and anndata only for who touches genes: each costs seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
