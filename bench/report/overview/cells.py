"""How one published number, or one comparison behind a claim, reads in its cells; no cell is left blank."""

import os

import numpy as np
import pandas as pd

from bench.published import COUNTERPART, TITLES
from bench.report.figures.style import METRICS, series_of
from bench.report.figures.style import TIERS as TIER_TITLES
from bench.report.hover import IN_BOOK
from bench.report.overview.claims import CLAIMS, FAILS, HOLDS, NONE, OPEN, UNTESTED
from bench.report.overview.quantities import arms_of
from bench.report.tables.interactive import Cell

MARKS = {HOLDS: "✓", FAILS: "✗", OPEN: "?"}  # before a verdict, so that a column can be scanned
NBSP = "\N{NO-BREAK SPACE}"  # a number stays in one line with its interval
RECORDED, IMPOSSIBLE = "recorded", "no counterpart"


def named(row: pd.Series) -> dict:
    """Return the columns that name a published number or comparison."""
    about = metric(row["metric"])
    full = about + (", p value" if row["statistic"] == "p" else "")
    return {
        "In the paper": page(row),
        "Data": data(row["dataset"]),
        "Model": " vs ".join(series_of(*arm) for arm in arms_of(row)),
        "Metric": Cell(full, choices=(about,)),
        "Training cells": share(row["fraction"]),
    }


def published(row: pd.Series) -> Cell:
    """Return the published value, its interval and where they come from."""
    if np.isnan(row["value"]):
        return Cell("in words", (row["detail"],))
    return Cell(_value(row["value"], row["half_width"], row["statistic"]), (row["detail"],), row["value"])


def reproduced(rows: pd.DataFrame, commands: list[str]) -> Cell:
    """Return what one tier has beside a number: a value per data set, or what is missing."""
    there = rows[rows["missing"] == ""]
    if there.empty:
        return missing(rows.iloc[0], commands)
    values = [_value(row.here, row.here_half_width, row.statistic) for row in there.itertuples()]
    notes = [_runs(row) for row in there.itertuples()]
    notes = (notes[0], *map(" ".join, zip(values[1:], notes[1:], strict=True)), *_absent(rows))
    return Cell(values[0], notes, there.iloc[0]["here"], (RECORDED,))


def missing(row: pd.Series, commands: list[str]) -> Cell:
    """Return why a tier has nothing beside a number, or a link to the command that makes it."""
    if not row["command"]:
        return Cell(row["missing"], choices=(IMPOSSIBLE,))
    return Cell(
        NONE.replace(" ", NBSP), (row["data"],), choices=(NONE,), link=f"#{anchor(commands.index(row['command']))}"
    )


def difference(group: pd.DataFrame) -> Cell:
    """Return the paper tier minus published, the one pair of values on the same data."""
    row = group[group["tier"] == "paper"].iloc[0]
    if row["statistic"] != "mean":
        return Cell("not for p values" if row["statistic"] == "p" else "published in words")
    if np.isnan(row["difference"]):
        return Cell(NONE if row["command"] else row["missing"])
    return Cell(_value(row["difference"], row["difference_half_width"], "mean", "+"), sort=row["difference"])


def judged(rows: pd.DataFrame, commands: list[str]) -> Cell:
    """Return one comparison in one tier: its verdict, the difference with its interval, corrected p, the statistic."""
    first, notes = rows.iloc[0], []
    if (rows["missing"] != "").all():
        return missing(first, commands)
    for row in rows[rows["missing"] == ""].itertuples():
        ends = "" if np.isnan(row.low) else f" [{row.low:+.3f}, {row.high:+.3f}]"
        value = "" if np.isnan(row.value) else f"{row.value:+.3f}{ends}".replace(" ", NBSP)
        source = "" if row.tier == "published" else row.data
        p = "" if np.isnan(row.p_holm) else f"p{NBSP}={NBSP}{row.p_holm:.2g}"
        notes += filter(None, (value, p, ", ".join(filter(None, (source, row.how)))))
    verdicts = tuple(dict.fromkeys(rows.loc[rows["missing"] == "", "verdict"]))
    return Cell(", ".join(map(_marked, verdicts)), (*notes, *_absent(rows)), choices=verdicts)


