"""Single columns of `obs` and `var` in an open `.h5ad` file: what is not asked for need not be readable."""

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem


def columns(table: h5py.Group | h5py.Dataset) -> list[str]:
    """Return the names of the columns, in the file's order; the index is none of them."""
    if isinstance(table, h5py.Dataset):  # anndata before 0.7: one array of records
        return [name for name in table.dtype.names if name != _index_name(table)]
    order = [name.decode() if isinstance(name, bytes) else str(name) for name in table.attrs.get("column-order", ())]
    others = [name for name in table if name not in (*order, _index_name(table), "__categories")]
    return [name for name in order if name in table] + others


def index(table: h5py.Group | h5py.Dataset) -> pd.Index:
    """Return the names of the cells or genes, as text."""
    if isinstance(table, h5py.Dataset):
        return pd.Index(_text(table[_index_name(table)]))
    found = read_elem(table[_index_name(table)])
    return pd.Index(_text(found))


def size(table: h5py.Group | h5py.Dataset) -> int:
    """Return the number of cells or genes."""
    if isinstance(table, h5py.Dataset):
        return len(table)
    found = table[_index_name(table)]
    return len(found["codes"] if isinstance(found, h5py.Group) and "codes" in found else found)


def column(table: h5py.Group | h5py.Dataset, name: str) -> pd.Series:
    """Return one column, with its missing values."""
    if isinstance(table, h5py.Dataset):
        values = table[name]
        values = _text(values) if values.dtype.kind in "OS" else values
    elif "__categories" in table and name in table["__categories"]:  # anndata 0.7
        categories = read_elem(table["__categories"][name])
        values = pd.Categorical.from_codes(table[name][:], _text(categories))
    else:
        values = read_elem(table[name])
    return pd.Series(values, name=name)


def _index_name(table: h5py.Group | h5py.Dataset) -> str:
    if isinstance(table, h5py.Dataset):
        return next((name for name in ("index", "_index") if name in table.dtype.names), table.dtype.names[0])
    name = table.attrs.get("_index", "index" if "index" in table else "_index")
    return name.decode() if isinstance(name, bytes) else str(name)


def _text(values) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in np.asarray(values, dtype=object)]
