"""One row per run on all training cells, under the title of the panel in which it may be compared."""

from collections.abc import Sequence

import pandas as pd

from bench.core.errors import BenchError
from bench.report.figures.runs import complete, runs_of, with_series
from bench.report.figures.sources import DATA, with_titles
from bench.report.figures.style import CONTROLS, TIERS, natural

PAPER = ("few_shot_pbmc", "few_shot_scgpt", "liver", "scbert_annotation", "scbert_ablations", "scgpt_no_pretraining")
# in this order: the first to hold a model says which settings are shown, and a search comes before a single penalty
EXPERIMENTS = ("baselines", *PAPER, "embeddings", "other_tools")
SCORES = ("accuracy", "ece")
COSTS = ("seconds", "peak_memory_mb")
PANEL = ["tier", *DATA]


def complete_runs(records: pd.DataFrame) -> pd.DataFrame:
    """Return one row per run on all training cells: ``panel``, ``series``, accuracy, ece, costs, key.

    A panel is a tier, a data set as it was read and a split, best tier first; nothing is ever compared across panels.
    A trial that several experiments hold counts once, at the least that it took on one kind of machine.  Where they ran
    a model with other settings on the same panel, those of the first experiment of ``EXPERIMENTS`` are kept, so that a
    model is one series unless a single experiment varies it.
    The column ``control`` marks floors.

    Raises
    ------
    BenchError
        If no record is of a run on all training cells.
    """
    rows = complete(runs_of(records[records["metric"].isin(SCORES) & records["tier"].isin(list(TIERS))]))
    if rows.empty:
        raise BenchError('No run on all training cells is recorded; run a chapter with -p fractions "[1.0]".')
    for cost in COSTS:
        rows[cost] = rows.groupby(["tier", "key", "device"], dropna=False)[cost].transform("min")
    index = ["experiment", *PANEL, "model", "variant", "seed", "key"]
    scores = rows.pivot_table(index=index, columns="metric", values="value", observed=True).reindex(columns=SCORES)
    runs = rows.drop_duplicates(index).set_index(index).join(scores).reset_index()
    runs = _of_first_experiment(runs.drop(columns=["metric", "value"]))
    runs = with_titles(with_series(runs), split=True).rename(columns={"title": "panel"})
    return _in_order(runs.assign(control=runs["model"].isin(CONTROLS)))


def on_panels_of(records: pd.DataFrame, experiments: Sequence[str] = PAPER) -> pd.DataFrame:
    """Return the records of all experiments on the tiers, data and splits of which some of them have records."""
    panels = pd.MultiIndex.from_frame(records[PANEL].fillna("").astype(str))
    return records[panels.isin(panels[records["experiment"].isin(experiments)])].reset_index(drop=True)


def best_tier(records: pd.DataFrame, model: str) -> str:
    """Return the best tier at which a model is recorded and did not fail.

    Raises
    ------
    BenchError
        If it is recorded at none.
    """
    recorded = set(records.loc[(records["model"] == model) & (records["status"] == "ok"), "tier"])
    for tier in TIERS:
        if tier in recorded:
            return tier
    raise BenchError(f"{model} is not recorded at any tier; run the chapter to make its records.")


def _of_first_experiment(runs: pd.DataFrame) -> pd.DataFrame:
    place = runs["experiment"].map({name: i for i, name in enumerate(EXPERIMENTS)}).fillna(len(EXPERIMENTS))
    first = place.groupby([runs[name] for name in (*PANEL, "model", "variant")]).transform("min")
    return runs[place == first]


def _in_order(runs: pd.DataFrame) -> pd.DataFrame:
    places = {"tier": list(TIERS), "series": sorted(set(runs["series"]), key=natural)}
    by = ["tier", "panel", "series", "seed"]
    return runs.sort_values(
        by, key=lambda column: column.map(places[column.name].index) if column.name in places else column
    ).reset_index(drop=True)
