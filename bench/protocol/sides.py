"""Which cells a trial trains on and which it scores: parts of one data set, or a reference and its query."""

from dataclasses import dataclass, field

import numpy as np
from anndata import AnnData

from bench.core.errors import BenchError
from bench.datasets import described, loaded
from bench.datasets.contract import ORIGINAL
from bench.datasets.splits import split, subset
from bench.models.contract import labels_of
from bench.protocol import query, vectors
from bench.protocol.trial import Task
from bench.statistics.predictions import UNLABELLED


@dataclass(frozen=True)
class Sides:
    """Cells of one trial."""

    train: AnnData
    scored: AnnData
    n_trainable: int  # cells that all training cells would be
    measures: dict[str, float] = field(default_factory=dict)  # of a query, see bench.protocol.query

    @property
    def truth(self) -> np.ndarray:
        """Types of the scored cells, shape (n_cells,); ``UNLABELLED`` where nobody knows them."""
        if query.is_labelled(self.scored):
            return labels_of(self.scored)
        return np.full(self.scored.n_obs, UNLABELLED)

    @property
    def names(self) -> np.ndarray:
        """Names of the scored cells as their file has them, shape (n_cells,), where some of them repeat."""
        column = ORIGINAL if ORIGINAL in self.scored.obs else None
        return (self.scored.obs[column] if column else self.scored.obs_names).to_numpy(dtype=str)


def sides_of(task: Task) -> Sides:
    """Return the cells of a trial, which are not to be changed.

    Raises
    ------
    BenchError
        If the data are not those that the trial's key is of, as where a file has changed since the run began; or if
        the recipe needs types of the scored cells, and there are none.
    """
    adata, trial = loaded(task.source, silent=True), task.trial
    _check_content(task.source.name, adata.uns["bench"]["hash"], trial.dataset_hash)
    if task.query is None:
        rows = split(adata, trial.split)
        trainable, scored, measures = rows.train, adata[rows.test], {}
    else:
        trainable, found = np.arange(adata.n_obs), loaded(task.query, silent=True)
        _check_content(task.query.name, found.uns["bench"]["hash"], trial.query_hash)
        scored, measures = query.brought(found, adata), query.measures(found, adata)
        if task.spec.sees_scored_cells and not query.is_labelled(found):
            raise BenchError(
                f"Recipe {task.spec.recipe!r} chooses by the types of the scored cells, and query "
                f"{query.name_of(found)} has none; choose a recipe that does not look at scored cells."
            )
    for name in task.spec.vectors:
        both = [adata] if task.query is None else [adata, found]
        _check_content(name, vectors.hash_of(both, name), trial.weights_hash)
    stratified = described(task.source).published_subset == "stratified"
    chosen = subset(adata, trainable, trial.fraction, trial.seed, trial.subset, stratified)
    return Sides(adata[chosen], scored, len(trainable), measures)


def _check_content(name: str, found: str, expected: str) -> None:
    if found != expected:
        raise BenchError(
            f"{name} has changed since the run began: its content is {found}, expected {expected}; run it again."
        )
