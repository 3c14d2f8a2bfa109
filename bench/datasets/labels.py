"""Labels and batches as people write them: blanks and case that differ, words for missing, types of a few cells."""

from collections.abc import Iterable, Sequence

import pandas as pd

from bench.core.errors import BenchError, listed, unknown
from bench.datasets.request import option

MISSING = {"", "nan", "none", "na", "n/a", "<na>", "null", "nat", "-"}  # text that stands for no label
DOUBTFUL = {"unassigned", "unknown", "unclassified", "undefined", "undetermined", "unlabeled", "unlabelled", "other"}
DOUBTFUL |= {"doublet", "doublets", "ambiguous", "low quality", "not assigned", "missing", "rejected", "filtered"}
FEW = 5  # cells, below which no more than one is scored


def tidied(values: pd.Series, what: str) -> tuple[pd.Series, list[str]]:
    """Return names of which those that differ in blanks or case only are one, and what was done.

    Parameters
    ----------
    values
        Names, with missing values, which stay.
    what
        What they name, for the sentence.
    """
    there = values.dropna().astype(str)
    counts = there.value_counts()
    best: dict[str, str] = {}
    for name in counts.index:  # the most frequent spelling first
        best.setdefault(key_of(name), " ".join(name.split()))
    names = {name: best[key_of(name)] for name in counts.index}
    joined = [f"{name!r} as {to!r}" for name, to in names.items() if name != to]
    kept = there.map(names).reindex(values.index)
    if not joined:
        return kept, []
    merged = len(names) - len(best)
    said = (
        f"{merged} {what} differ from others in blanks or case only and are taken as one"
        if merged
        else (f"blanks around {what} are taken off")
    )
    return kept, [f"{said}: {listed(joined, 3)}."]


def chosen(labels: pd.Series, drop: Sequence[str], column: str) -> pd.Series:
    """Return which cells are kept, bool of (n_cells,): all but those of the types left out.

    Raises
    ------
    BenchError
        If no cell is of such a type, or cells without label, also as text such as ``nan``, would be left.
    """
    there, keys = labels.notna(), labels.fillna("").map(key_of)
    out = pd.Series(False, index=labels.index)
    for name in drop:
        of_type = keys == key_of(name)
        if key_of(name) in MISSING:
            of_type |= ~there
        if not of_type.any():
            raise unknown(f"type to leave out (drop) in obs[{column!r}]", name, labels.dropna().unique())
        out |= of_type
    unlabelled = ~out & (keys.isin(MISSING) | ~there)
    if unlabelled.any():
        words = sorted({name if isinstance(name, str) else "nan" for name in labels[unlabelled]})
        raise BenchError(
            f"obs[{column!r}]: {unlabelled.sum()} cells have no label ({listed(map(repr, words))}); "
            f"leave them out with {option('drop', *drop, *words)}, or name another column of obs as label."
        )
    return ~out


def remarks(labels: pd.Series, drop: Sequence[str]) -> list[str]:
    """Return what a user should know of the cell types that are kept."""
    counts = labels.value_counts()
    found = []
    if doubtful := [name for name in counts.index if key_of(name) in DOUBTFUL]:
        said = f"{listed(map(repr, doubtful))} ({counts[doubtful].sum():,} cells) are scored as types of their own; "
        found.append(f"{said}leave them out with {option('drop', *drop, *doubtful)}.")
    if few := [f"{name} {n}" for name, n in counts.items() if n < FEW]:
        found.append(f"types with fewer than {FEW} cells, of which at most one is scored: {listed(few, 8)}.")
    return found


def remarks_on_batches(batches: pd.Series, column: str) -> list[str]:
    """Return what a user should know of the batches of the cells that are kept."""
    unnamed = batches.dropna()[lambda names: names.map(key_of).isin(MISSING)]
    if unnamed.empty:
        return []
    words = listed(map(repr, sorted(set(unnamed))))
    return [f"{len(unnamed):,} cells have {words} in obs[{column!r}], which counts as a batch of its own; fill it in."]


def check_types(labels: pd.Series, column: str, others: Iterable[str]) -> None:
    """Refuse a column of numbers or names of cells.

    Raises
    ------
    BenchError
        If most values stand for one or two cells.
    """
    n_types, n_cells = labels.nunique(), labels.notna().sum()
    if n_types > max(20, n_cells / 3):
        raise BenchError(
            f"obs[{column!r}] has {n_types:,} different values for {n_cells:,} cells, which are no cell types; name "
            f"another column with {option('label', '...')}: {listed(others)}."
        )


def key_of(name: str) -> str:
    """Return what two spellings of one name share; names of one or two letters, as of clusters, keep their case."""
    plain = " ".join(str(name).split())
    return plain.casefold() if len(plain) > 2 else plain if plain.casefold() not in MISSING else plain.casefold()
