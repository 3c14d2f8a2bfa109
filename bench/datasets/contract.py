"""What every data set promises (`CONTRACT`), checked once on load."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from bench.core.errors import BenchError
from bench.datasets.sources import Source

VALUES = ("counts", "log1p")
ORIGINAL = "original_name"  # column of obs with the names of cells as the file has them, where it repeats some
BLOCK = 2**20  # values that are looked at together
LEFT_OUT = "neither"  # in obs["split"] of a user's file: cells of a third part, such as val
CONTRACT = {
    "X": "CSR float32, cells x genes; raw counts, or log1p values of any base where so declared",
    "var_names": "unique gene symbols",
    'obs["cell_type"]': "cell type of every cell, at least two types",
    'obs["batch"]': "optional: donor, study or condition of every cell",
    'obs["split"]': "optional: train or test, where the authors of the data fixed them",
    "obsm": "optional: vectors of cells that were asked for, float32, finite; no hash of the data set covers them",
    'var["ensembl_id"]': "optional: Ensembl identifiers without version, where a file has them beside symbols",
    'uns["bench"]["values"]': "counts or log1p; an .h5ad file without it is taken to hold counts",
    'uns["bench"]["base"], ["total"]': "of log1p values, such as e and 10000: counts are had from them where needed",
}


@dataclass(frozen=True)
class Dataset:
    """Where a data set comes from, how it is read, and how it is split."""

    name: str
    title: str
    read: Callable[[Path | None], AnnData]  # given a user's path or None; returns obs["cell_type"], X, var_names
    sources: tuple[Source, ...] = ()
    licence: str = "not stated"
    citation: str = ""  # key in chapters/references.bib
    label_origin: str = "not stated"  # how the cell types were assigned
    values: str = "counts"  # or "log1p": some published sets come already log-normalised and are used as given
    split: str = "random"  # default split, see bench.datasets.splits
    published_subset: str = "stratified"  # how the paper drew few-shot subsets here
    hard_pair: tuple[str, str] | tuple[()] = ()  # two types that are hard to tell apart
    version: int = 1  # raise when `read` changes
    least_types: int = 2  # see bench.datasets.request


def check(adata: AnnData, dataset: Dataset) -> AnnData:
    """Return the data set in canonical form, or say what breaks the contract.

    Raises
    ------
    BenchError
        Naming the column, the value and the remedy.
    """
    where = f"Data set {dataset.name!r}"
    X = sp.csr_matrix(adata.X, dtype=np.float32)
    X.sum_duplicates()
    X.eliminate_zeros()
    _check_values(X.data, dataset.values, where)
    _check_genes(adata.var_names, where)
    obs = pd.DataFrame(index=_unique_cells(adata.obs_names))
    if adata.obs_names.has_duplicates:
        obs[ORIGINAL] = adata.obs_names.astype(str)
    if dataset.least_types:
        obs["cell_type"] = _labels(adata.obs, where, dataset.least_types)
    if "batch" in adata.obs:
        if adata.obs["batch"].isna().any():
            raise BenchError(f"{where}: obs['batch'] has missing values; fill them, or load without batch=.")
        obs["batch"] = pd.Categorical(adata.obs["batch"].astype(str))
    if "split" in adata.obs:
        third = [LEFT_OUT] if (adata.obs["split"] == LEFT_OUT).any() else []
        obs["split"] = pd.Categorical(adata.obs["split"], categories=["train", "test", *third])
        if obs["split"].isna().any():
            raise BenchError(f"{where}: obs['split'] must be 'train' or 'test' for every cell.")
    var = pd.DataFrame(index=adata.var_names.astype(str))
    if "ensembl_id" in adata.var:
        var["ensembl_id"] = adata.var["ensembl_id"].to_numpy(object)
    checked = AnnData(X, obs=obs, var=var)
    checked.uns["bench"] = {"name": dataset.name, "values": dataset.values, "hash": content_hash(checked)}
    about = adata.uns.get("bench", {})
    checked.uns["bench"] |= {key: about[key] for key in ("layer", "symbols", "notes", "base", "total") if key in about}
    return checked


def refusal(adata: AnnData, dataset: Dataset) -> str:
    """Return what `check` says of cells that break the contract; empty text of cells that keep it."""
    try:
        check(adata, dataset)
    except BenchError as error:
        return str(error)
    return ""


def content_hash(adata: AnnData) -> str:
    """Return 16 hex digits over values, gene names, cell names, labels, batches and split."""
    digest = sha256()
    for array in _arrays(adata.X):
        digest.update(np.ascontiguousarray(array))
    columns = (adata.obs[column] for column in sorted(set(adata.obs) - {ORIGINAL}))
    for names in (adata.var_names, adata.obs_names, *columns):
        digest.update("\n".join(map(str, names)).encode() + b"\0")
    return digest.hexdigest()[:16]


def _arrays(X: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return X.indptr.astype(np.int64), X.indices.astype(np.int32, copy=False), X.data


def _check_values(values: np.ndarray, declared: str, where: str) -> None:
    if declared not in VALUES:
        raise BenchError(f"{where}: values={declared!r} is not one of {', '.join(VALUES)}.")
    if not values.size:
        raise BenchError(f"{where}: X has no value other than zero; load a matrix of counts or log values.")
    parts = [values[start : start + BLOCK] for start in range(0, len(values), BLOCK)]  # masks of all take memory
    if broken := sum(int((~np.isfinite(part)).sum()) for part in parts):
        raise BenchError(f"{where}: X has {broken} NaN or infinite values; remove them.")
    if values.min() < 0:
        raise BenchError(
            f"{where}: X has negative values (smallest {values.min():g}), as scaled data have; use counts or log1p."
        )
    whole = all(bool((part == np.round(part)).all()) for part in parts)
    if declared == "counts" and not whole:
        raise BenchError(
            f"{where}: counts were declared, but X has fractions (largest value {values.max():g}). "
            "Load the raw counts; if these are log values, store adata.uns['bench'] = {'values': 'log1p'} in the file."
        )
    if declared != "counts" and (whole or values.max() > 30):
        found = "whole numbers only" if whole else f"a value of {values.max():g}"
        raise BenchError(
            f"{where}: log values were declared, but X has {found}; "
            "store adata.uns['bench'] = {'values': 'counts'} in the file, or take the log."
        )


def _check_genes(genes: pd.Index, where: str) -> None:
    if (genes.astype(str).str.strip() == "").any() or genes.isna().any():
        raise BenchError(f"{where}: some gene names in var_names are empty; drop those columns or name them.")
    if genes.has_duplicates:
        twice = genes[genes.duplicated()].unique()[:3].tolist()
        raise BenchError(
            f"{where}: var_names repeats {genes.duplicated().sum()} gene symbols, e.g. {twice}; "
            "sum or drop the repeats (adata[:, ~adata.var_names.duplicated()])."
        )
    ensembl = genes.astype(str).str.match(r"^ENS[A-Z]*G\d{11}").mean()
    if ensembl > 0.5:
        raise BenchError(
            f"{where}: var_names are Ensembl identifiers ({genes[0]!r}), expected gene symbols; "
            "set adata.var_names to the column of var that holds the symbols."
        )


def _labels(obs: pd.DataFrame, where: str, least: int) -> pd.Categorical:
    if "cell_type" not in obs:
        raise BenchError(f"{where}: obs has no column 'cell_type'; it has {', '.join(map(str, obs)) or 'none'}.")
    missing = int(obs["cell_type"].isna().sum())
    if missing:
        raise BenchError(f"{where}: {missing} cells have no label; drop them (adata[adata.obs[...].notna()]).")
    labels = pd.Categorical(obs["cell_type"].astype(str))
    if len(labels.categories) < least:
        raise BenchError(f"{where}: only one cell type, {labels.categories.tolist()}; annotation needs at least two.")
    return labels


def _unique_cells(names: pd.Index) -> list[str]:
    """Return cell names with ``-1``, ``-2`` ... appended to repeats, which pooled 10x runs have."""
    from anndata.utils import make_index_unique

    return make_index_unique(names.astype(str)).tolist()
