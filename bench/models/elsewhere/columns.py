"""What columns of a table of text hold: numbers that are probabilities of types, or names of types."""

import re
from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from bench.core.errors import BenchError, listed
from bench.datasets.labels import MISSING, key_of
from bench.datasets.spelling import named_alike, named_by_r, plain_of
from bench.models.answers import REJECTIONS
from bench.statistics.predictions import SUM_TOLERANCE

PREFIX = re.compile(r"^(probability of |prediction[._]score[._]|prob(ability)?[._ ])", re.IGNORECASE)
NO_TYPES = {"max", "confidence", "score", "conf_score", "delta.next", "probability", "prob"}  # numbers of other kinds


def of_probabilities(table: pd.DataFrame, types: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the columns that hold probabilities with the types that they are of, and what is said of others."""
    numbers = {name: values for name in table if (values := numbers_of(table[name])) is not None}
    named = _types_of(numbers, types)
    others = {name: PREFIX.sub("", name) for name in numbers if name not in named}
    others = {name: to for name, to in others.items() if to.casefold() not in NO_TYPES}
    if len(named) < 2:
        return {}, []
    everything, pure = named | others, len(numbers) == table.shape[1]
    if others and not _sums_to_one(numbers, named) and (pure or _sums_to_one(numbers, everything)):
        return everything, [f"{len(others)} columns are of types that no cell here has: {listed(others.values(), 5)}"]
    return named, [f"columns that are not used: {listed(others, 5)}"] if others else []


def share_of_types(column: pd.Series, types: Sequence[str]) -> float:
    """Return the share of a column's values that are types or say that there is none; 0 without any type."""
    counts = column.map(key_of).value_counts()
    known, by_r = {key_of(name) for name in types}, {plain_of(name) for name in types} - {""}
    meant = np.array([name in known or plain_of(name) in by_r for name in counts.index], dtype=bool)
    if not meant.any():
        return 0.0
    return float(counts[meant | counts.index.isin(MISSING | REJECTIONS)].sum() / counts.sum())


def numbers_of(column: pd.Series) -> np.ndarray | None:
    """Return a column of numbers, also with a decimal comma; nan where it says so.  None of text."""
    text = column.mask(column.str.casefold().isin(MISSING))
    if text.isna().all():
        return None
    for form in (text, text.str.replace(",", ".", regex=False)):
        values = pd.to_numeric(form, errors="coerce")
        if values.notna().equals(text.notna()):
            return values.to_numpy(float)
    return None


def normalised(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return probabilities that sum to one; rows without any become nan.  What was done is said."""
    values = table.to_numpy(float)
    if not values.size:
        return table, []
    empty = np.isnan(values).all(axis=1)
    if (bad := ~np.isfinite(values[~empty])).any():
        raise BenchError(
            f"{int(bad.any(axis=1).sum())} cells have probabilities of which some are missing or infinite."
        )
    if values[~empty].size and values[~empty].min() < 0:
        raise BenchError(
            f"The lowest probability is {values[~empty].min():.3g}; expected numbers from 0 on: apply softmax to "
            "scores of a decision, or give labels alone."
        )
    totals = values.sum(axis=1, keepdims=True)
    empty |= totals[:, 0] == 0
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = np.where(empty[:, None], np.nan, values / totals)
    notes = []
    if n := int((np.abs(totals[~empty, 0] - 1) > SUM_TOLERANCE).sum()):
        notes.append(f"probabilities of {n:,} of {len(values):,} rows do not sum to one and are divided by their sum")
    return pd.DataFrame(scaled, columns=table.columns), notes


def _types_of(names: Collection[str], types: Sequence[str]) -> dict[str, str]:
    """Return the columns that are named after a type, as R may have changed the name."""
    bare = {name: PREFIX.sub("", name) if name not in types else name for name in names}
    alike, by_r = named_alike(bare.values(), types), named_by_r(bare.values(), types)
    by_r = {name: meant[0] for name, meant in by_r.items() if len(meant) == 1}  # R spells no other type like it
    found = {name: to if to in types else alike.get(to) or by_r.get(to) for name, to in bare.items()}
    found = {name: to for name, to in found.items() if to}
    if len(set(found.values())) < len(found):
        twice = sorted({to for to in found.values() if list(found.values()).count(to) > 1})
        raise BenchError(f"Several columns are of type {twice[0]!r}; leave out all but one.")
    return found


def _sums_to_one(numbers: dict[str, np.ndarray], names: Collection[str]) -> bool:
    totals = np.sum([numbers[name] for name in names], axis=0)
    return bool((np.abs(totals[np.isfinite(totals)] - 1) <= SUM_TOLERANCE).all())
