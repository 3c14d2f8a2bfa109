"""What networks are given of one cell: by their own code, kept in a file, and counted for a picture and its text.

The file is part of the project, so that the book needs neither data nor weights; ``chapters/inputs.py`` makes it.
It lies among the committed records, of which it is none, and says above its columns what it was made of.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData

from bench.core.errors import BenchError
from bench.datasets.splits import split
from bench.models.contract import labels_of, without_labels
from bench.models.counts import counts_of
from bench.models.spec import create, describe
from bench.report import kept_tables
from bench.weights import identity, resolve
from bench.weights.vocabulary import SPECIAL

FILE = "five_models/inputs.csv"
MEASURED = ["gene", "count", "cp10k"]
TOTAL = 1e4


class Inputs(NamedTuple):
    """What models are given of one cell."""

    genes: pd.DataFrame  # a row per gene: its name, count, counts per 10,000, and what each model is given, or nan
    about: dict[str, str]  # of which cell, and what it was made with

    @property
    def models(self) -> list[str]:
        """Names of the models, which have a column each."""
        return [column for column in self.genes if column not in MEASURED]


def middle_cell(cells: AnnData, cell_type: str) -> str:
    """Return the name of a cell that is trained on: of its type the one with the median number of expressed genes."""
    trained = split(cells, "random").train
    of_type = trained[labels_of(cells[trained]) == cell_type]
    if not len(of_type):
        raise BenchError(f"No cell of {cells.uns['bench']['name']} that is trained on is of type {cell_type!r}.")
    expressed = np.asarray((cells.X[of_type] > 0).sum(axis=1)).ravel()
    ordered = sorted(zip(expressed, cells.obs_names[of_type], strict=True))
    return ordered[(len(ordered) - 1) // 2][1]


def inputs_of(cells: AnnData, name: str, overrides: Mapping[str, Mapping[str, Any]]) -> Inputs:
    """Return what the probe of each model is given of one cell.

    Parameters
    ----------
    cells, name
        A data set with counts, and the name of one of its cells.
    overrides
        By model, ``weights`` among them, as a chapter has them.
    """
    from bench.models.probe import PRETRAINED  # here, as it brings torch, which figures do without

    cell = without_labels(cells[[name]].copy())
    counts = counts_of(cell).toarray()[0]
    about = _about(cells, name, counts)
    columns = {"count": counts, "cp10k": TOTAL * counts / counts.sum()}
    table = pd.DataFrame(columns, index=pd.Index(cell.var_names.astype(str), name="gene"), dtype=float)
    for model, settings in overrides.items():
        annotator = create(describe(f"{model}@{PRETRAINED}", dict(settings)))
        annotator.begin(cell, seed=0)
        found = annotator.seen(cell).set_index("gene")["value"].astype(float).rename(model)
        table = table.join(found, how="outer")
        about[f"weights of {model}"] = _made_with(**settings)
    given = table[list(overrides)].notna().any(axis=1)
    genes = table[given | (table["count"] > 0)].rename_axis("gene").reset_index()
    return Inputs(genes, about)


def _made_with(weights: str, **settings: Any) -> str:
    others = "".join(f", {name}={value}" for name, value in settings.items())
    return f"{Path(weights).name}, identity {identity(resolve(weights))}{others}"


def _about(cells: AnnData, name: str, counts: np.ndarray) -> dict[str, str]:
    told = {"cell": name, "cell type": str(cells.obs["cell_type"][name]), "data set": cells.uns["bench"]["name"]}
    told |= {"hash of the data set": cells.uns["bench"]["hash"], "genes measured": str(len(counts))}
    return told | {"counts": f"{counts.sum():.0f}", "expressed genes": str(np.count_nonzero(counts))}


def counted(inputs: Inputs) -> pd.DataFrame:
    """Return how much of the cell each model is given: a row per model.

    Columns: ``expressed`` genes of the cell, those of them that are ``given``, ``unexpressed`` ones that are given too,
    different ``counts`` of the expressed ones that are given, and different ``values`` that all of these become.
    """
    genes, rows = inputs.genes[~_special(inputs.genes)], {}
    for model in inputs.models:
        given = genes[genes[model].notna()]
        there = given["count"] > 0
        rows[model] = {
            "expressed": int(inputs.about["expressed genes"]),
            "given": int(there.sum()),
            "unexpressed": int((~there).sum()),
            "counts": given.loc[there, "count"].nunique(),
            "values": given[model].nunique(),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def other_tokens(inputs: Inputs, model: str) -> dict[str, float]:
    """Return the values of a model's tokens that are no genes, such as T and S."""
    rows = inputs.genes[_special(inputs.genes) & inputs.genes[model].notna()]
    return dict(zip(rows["gene"].str.strip("<>"), rows[model], strict=True))


def _special(genes: pd.DataFrame) -> pd.Series:
    return genes["gene"].str.fullmatch(SPECIAL.pattern)


def write(inputs: Inputs, path: Path | None = None) -> Path:
    """Write what `kept` reads, and return the file."""
    return kept_tables.write(inputs.genes, inputs.about, FILE, path)


def kept(path: Path | None = None) -> Inputs:
    """Return what the project keeps, or another file that `write` wrote.

    Raises
    ------
    BenchError
        If there is no such file, or it is another one.
    """
    holds = "what models are given of a cell"
    return Inputs(*kept_tables.kept(FILE, path, MEASURED, ["expressed genes"], holds=holds))
