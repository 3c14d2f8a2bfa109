"""Every number that the paper's tables and figures publish, one row each, with its interval and where it comes from.

Source: `bench.published`; what is only an image (Figures 4 and 5) stands in words.  A printed mean or interval is taken
as printed.  Where none is printed, it is computed from the published runs the way the paper does it (population SD,
PROTOCOL 1.0), and the row says so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from bench.published import few_shot, per_run, scbert, scgpt, summary
from bench.published.check import recompute
from bench.report.figures.epochs import slow
from bench.statistics.intervals import published_interval

KEY = ["dataset", "model", "variant", "metric", "fraction"]
SCORES = ("accuracy", "macro_f1")
HARD = (*SCORES, "hard_accuracy", "hard_f1")
MASKED = ("masked_accuracy", "predictions_equal_most_common_bin", "cells_predicting_most_common_bin")
SETS = ("ms", "hpancreas", "myeloid")
SMALL_BATCHES, SPREAD = "accuracy, batches of 8 minus 128", "log SD over seeds, batches of 128 minus 8"
FAMILIES = "share of slow runs"


@dataclass(frozen=True)
class Place:
    """A table or figure of the paper: where its runs and its printed means are, and which chapter re-executes it."""

    name: str  # as the paper numbers it
    chapter: str
    runs: Callable[[], pd.DataFrame]  # numbers per run, in the columns of bench.published
    metrics: tuple[str, ...] = SCORES
    printed: tuple[str, ...] = ()  # experiments of the summary with means and intervals
    tests: str = ""  # experiment of the summary with p values
    shares: tuple[float, ...] = (0.1, 0.25, 0.5, 0.75, 1.0)


def _figure3() -> pd.DataFrame:
    return pd.concat(map(few_shot, SETS))


def _table3() -> pd.DataFrame:
    return pd.concat(map(scbert.table3, ("panglao", "zheng68k"))).assign(fraction=1.0)


def _clusters() -> pd.DataFrame:
    runs = per_run()
    return runs[(runs["experiment"] == "macparland_lr") & (runs["variant"] == "20_clusters")]


_SHARES, _ALL = (0.1, 0.25, 0.5, 0.75), (1.0,)
_TABLE4 = ("fig3_suppTable4", "suppTable4")
PLACES = (
    Place("Table 1", "scbert_annotation", scbert.table1, HARD, ("table1", "table1_table2")),
    Place("Figure 2", "few_shot_pbmc", lambda: few_shot("zheng68k"), SCORES, ("fig2", "table1"), "fig2_ttest"),
    Place("Table 2", "scbert_ablations", scbert.table2, HARD, ("table1_table2",), "table2_ttest"),
    Place("Table 3", "masked_pretraining", _table3, MASKED),
    Place("Figure 3", "few_shot_scgpt", _figure3, SCORES, _TABLE4, "fig3_ttest", _SHARES),
    Place("Supplementary Table 4", "few_shot_scgpt", _figure3, SCORES, _TABLE4, "fig3_ttest", _ALL),
    Place(
        "Supplementary Figure 6, Table 5",
        "scgpt_no_pretraining",
        lambda: pd.concat(map(scgpt.supplementary_figure6, SETS)),
        SCORES,
        ("suppFig6_suppTable5",),
    ),
    Place("Liver", "liver", lambda: few_shot("liver"), SCORES, ("macparland_lr",)),
    Place("Liver", "liver", _clusters),
)


@cache
def quantities() -> pd.DataFrame:
    """Return what is published, a row per quantity; one table for all callers, to be read and not changed.

    Returns
    -------
    Columns place, chapter, those of ``KEY`` in the published names, ``statistic`` (``mean``, ``p`` or ``words``),
    ``value``, ``half_width`` (95 %, nan without), ``n`` runs (0 if not said) and ``detail`` on where they come from.
    """
    tables = [_means(place) for place in PLACES] + [_tests(place) for place in PLACES if place.tests] + [_images()]
    order = {name: rank for rank, name in enumerate([*dict.fromkeys(place.name for place in PLACES), ""])}
    order |= {"Figure 4": order["Table 3"] + 0.3, "Figure 5": order["Table 3"] + 0.6}
    return pd.concat(tables, ignore_index=True).sort_values("place", key=lambda s: s.map(order), kind="stable")


def arms_of(quantity) -> list[tuple[str, str]]:
    """Return the (model, variant) behind a published quantity: one for a mean, two for a test."""
    models, variants = quantity.model.split(" vs "), quantity.variant.split(" vs ")
    if len(models) == 1:
        return [(models[0], variant) for variant in variants]
    return [(model, "" if model == "l1_logistic" else "pretrained") for model in models]


@cache
def runs_of(place: Place) -> pd.DataFrame:
    """Return the published runs of one place, at its shares of the training cells and in its metrics."""
    runs = place.runs()
    return runs[runs["metric"].isin(place.metrics) & runs["fraction"].isin(place.shares) & runs["statistic"].eq("")]


def _means(place: Place) -> pd.DataFrame:
    runs, printed = runs_of(place), summary()
    masks = runs["run"].where(runs["run"].str.startswith("masks of"), "")
    printed = printed[printed["experiment"].isin(place.printed)].drop_duplicates([*KEY, "statistic"])
    printed = printed.set_index([*KEY, "statistic"])["value"]
    rows = []
    for (*key, mask), group in runs.groupby([*KEY, masks.rename("mask")], sort=False):
        row = dict(zip(KEY, key, strict=True)) | _mean(group, printed, tuple(key))
        rows.append(row | ({"detail": f"{row['detail']}, {mask}"} if mask else {}))
    return pd.DataFrame(rows).assign(place=place.name, chapter=place.chapter, statistic="mean")


def _mean(runs: pd.DataFrame, printed: pd.Series, key: tuple) -> dict:
    values, n = runs["value"].to_numpy(), len(runs)
    has_mean, half = (*key, "mean") in printed.index, printed.get((*key, "ci95_halfwidth"), np.nan)
    digitised = "digitised " * ("digitised" in set(runs["origin"]))
    if not np.isnan(half):
        detail = f"{n} runs, ± printed"
    elif n > 1:
        half = published_interval(values).half_width
        detail = f"{n} {digitised}runs, {'±' if has_mean else 'mean and ±'} computed"
    else:
        detail = "one number, no interval"
    return {"value": printed.get((*key, "mean"), values.mean()), "half_width": half, "n": n, "detail": detail}


def _tests(place: Place) -> pd.DataFrame:
    table = summary()
    table = table[table["experiment"].eq(place.tests) & table["statistic"].eq("p")]
    table = table[table["metric"].isin(place.metrics) & table["fraction"].isin(place.shares)]
    checked = _checked()
    details = []
    for row in table.itertuples():
        again = checked.loc[
            f"{row.experiment}: {row.dataset}, {row.model}, {row.variant}, {row.fraction:g}, {row.metric} p"
        ]
        same = "the runs agree" if again["agrees"] else f"the runs give {again['recomputed']:.3g}"
        details.append(f"printed, {same}")
    more = {"statistic": "p", "half_width": np.nan, "n": 0, "detail": details}
    return table[[*KEY, "value"]].assign(place=place.name, chapter=place.chapter, **more)


@cache
def _checked() -> pd.DataFrame:
    """Return the published numbers, recomputed; the same for every place."""
    return recompute().set_index("quantity")


def _images() -> pd.DataFrame:
    """Return what Figures 4 and 5 say: no numbers but the end values that Table 1 prints."""
    runs = scbert.table1()
    ends = runs[(runs["model"] == "scbert") & (runs["metric"] == "accuracy")]["value"]
    known = {"dataset": "zheng68k", "model": "scbert", "variant": "pretrained", "fraction": 1.0, "half_width": np.nan}
    words = known | {"statistic": "words", "n": 0, "value": np.nan, "place": "Figure 4"}
    rows = [
        words | {"metric": SMALL_BATCHES, "detail": "no number, in words: small batches do better"},
        words | {"metric": SPREAD, "detail": "no number, in words: the spread grows with the batch"},
        known
        | {"place": "Figure 5", "metric": FAMILIES, "statistic": "mean", "value": slow(ends).mean(), "n": len(ends)}
        | {"detail": f"derived from the {len(ends)} end values of Table 1"},
    ]
    return pd.DataFrame(rows).assign(chapter="sensitivity")
