"""A data set or a file by name, and how it is to be read: what a user asks for, before anything is opened."""

import json
from dataclasses import dataclass

from anndata import AnnData


@dataclass(frozen=True)
class Request:
    """A key of ``DATASETS`` or the path of a file; the columns and the layer go with a file alone."""

    name: str
    label: str | None = None  # column of obs with the cell type; None: cell_type
    batch: str | None = None  # column of obs with donor, study or condition; None: without one
    layer: str | None = None  # "raw" or the name of a layer; None: X
    symbols: str | None = None  # column of var with the gene symbols; None: var_names
    drop: tuple[str, ...] = ()  # cell types left out

    def reading(self, adata: AnnData) -> dict[str, str]:
        """Return the columns of a record that say how the data were read, as `bench.protocol.columns` has them.

        Parameters
        ----------
        adata
            The data set as `bench.datasets.load` returns it.
        """
        own = "batch" if "batch" in adata.obs else "none"
        return {
            "label": self.label or "cell_type",
            "batch": self.batch or own,
            "layer": self.layer or "X",
            "symbols": self.symbols or "var_names",
            "dropped_types": json.dumps(sorted(self.drop)),
            "query": "",
            "query_hash": "",
        }
