"""Tables on how runs are compared: equivalence within a margin, and what pairing by seed is worth."""

import numpy as np
import pandas as pd
from scipy import stats

from bench.core.errors import BenchError
from bench.report.figures.runs import by_source, published_panels, runs_of
from bench.report.figures.style import is_control, label_of, natural
from bench.statistics.intervals import Equivalence, t_interval, welch

ENOUGH = 3  # seeds that both models need


def equivalences(found: dict[tuple[str, str], Equivalence]) -> pd.DataFrame:
    """Return tests by (metric, what was compared) as rows: difference, its interval, the p value, the margin needed."""
    rows = [
        (e.n[0] if e.n[0] == e.n[1] else f"{e.n[0]}, {e.n[1]}", e.difference, e.low, e.high, e.p, e.smallest_margin)
        for e in found.values()
    ]
    names = ["runs", "difference", "low", "high", "p, TOST", "shown from a margin of"]
    return pd.DataFrame(rows, pd.MultiIndex.from_tuples(found, names=["metric", "compared"]), names)


def pairing(
    records: pd.DataFrame, published: dict[str, pd.DataFrame], base: str = "l1_logistic", metric: str = "accuracy"
) -> pd.DataFrame:
    """Return other models minus a base model on drawn training cells, with the intervals of two designs.

    Parameters
    ----------
    records
        Of runs whose subsets are paired: a seed draws the same cells for every model.
    published
        Published runs by title of which the same is known, their seed in ``run``.
    base
        Name of the model that the others are compared with.
    metric
        Of `bench.statistics.metrics`.

    Returns
    -------
    Rows source x model x share of the training cells: the difference, half of its 95 % interval if the runs are paired
    by seed, half of Welch's interval as if each model had drawn its own cells, the correlation over seeds, the seeds.

    Raises
    ------
    BenchError
        If no other model shares three seeds with the base.
    """
    own = runs_of(records[(records["subset"] == "paired") & (records["status"] == "ok")])
    theirs = {title: runs.assign(seed=runs["run"]) for title, runs in published_panels(published).items()}
    rows = {}
    for title, runs in (theirs | by_source(own.drop_duplicates(["tier", "key", "metric"]))).items():
        runs = runs[(runs["metric"] == metric) & (runs["fraction"] < 1) & ~runs["series"].map(is_control)]
        for share, group in runs.groupby("fraction"):
            table = group.pivot_table(index="seed", columns="series", values="value")
            for other in sorted(set(table) - {label_of(base)}, key=natural):  # a base of several settings is none
                both = table.reindex(columns=[label_of(base), other]).dropna()
                if len(both) >= ENOUGH:
                    rows[title, other, f"{100 * share:g} %"] = _designs(*both.to_numpy().T[::-1])
    if not rows:
        raise BenchError(f"No model shares {ENOUGH} seeds with {base!r} on drawn training cells; run more seeds.")
    index = pd.MultiIndex.from_tuples(rows, names=["", "model", "training cells"])
    columns = ["difference", "± paired", "± unpaired", "correlation", "seeds"]
    return pd.DataFrame(list(rows.values()), index, columns)


def _designs(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float, float, int]:
    paired, apart = t_interval(a - b), welch(a, b).confidence_interval()
    return paired.mean, paired.half_width, (apart.high - apart.low) / 2, stats.pearsonr(a, b).statistic, len(a)
