"""Which cells are trained on and which are scored (`SPLITS`), and which training cells a run gets (`SUBSETS`)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from anndata import AnnData
from sklearn.model_selection import StratifiedShuffleSplit, train_test_split

from bench.core.errors import BenchError, unknown
from bench.datasets.request import option

SPLITS = {
    "random": "80 % train, 20 % scored, stratified, random_state 2022: the paper's split of Zheng68K and liver",
    "authors": "the data set's own obs['split'], train or test: multiple sclerosis, myeloid, pancreas, files with both",
    "held_out:GROUP": "every cell of one batch (donor, study or condition) is scored, all others are trained on",
    "held_out:*": "each batch held out in turn, a trial for each",
}
SUBSETS = {
    "paired": "the same cells for every model, stratified, nested: the 10 % are part of the 25 %; the default",
    "published": "as the paper drew them: without stratifying for Zheng68K and liver, stratified elsewhere",
}


_PARTS = {"split": " with train and test", "batch": ""}


@dataclass(frozen=True)
class Split:
    """Row numbers, in file order: ``train`` (n_train,) and ``test`` (n_test,), without overlap."""

    train: np.ndarray
    test: np.ndarray


def check_name(name: str) -> None:
    """Raise a BenchError unless that is a name of a split, whatever the data."""
    kind, _, group = name.partition(":")
    if kind not in ("random", "authors", "held_out") or (group and kind != "held_out"):
        raise unknown("split", name, SPLITS)
    if kind == "held_out" and not group:
        raise BenchError(f"split={name!r} lacks a group: held_out:GROUP, or held_out:* for each group in turn.")


def expand(adata: AnnData, names: Sequence[str]) -> list[str]:
    """Return names of splits with ``held_out:*`` replaced by one name per batch, in alphabetical order."""
    found = []
    for name in names:
        each = sorted(set(_column(adata, "batch", name))) if name == "held_out:*" else []
        found += [f"held_out:{group}" for group in each] or [name]
    return list(dict.fromkeys(found))


def split(adata: AnnData, name: str) -> Split:
    """Return the split of that name.

    Raises
    ------
    BenchError
        If the data set lacks the column or group, a side is empty, or a label is too rare to stratify.
    """
    kind, _, group = name.partition(":")
    if kind == "random":
        return _random(adata)
    if kind == "authors":
        sides = _column(adata, "split", name)
        return _by_mask(sides == "test", name, sides == "train")
    if kind == "held_out":
        batches = _column(adata, "batch", name)
        if group not in set(batches):
            raise unknown("group to hold out", group, set(batches))
        return _by_mask(batches == group, name)
    raise unknown("split", name, SPLITS)


def subset(adata: AnnData, train: np.ndarray, fraction: float, seed: int, how: str, stratified: bool) -> np.ndarray:
    """Return the training rows of a few-shot run.

    Rows come in file order, those of a ``published`` draw in the order drawn, which decides the cross-validation folds.

    Parameters
    ----------
    adata, train
        The data set and the training rows of its split.
    fraction
        Share of the training cells, above 0 and up to 1; 1 draws nothing.
    seed
        Of the draw.
    how
        ``paired`` or ``published``.
    stratified
        Whether the paper stratified its draws on this data set; matters for ``published`` alone.
    """
    if not 0 < fraction <= 1:
        raise BenchError(f"fraction={fraction!r} must be above 0 and at most 1; 0.1 is ten per cent of the cells.")
    if how not in SUBSETS:
        raise unknown("subset", how, SUBSETS)
    if fraction == 1:
        return train
    labels = adata.obs["cell_type"].to_numpy()[train]
    if how == "paired":
        return train[_nested(labels, fraction, seed)]
    if stratified:
        try:
            chosen = train_test_split(train, train_size=fraction, stratify=labels, random_state=seed)[0]
        except ValueError as error:
            reason = str(error).rstrip(".")
            raise BenchError(f"subset='published' cannot stratify: {reason}. Use subset='paired'.") from error
        return chosen
    size = round(fraction * len(train))
    if not size:
        raise BenchError(f"fraction={fraction!r} of {len(train)} training cells is none; choose a larger one.")
    return np.random.RandomState(seed).choice(train, size, replace=False)


def _nested(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Return positions of the first share of each label, at least one cell, in one shuffled order per seed."""
    order = np.random.default_rng(seed).permutation(len(labels))
    chosen = []
    for label in np.unique(labels):
        cells = order[labels[order] == label]
        chosen.append(cells[: max(1, round(fraction * len(cells)))])
    return np.sort(np.concatenate(chosen))


def _random(adata: AnnData) -> Split:
    labels = adata.obs["cell_type"].astype(str).to_numpy()
    splitter = StratifiedShuffleSplit(n_splits=1, test_size=0.2, random_state=2022)
    try:
        train, test = next(splitter.split(labels, labels))
    except ValueError as error:
        counts = adata.obs["cell_type"].value_counts().loc[lambda n: n > 0]
        if not (rare := sorted(map(str, counts.index[counts < 2]))):
            raise BenchError(
                f"The random split scores a fifth of the cells, stratified: {len(labels)} cells are too few for "
                f"{len(counts)} types; take a data set with at least {5 * len(counts)} cells, or coarser types."
            ) from error
        raise BenchError(
            f"The random split is stratified and needs two cells of every type; too few of {rare}: leave them out with "
            f"{option('drop', *rare)}, or use another split."
        ) from error
    return Split(np.sort(train), np.sort(test))


def _column(adata: AnnData, column: str, name: str) -> np.ndarray:
    if column not in adata.obs:
        of = str(adata.uns["bench"]["name"])
        remedy = "name the column with batch, or " if column == "batch" and of.endswith(".h5ad") else ""
        raise BenchError(
            f"split={name!r} needs obs[{column!r}]{_PARTS[column]}, which {of!r} does not have; "
            f"{remedy}use split='random'."
        )
    return adata.obs[column].astype(str).to_numpy()


def _by_mask(test: np.ndarray, name: str, train: np.ndarray | None = None) -> Split:
    train = ~test if train is None else train
    if not train.any() or not test.any():
        raise BenchError(f"split={name!r} leaves no cell on one side; choose another group.")
    return Split(np.flatnonzero(train), np.flatnonzero(test))
