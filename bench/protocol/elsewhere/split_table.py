"""Which cells are trained on and which are scored, as a table that any other tool reads.

One row per cell, split, share of the training cells and seed, no comment lines: ``read.csv("splits.csv")`` in R.  The
types of scored cells are left out unless they are asked for.  It holds what is needed to score predictions later: the
data, how they were read, and the hash of their content.
"""

import gzip
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from bench.core.errors import BenchError
from bench.datasets import Request
from bench.models.contract import labels_of
from bench.models.registry import CONTROLS
from bench.protocol.labels import as_csv
from bench.protocol.planning import planning
from bench.protocol.query import is_labelled
from bench.protocol.sides import Sides, sides_of
from bench.protocol.trial import Task
from bench.protocol.trials import Grid

COLUMNS = {
    "cell": "name of the cell, as the data have it",
    "unique_cell": "only where names repeat: the name that tells cells apart",
    "role": "train or scored",
    "cell_type": "type of a training cell; empty for scored cells unless asked for",
    "split": "which split, see the page on the protocol",
    "fraction": "share of the training cells that is asked for",
    "seed": "of the draw; with all training cells nothing is drawn",
    "dataset": "name or path of the data",
    "dataset_hash": "16 hex digits over their checked content",
    "options": "how they are read: options of bench split",
    "query": "only with --query: name or path of the data whose cells are scored, in the place of a split",
    "query_hash": "likewise: 16 hex digits over their content",
}
OPTIONS = ("label", "batch", "layer", "symbols", "drop", "subset")  # that the table carries
OPTIONAL = ("unique_cell", "query", "query_hash")  # of COLUMNS
TRAIN, SCORED = "train", "scored"


@dataclass(frozen=True)
class Asked:
    """What is to be split, and how."""

    source: Request
    splits: tuple[str, ...] = ()  # none: the data set's own
    fractions: tuple[float, ...] = (1.0,)
    seeds: tuple[int, ...] = (0,)
    subset: str = "paired"
    query: str | None = None  # data whose cells are scored, in the place of a split

    def tasks(self, experiment: str = "splits", tier: str = "quick") -> list[Task]:
        """Return a trial per split, share and seed, of a control: nobody runs it, it stands for any other tool.

        Raises
        ------
        BenchError
            If any of them cannot be made; all that is wrong is said.
        """
        source = self.source
        parts = {name: getattr(source, name) for name in ("label", "batch", "layer", "symbols")}
        grid = Grid(
            experiment,
            tier,
            source.name,
            next(iter(CONTROLS)),
            fractions=list(self.fractions),
            seeds=list(self.seeds),
            drop=list(source.drop),
            split=list(self.splits) or None,
            subset=self.subset,
            query=self.query,
            **parts,
        )
        with planning():  # then what cannot be made is no note but an error
            return grid.tasks()

    @property
    def options(self) -> str:
        """How the data are read, as options of ``bench split``."""
        subset = () if self.subset == "paired" else ("--subset", self.subset)
        of_file = [(f"--{name}", value) for name in OPTIONS[:4] if (value := getattr(self.source, name))]
        return shlex.join([*sum(of_file, ()), *sum((("--drop", name) for name in self.source.drop), ()), *subset])


def table_of(tasks: Iterable[Task], asked: Asked, *, with_truth: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the table of the trials of what was asked for, see ``COLUMNS``, and how many cells each of them has.

    Training cells come before scored ones, whose types are left out unless asked for.  Where every type keeps one cell,
    more cells are trained on than the share that is asked for: ``of`` says of how many.
    """
    parts, sizes = [], []
    for task in tasks:
        sides, drawn = sides_of(task), {name: getattr(task.trial, name) for name in ("split", "fraction", "seed")}
        shared = {"dataset": asked.source.name, "dataset_hash": task.trial.dataset_hash, "options": asked.options}
        if asked.query:
            shared |= {"query": asked.query, "query_hash": task.trial.query_hash}
        parts.append(_cells(sides, with_truth).assign(**drawn, **shared))
        sizes.append(drawn | {TRAIN: sides.train.n_obs, "of": sides.n_trainable, SCORED: sides.scored.n_obs})
    found = pd.concat(parts, ignore_index=True)
    repeats = (found["unique_cell"] != found["cell"]).any()
    return found if repeats else found.drop(columns="unique_cell"), pd.DataFrame(sizes)


def check_name(path: Path) -> None:
    """Raise a BenchError if a file of that name would be no CSV."""
    if not path.is_dir() and not path.name.lower().endswith((".csv", ".csv.gz")):
        raise BenchError(f"{path.name} should end in .csv or .csv.gz: the table is written as CSV.")


def content_of(table: pd.DataFrame, path: Path) -> bytes:
    """Return the file as it is written, gzipped where its name ends so."""
    content = as_csv(table)
    return gzip.compress(content, 6, mtime=0) if path.suffix.lower() == ".gz" else content


def _cells(sides: Sides, with_truth: bool) -> pd.DataFrame:
    """Return name, role and type of the cells of a trial."""
    parts = []
    for role, cells in ((TRAIN, sides.train), (SCORED, sides.scored)):
        told = role == TRAIN or with_truth
        names = replace(sides, scored=cells).names
        types = _types(cells) if told else np.full(cells.n_obs, "")
        parts.append(pd.DataFrame({"cell": names, "unique_cell": cells.obs_names, "role": role, "cell_type": types}))
    return pd.concat(parts, ignore_index=True)


def _types(cells: AnnData) -> np.ndarray:
    """Return the types of cells, empty where nobody knows them."""
    return labels_of(cells) if is_labelled(cells) else np.full(cells.n_obs, "")
