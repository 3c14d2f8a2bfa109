"""Seconds and memory of models against the number of cells, measured once and kept in a file.

The cells are real ones drawn with replacement, their counts thinned so that no two are equal.  A fit has a process of
its own, which does nothing else.  The file is part of the project; ``chapters/growth.py`` makes it.  It lies among the
committed records, of which it is none.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from bench.core.errors import BenchError
from bench.core.provenance import Cost
from bench.core.workers import Lost, answers
from bench.datasets import load
from bench.models.contract import labels_of, without_labels
from bench.models.spec import create, describe
from bench.report import kept_tables

FILE = "calibration_and_cost/growth.csv"
COLUMNS = ["model", "setting", "n_train", "n_test", "values", "matrix_mb", "seconds", "memory_mb", "accuracy"]
KEPT = 0.6  # share of the counts that thinning keeps
SCORED = 4  # training cells for each that is scored
LEAST_MB = 10.0  # less memory than this a process has or has not by chance
WARM = 300  # cells of a fit before the one that is measured: imports and compiled code count for nothing


@dataclass(frozen=True)
class Measure:
    """One fit with its prediction; picklable."""

    model: str
    dataset: str
    n_train: int
    setting: str = ""  # what readers are told of the overrides
    overrides: Mapping[str, Any] = field(default_factory=dict)


def resampled(cells: AnnData, n_cells: int, seed: int = 0) -> AnnData:
    """Return cells drawn with replacement, six tenths of their counts kept by lot.

    Parameters
    ----------
    cells
        A data set of counts.
    n_cells, seed
        How many are drawn, and of the draw.
    """
    rng = np.random.default_rng(seed)
    rows = rng.choice(cells.n_obs, n_cells)
    X = cells.X[rows]
    X.data = rng.binomial(X.data.astype(np.int64), KEPT).astype(np.float32)
    X.eliminate_zeros()
    obs = cells.obs.iloc[rows][["cell_type"]].set_axis([f"cell {i}" for i in range(n_cells)])
    return AnnData(sp.csr_matrix(X), obs=obs, var=cells.var, uns=dict(cells.uns))


def measured(asked: Measure) -> dict[str, Any]:
    """Return a row of the table: what one fit and the prediction of a quarter as many cells take."""
    cells = resampled(load(asked.dataset), asked.n_train + asked.n_train // SCORED)
    train, scored = cells[: asked.n_train].copy(), cells[asked.n_train :].copy()
    del cells
    spec = describe(asked.model, dict(asked.overrides))
    create(spec).fit(train[:WARM].copy(), seed=0)
    hidden, model, before, cost = without_labels(scored), create(spec), _resident(), Cost()
    with cost:
        model.fit(train, seed=0)
        found = model.predict(hidden)
    X = train.X
    return {
        **{"model": asked.model, "setting": asked.setting, "n_train": train.n_obs, "n_test": scored.n_obs},
        **{"values": X.nnz, "matrix_mb": (X.data.nbytes + X.indices.nbytes + X.indptr.nbytes) / 1e6},
        **{"seconds": cost.seconds, "memory_mb": max(cost.peak - before, 0) / 1e6},
        "accuracy": float((found == labels_of(scored)).mean()),
    }


def alone(asked: Measure) -> dict[str, Any]:
    """Return what `measured` does in a process of its own, with all cores.

    Raises
    ------
    BenchError
        If the process dies.
    """
    with closing(answers(measured, [asked], 1)) as ended:
        _, row = next(ended)
    if isinstance(row, Lost):
        raise BenchError(f"{asked.model} on {asked.n_train:,} cells: {row}")
    return row


def growth(asked: Iterable[Measure], sizes: Iterable[int], most_s: float) -> Iterator[dict[str, Any]]:
    """Yield rows, small sizes first; a size that would take longer, as the last two tell, is left out.

    Parameters
    ----------
    asked
        What is measured, whose numbers of cells do not matter.
    sizes
        Numbers of training cells, ascending.
    most_s
        Seconds of one fit.
    """
    sizes = sorted(sizes)
    for one in asked:
        seconds: list[tuple[int, float]] = []
        for n in sizes:
            if seconds and _foreseen(seconds, n) > most_s:
                break
            row = alone(Measure(one.model, one.dataset, n, one.setting, one.overrides))
            seconds.append((n, row["seconds"]))
            yield row


def _foreseen(seconds: list[tuple[int, float]], n: int) -> float:
    """Return the seconds of n cells: as they grew last, but at least in proportion."""
    (size, last), rate = seconds[-1], 1.0
    if len(seconds) > 1:
        (earlier, first) = seconds[-2]
        rate = max(rate, np.log(last / first) / np.log(size / earlier))
    return last * (n / size) ** rate


def _resident() -> int:
    import psutil

    return psutil.Process().memory_info().rss


def write(rows: list[dict[str, Any]], dataset: str, machine: str, path: Path | None = None) -> Path:
    """Write what `kept` reads, and return the file.

    Parameters
    ----------
    rows
        Of `growth`.
    dataset, machine
        Which cells were drawn, and how busy the machine was.
    path
        Another place.
    """
    return kept_tables.write(pd.DataFrame(rows, columns=COLUMNS), {"dataset": dataset, "machine": machine}, FILE, path)


def kept(path: Path | None = None) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the table that the project keeps, or of another file that `write` wrote, and what it says of itself.

    Raises
    ------
    BenchError
        If there is no such file, or it is another one.
    """
    table, about = kept_tables.kept(FILE, path, COLUMNS, ["dataset", "machine"], holds="what models take as cells grow")
    return table.fillna({"setting": ""}), about


def slopes(table: pd.DataFrame, least: int = 3) -> pd.DataFrame:
    """Return by model and setting the exponents of seconds and memory in the number of cells, fitted in logarithms.

    Parameters
    ----------
    table
        Of `kept`.
    least
        Sizes that a fit needs; with fewer it is nan.
    """

    def exponent(part: pd.DataFrame, column: str) -> float:
        there = part[part[column] >= (LEAST_MB if column == "memory_mb" else 0)]
        if len(there) < least:
            return np.nan
        return float(np.polyfit(np.log(there["n_train"]), np.log(there[column]), 1)[0])

    rows = {
        name: {column: exponent(part, column) for column in ("seconds", "memory_mb")}
        | {"largest": part["n_train"].max()}
        for name, part in table.groupby(["model", "setting"], sort=False)
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["model", "setting"])
