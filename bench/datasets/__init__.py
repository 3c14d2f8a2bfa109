"""Every data set of the book by name, and any `.h5ad` file by path, as one checked AnnData."""

from bench.datasets.contract import Dataset, check, content_hash, refusal
from bench.datasets.load import DATASETS, described, find, is_cached, load, loaded
from bench.datasets.request import Request

__all__ = [
    "DATASETS",
    "Dataset",
    "Request",
    "check",
    "content_hash",
    "described",
    "find",
    "is_cached",
    "load",
    "loaded",
    "refusal",
]
