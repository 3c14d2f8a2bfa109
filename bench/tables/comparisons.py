"""The tests of Table 2 again, from the published runs: what was printed beside what the runs say."""

import pandas as pd

from bench.figures.style import METRICS, series_of
from bench.published import COUNTERPART
from bench.statistics import holm, published_ttest, welch


def comparisons(runs: pd.DataFrame, printed: pd.DataFrame, model: str, base: str, metrics) -> pd.DataFrame:
    """Return base minus each other variant of a model, with its 95 % interval and the tests.

    Parameters
    ----------
    runs
        Published numbers per run, such as `bench.published.scbert.table2`.
    printed
        `bench.published.summary`, whose rows ``BASE vs OTHER`` hold the p values as the notebook prints them.
    model, base
        Name of the model, and of the variant that the others are compared with.
    metrics
        In the published names: accuracy, macro_f1, hard_accuracy, hard_f1.

    Returns
    -------
    Rows variant x metric.  ``p, printed`` is the paper's; ``p, recomputed`` the same test (unpaired, pooled variance)
    on the printed runs; ``p, Holm`` the same corrected for all tests of this table.  The interval is Welch's.
    """
    runs = runs[(runs["model"] == model) & (runs["statistic"] == "") & runs["metric"].isin(list(metrics))]
    values = runs.groupby(["variant", "metric"])["value"].agg(list)
    rows = {}
    for other in [name for name in dict.fromkeys(runs["variant"]) if name != base]:
        for metric in metrics:
            a, b = values[base, metric], values[other, metric]
            low, high = welch(a, b).confidence_interval()
            rows[series_of(model, other), METRICS[COUNTERPART.get(metric, metric)]] = {
                "difference": sum(a) / len(a) - sum(b) / len(b),
                "low": low,
                "high": high,
                "p, printed": _printed(printed, model, f"{base} vs {other}", metric),
                "p, recomputed": published_ttest(a, b).pvalue,
            }
    table = pd.DataFrame.from_dict(rows, "index").rename_axis(["against", "metric"])
    return table.assign(**{"p, Holm": holm(table["p, recomputed"])})


def _printed(printed: pd.DataFrame, model: str, variant: str, metric: str) -> float:
    asked = {"model": model, "variant": variant, "metric": metric, "statistic": "p"}
    found = printed[(printed[list(asked)] == pd.Series(asked)).all(axis=1)]
    return float(found["value"].iloc[0]) if len(found) else float("nan")
