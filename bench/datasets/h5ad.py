"""Any `.h5ad` file of a user as a data set, with the label and batch columns that the user names.

Licence: the user's. Known deviations: the file's ``obs["split"]`` is used when it has both ``train`` and ``test``,
otherwise it is ignored; log values must be declared in the file, ``adata.uns["bench"] = {"values": "log1p"}``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import pandas as pd
from anndata import AnnData, read_h5ad

from bench.core.errors import BenchError, unknown
from bench.datasets.contract import Dataset
from bench.datasets.request import Request

LABEL = "cell_type"  # the column unless another one is named


@dataclass(frozen=True)
class _Reader:
    """Read the file as it is asked for; equal by value, so that reading can be cached."""

    asked: Request

    @property
    def file(self) -> Path:
        """The file that is asked for."""
        return Path(self.asked.name)

    def __call__(self, path: Path | None = None) -> AnnData:
        adata = read_file(path or self.file)
        if adata.X is None:
            raise BenchError(f"{self.file} has no X; store the counts there (adata.X = adata.layers[...]).")
        obs = pd.DataFrame({"cell_type": adata.obs[self.asked.label or LABEL]})
        if self.asked.batch:
            obs["batch"] = adata.obs[self.asked.batch]
        if _fixes_split(adata.obs):
            obs["split"] = adata.obs["split"]
        return AnnData(adata.X, obs=obs, var=pd.DataFrame(index=adata.var_names))


def user_dataset(asked: Request) -> Dataset:
    """Return the description of a user's file; only its tables are read here, not its matrix.

    Parameters
    ----------
    asked
        An `.h5ad` file, X dense, CSR or CSC, and how it is to be read.

    Raises
    ------
    BenchError
        If the file is missing, broken or not `.h5ad`, or has no such column.
    """
    path = Path(asked.name)
    head = read_file(path, backed="r")
    for kind, column in (("label column", asked.label or LABEL), ("batch column", asked.batch)):
        if column is not None and column not in head.obs:
            raise unknown(f"{kind} of {path}", column, head.obs.columns)
    declared = head.uns.get("bench")
    values = str(declared.get("values", "counts")) if isinstance(declared, Mapping) else "counts"
    split = "authors" if _fixes_split(head.obs) else "random"
    head.file.close()
    return Dataset(
        name=str(path),
        title=path.stem,
        read=_Reader(asked),
        licence="the user's",
        values=values,
        split=split,
    )


def read_file(path: Path, backed: str | None = None) -> AnnData:
    """Return the content of an `.h5ad` file, or say why it cannot be read."""
    if not path.is_file():
        near = [file.name for file in path.parent.glob("*.h5ad")] if path.parent.is_dir() else []
        raise unknown(f"file in {path.parent}", path.name, near)
    if not h5py.is_hdf5(path):
        raise BenchError(f"{path} is not an .h5ad (HDF5) file: it begins with {path.open('rb').read(16)!r}.")
    try:
        adata = read_h5ad(path, backed=backed)
    except Exception as error:  # h5py and anndata raise many kinds for the same two causes
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise BenchError(
            f"{path} ({path.stat().st_size:,} bytes) cannot be read: {reason}. "
            "It is cut short or not written by anndata: copy or download it again, or write it with adata.write_h5ad."
        ) from error
    if not adata.n_obs or not adata.n_vars:
        raise BenchError(f"{path} holds {adata.n_obs} cells and {adata.n_vars} genes; it was not written by anndata.")
    return adata


def _fixes_split(obs: pd.DataFrame) -> bool:
    return "split" in obs and {"train", "test"} <= set(obs["split"].astype(str))