def _runs(row) -> str:
    runs = f"{row.here_n} run{'s' * (row.here_n > 1)}" if row.here_n and row.statistic == "mean" else ""
    return ", ".join(filter(None, (row.data, runs, row.setting)))


def _marked(verdict: str) -> str:
    return f"{MARKS[verdict]}{NBSP}{verdict.replace(' ', NBSP)}" if verdict in MARKS else verdict


def _absent(rows: pd.DataFrame) -> list[str]:
    """Return which of a tier's data sets lack a record that can be made."""
    return [f"{data}: {NONE}" for data in rows.loc[rows["command"] != "", "data"]]


def claims_of(numbers: pd.DataFrame, comparisons: pd.DataFrame) -> dict[int, Cell]:
    """Return for each number whether the claims that rest on it hold, tier by tier."""
    said, behind = {}, dict(tuple(comparisons.groupby(["dataset", "metric", "fraction"])))
    for quantity in numbers.drop_duplicates("number").itertuples():
        about = "masked_accuracy" if quantity.place == "Table 3" else quantity.metric
        claims = [i for i, claim in enumerate(CLAIMS) if claim.covers(quantity)]
        rows = behind.get((quantity.dataset, about, quantity.fraction), comparisons[:0])
        rows = rows[rows["claim"].isin(claims) & (rows["tier"] != "published")]
        said[quantity.number] = _verdicts(quantity, claims, rows)
    return said


def _verdicts(quantity, claims: list[int], rows: pd.DataFrame) -> Cell:
    if not claims:
        return Cell("no claim", (_no_claim(quantity),))
    tested = rows[~rows["verdict"].isin([NONE, UNTESTED])]
    texts = [
        f"{TIER_TITLES[tier]}: {', '.join(map(_marked, dict.fromkeys(of['verdict'])))}"
        for tier, of in tested.groupby("tier", sort=False)
    ]
    left = _untried(rows)
    choices = tuple(dict.fromkeys(tested["verdict"])) or (NONE if left == NONE else UNTESTED,)
    return Cell("; ".join(texts) or left, tuple(CLAIMS[index].says for index in claims), choices=choices)


def _untried(rows: pd.DataFrame) -> str:
    if ((rows["verdict"] == UNTESTED) & (rows["missing"] == "")).any():
        return UNTESTED  # recorded, but there is no test
    return NONE if (rows["verdict"] == NONE).any() else "; ".join(dict.fromkeys(rows["missing"]))


def _no_claim(quantity) -> str:
    if quantity.place == "Liver":
        return "scBERT's numbers on liver are not published"
    return "quoted from others" if quantity.variant == "reported_by_yang" else "no order claimed here"


def page(row: pd.Series) -> Cell:
    """Return the paper's table or figure, a link to the chapter that re-executes it."""
    return Cell(row["place"], link=f"{row['chapter']}.{'html' if os.environ.get(IN_BOOK) else 'md'}")


def _value(value: float, half: float, statistic: str, sign: str = "") -> str:
    if statistic == "p":
        return f"p{NBSP}={NBSP}{value:.2g}"
    width = "<0.001" if half < 0.0005 else f"{half:.3f}"
    return f"{value:{sign}.3f}" + ("" if np.isnan(half) else f"{NBSP}±{NBSP}{width}")


def metric(name: str) -> str:
    """Return what readers see a metric called, by its published name."""
    return METRICS.get(COUNTERPART.get(name, name), name).removesuffix(" (as published)")


def data(name: str) -> str:
    """Return what the paper calls a data set."""
    return TITLES[name]


def share(fraction: float) -> Cell:
    """Return a share of the training cells, in percent."""
    return Cell(f"{100 * fraction:g} %", sort=fraction)


def anchor(index: int) -> str:
    """Return the id of a command in the list at the end of the page."""
    return f"command-{index + 1}"
