"""Which data a number is of: tier, data set, how it was read and which of its cells were scored, as readers see it."""

import json
from collections import defaultdict

import pandas as pd

from bench.report.figures.names import one_line, told_apart
from bench.report.figures.style import TIERS

READING = ["label", "layer", "symbols", "dropped_types", "query", "query_hash"]  # how the data were read
DATA = ["dataset", "dataset_hash", *READING, "split"]  # runs that differ in one of them are never set side by side
SETTINGS = ["subset", "recipe", "hyperparameters", "protocol", "weights_hash"]  # nor are these ever averaged over
USUAL = {"label": ("cell_type", "none"), "layer": ("X",), "symbols": ("var_names",), "dropped_types": ("[]",)}
SPLITS = {"random": "random split", "authors": "authors' split"}
TYPES_NAMED = 3  # of those left out


def with_titles(rows: pd.DataFrame, split: bool | None = None) -> pd.DataFrame:
    """Return rows of records with the column ``title``, such as ``Quick: mine.h5ad (label kind), random split``.

    Parameters
    ----------
    rows
        Of records.
    split
        Whether titles say which cells were scored; None: where one data set has several splits.  False: rows of
        several splits share a title.
    """
    columns = ["tier", *(column for column in DATA if split is not False or column != "split")]
    filled = rows[columns].fillna("").astype(str)
    distinct = [dict(zip(columns, of, strict=True)) for of in filled.drop_duplicates().itertuples(index=False)]
    alike = defaultdict(list)
    for data in distinct:
        alike[_short(data)].append(data)
    forms = {}
    for title, several in alike.items():
        for data in several:
            forms[tuple(data.values())] = [title + _further(data, several, split)]
    shown = told_apart(forms)
    titles = [shown[of] for of in filled.itertuples(index=False, name=None)]
    return rows.assign(title=pd.Series(titles, rows.index, dtype=object))


def sources(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return rows with a ``title`` by that title, best tier first, tiers that nobody knows left out."""
    found = {}
    for tier in [tier for tier in TIERS if tier in set(rows["tier"])]:
        of_tier = rows[rows["tier"] == tier]
        titles = of_tier[["dataset", "title"]].drop_duplicates().sort_values(["dataset", "title"])["title"]
        groups = dict(tuple(of_tier.groupby("title")))
        found |= {title: groups[title] for title in dict.fromkeys(titles)}
    return found


def without_tier(titles: pd.Series) -> pd.Series:
    """Return titles of data without the tier that they begin with."""
    return titles.map(lambda title: title.partition(": ")[2])


def split_name(split: str) -> str:
    """Return what readers see a split called, such as ``human1 held out``."""
    if split.startswith("held_out:"):
        return f"{one_line(split.removeprefix('held_out:'), 30)} held out"
    return SPLITS.get(split, one_line(split.replace("_", " "), 30) or "no split")


def reading_of(data) -> str:
    """Return how data were read where that is not the usual way, such as ``label kind, layer raw``; else nothing."""
    told = [
        f"{column} {one_line(data[column], 30)}"
        for column in ("label", "layer", "symbols")
        if data[column] and data[column] not in USUAL[column]
    ]
    if dropped := _types_in(data["dropped_types"]):
        names = ", ".join(one_line(name, 30) for name in dropped)
        told.append(f"without {names if len(dropped) <= TYPES_NAMED else f'{len(dropped)} types'}")
    if data["query"]:
        told.append(f"scored on {one_line(data['query'], 40)}")
    return ", ".join(told)


def _types_in(text: str) -> list[str]:
    try:
        found = json.loads(text or "[]")
    except ValueError:
        return [text]
    return [str(name) for name in found] if isinstance(found, list) else [text]


def _short(data: dict) -> str:
    told = reading_of(data)
    return f"{TIERS.get(data['tier'], one_line(data['tier'], 20))}: {one_line(data['dataset'], 40)}" + (
        f" ({told})" if told else ""
    )


def _further(data: dict, alike: list[dict], split: bool | None) -> str:
    """Return what tells data apart that would else have one title."""
    varies = {column for column in data if len({other[column] for other in alike}) > 1}
    parts = []
    if "split" in data and (split or "split" in varies):
        parts.append(split_name(data["split"]))
    for column in ("label", "layer", "symbols", "dropped_types"):
        if column in varies and data[column] not in USUAL[column]:
            parts.append(f"{column.replace('_', ' ')} {one_line(data[column], 40) or 'not known'}")
    for column, name in {"dataset_hash": "content", "query_hash": "scored content"}.items():
        if column in varies and data[column]:
            parts.append(f"{name} {data[column][:6]}")
    return "".join(f", {part}" for part in parts)
