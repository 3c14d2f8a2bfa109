"""What of a request can be run, on its data and on this machine: found out before anything runs."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from anndata import AnnData

from bench import weights
from bench.core.errors import BenchError, Faults, listed
from bench.datasets.splits import expand, split, subset
from bench.models.contract import Annotator
from bench.models.counts import counts_of
from bench.models.registry import MODELS
from bench.models.spec import Spec
from bench.protocol import gpus
from bench.protocol.planning import is_planning

LOOKED_AT = 100  # cells that tell what the values of all are
MOST = 1.1  # a share that is drawn this many times too large is said


def check_model(spec: Spec) -> None:
    """Raise a BenchError if a model's packages, device or file of weights are not here; nothing is fetched or made."""
    if issubclass(spec.cls, Annotator):
        spec.cls.check_installed()
    if spec.device not in ("cpu", "auto"):
        try:
            gpus.check(spec.device)
        except BenchError as error:
            raise BenchError(f"{error} A chapter takes another one with: --device auto") from error
    if spec.weights and spec.weights not in (*weights.known(), *weights.pretrained_names()):
        file = weights.resolve(spec.weights)
        if spec.name in MODELS:  # what others read is theirs
            weights.describe(file)


def check_values(spec: Spec, adata: AnnData) -> None:
    """Raise a BenchError if a model needs counts and the values of a data set do not say how they were made of some."""
    if getattr(spec.cls, "needs_counts", False):
        try:
            counts_of(adata[:LOOKED_AT])
        except BenchError as error:
            raise BenchError(f"{spec.name}: {error}") from error


def possible_splits(adata: AnnData, names: Sequence[str], faults: Faults) -> dict[str, np.ndarray]:
    """Return the splits that can be made of a data set with their training rows, each group of ``held_out:*`` by name.

    Parameters
    ----------
    adata
        As `bench.datasets.load` returns it.
    names
        As in `bench.datasets.splits.expand`.
    faults
        Takes why the others cannot.
    """
    where, found = Path(adata.uns["bench"]["name"]).name, {}
    for name in names:
        impossible = {}
        with faults.noted(where):
            for one in expand(adata, [name]):
                try:
                    found[one] = _trainable(adata, one)
                except BenchError as error:
                    impossible[one] = str(error)
        if impossible:  # the first is said, of a hundred donors too
            first, *others = impossible
            faults.add(impossible[first] + (f" Likewise: {listed(others)}." if others else ""), where)
    return found


def _trainable(adata: AnnData, name: str) -> np.ndarray:
    """Return the training rows of a split that leaves something to learn, and of what is scored."""
    sides, labels = split(adata, name), adata.obs["cell_type"].astype(str).to_numpy()
    trained, scored = (np.unique(labels[rows]) for rows in (sides.train, sides.test))
    if len(trained) < 2:
        raise BenchError(f"split={name!r} leaves cells of one type to train on, {trained[0]!r}; two are needed.")
    if not np.intersect1d(trained, scored).size:
        raise BenchError(
            f"split={name!r} scores cells of types that no training cell has, {listed(scored)}; "
            "is the batch column that of donors, studies or conditions?"
        )
    return sides.train


class Draws:
    """Which shares of the training cells of a data set can be drawn.

    Parameters
    ----------
    adata
        As `bench.datasets.load` returns it.
    how, stratified, seed
        As in `bench.datasets.splits.subset`.
    """

    def __init__(self, adata: AnnData, how: str, stratified: bool, seed: int):
        self.adata, self.how, self.stratified, self.seed = adata, how, stratified, seed
        self.name = Path(adata.uns["bench"]["name"]).name
        self.said: dict[tuple[str, int], float] = {}  # split and number of cells: the first such share

    def possible(self, fraction: float, split: str, train: np.ndarray, faults: Faults) -> bool:
        """Return whether that share of a split's training rows can be drawn; if not, ``faults`` take why."""
        with faults.noted(self.name):
            n_drawn = self._size(fraction, train)
            if n_drawn > MOST * fraction * len(train) and not is_planning():
                first = self.said.setdefault((split, n_drawn), fraction)
                again = f", the same cells as fraction {first:g}" if first != fraction else ""
                print(
                    f"{self.name}, {split}: fraction {fraction:g} of the {len(train):,} training cells is {n_drawn:,} "
                    f"({n_drawn / len(train):.1%}){again}, since every type keeps one cell at least.",
                    file=sys.stderr,
                )
            return True
        return False

    def _size(self, fraction: float, train: np.ndarray) -> int:
        if fraction == 1 or self.how != "paired":
            return len(subset(self.adata, train, fraction, self.seed, self.how, self.stratified))
        counts = self.adata.obs["cell_type"].iloc[train].value_counts()
        return sum(max(1, round(fraction * n)) for n in counts if n)  # as a paired draw has it, without drawing
