"""A data set or a file by name, and how it is to be read: what a user asks for, before anything is opened."""

import json
import shlex
from dataclasses import dataclass
from os.path import expanduser
from pathlib import Path

from anndata import AnnData

FILES = (".h5ad", ".h5", ".h5mu", ".loom", ".zarr", ".gz", ".zip", ".csv", ".tsv", ".txt", ".mtx", ".rds", ".h5seurat")


@dataclass(frozen=True)
class Request:
    """A key of ``DATASETS`` or the path of a file; the columns and the layer go with a file alone."""

    name: str
    label: str | None = None  # column of obs with the cell type; None: cell_type
    batch: str | None = None  # column of obs with donor, study or condition; None: without one
    layer: str | None = None  # X, raw or the name of a layer; None: X, or what is known to hold counts
    symbols: str | None = None  # column of var with the gene symbols; None: var_names, or a usual column
    drop: tuple[str, ...] = ()  # cell types left out
    least_types: int = 2  # that it must have: 1 where its cells are scored alone, 0 for cells without labels
    obsm: tuple[str, ...] = ()  # vectors of cells: keys of the file's obsm or files, see bench.datasets.vectors

    def __post_init__(self):
        object.__setattr__(self, "name", expanduser(self.name))
        object.__setattr__(self, "obsm", (self.obsm,) if isinstance(self.obsm, str) else tuple(self.obsm))

    def reading(self, adata: AnnData) -> dict[str, str]:
        """Return the columns of a record that say how the data were read, as `bench.protocol.columns` has them.

        Parameters
        ----------
        adata
            The data set as `bench.datasets.load` returns it, which knows the layer and the column that were found.
        """
        own, found = "batch" if "batch" in adata.obs else "none", adata.uns["bench"]
        return {
            "label": self.label or "cell_type",
            "batch": self.batch or own,
            "layer": str(found.get("layer", "X")),
            "symbols": str(found.get("symbols", "var_names")),
            "dropped_types": json.dumps(sorted(self.drop)),
            "query": "",
            "query_hash": "",
        }


def is_file(name: str) -> bool:
    """Return whether a name that is no key of ``DATASETS`` means a file."""
    name = str(name)
    return name.lower().endswith(FILES) or "/" in name or Path(name).exists()


def option(name: str, *values: str) -> str:
    """Return how a parameter is given on the command line, for a sentence that advises it."""
    text = json.dumps(list(values), ensure_ascii=False) if name == "drop" else values[0]
    flags = " ".join(f"--{name} {shlex.quote(value)}" for value in values)
    return f"-p {name} {shlex.quote(text)} (or {flags})"
