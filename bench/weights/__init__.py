"""Pretrained weights: fetched, checked, converted once to safetensors, and loaded so that nothing is dropped unseen."""

from bench.core.lazy import first_touched

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
__getattr__ = first_touched(__name__, _HOMES)
