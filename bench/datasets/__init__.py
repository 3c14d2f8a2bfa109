"""Every data set of the book by name, and any `.h5ad` file by path, as one checked AnnData."""

from bench.datasets.contract import Dataset, check, content_hash, refusal
from bench.datasets.load import DATASETS, find, is_cached, load, reading

__all__ = ["DATASETS", "Dataset", "check", "content_hash", "find", "is_cached", "load", "reading", "refusal"]
