"""The paper's tests again, from the published runs: what was printed beside what the runs say."""

import pandas as pd

from bench.published import COUNTERPART
from bench.report.figures.style import METRICS, series_of
from bench.statistics.intervals import holm, published_ttest, welch


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
            p = _printed(printed, model=model, variant=f"{base} vs {other}", metric=metric)
            key = series_of(model, other), METRICS[COUNTERPART.get(metric, metric)]
            rows[key] = _tested(values[base, metric], values[other, metric], p)
    return _corrected(rows, ["against", "metric"])


def models_compared(
    published: dict[str, pd.DataFrame], printed: pd.DataFrame, model: str, base: str, metric: str = "accuracy"
) -> pd.DataFrame:
    """Return a model minus a baseline at every share of the training cells, with the tests as in `comparisons`.

    Parameters
    ----------
    published
        Published numbers per run by title, such as `bench.published.few_shot`.
    printed
        Rows ``MODEL vs BASE`` with the p values as the notebook prints them.
    model, base
        Names of the models.
    metric
        In the published names.

    Returns
    -------
    Rows title x share of the training cells, p values corrected for all of them.
    """
    rows = {}
    for title, runs in published.items():
        runs = runs[runs["metric"] == metric]
        values = runs.groupby(["model", "fraction"])["value"].agg(list)
        for fraction in sorted(set(runs["fraction"])):
            asked = {"dataset": runs["dataset"].iloc[0], "model": f"{model} vs {base}", "fraction": fraction}
            p = _printed(printed, metric=metric, **asked)
            rows[title, f"{100 * fraction:g} %"] = _tested(values[model, fraction], values[base, fraction], p)
    return _corrected(rows, ["", "training cells"])


def short_p(tests: pd.DataFrame) -> pd.DataFrame:
    """Return such a table with its p values as text of two digits, since they span many powers of ten."""
    columns = [name for name in tests if name.startswith("p, ")]
    return tests.assign(**{name: tests[name].map("{:.2g}".format) for name in columns})


def _tested(a: list[float], b: list[float], printed: float) -> dict[str, float]:
    low, high = welch(a, b).confidence_interval()
    described = {"difference": sum(a) / len(a) - sum(b) / len(b), "low": low, "high": high}
    return described | {"p, printed": printed, "p, recomputed": published_ttest(a, b).pvalue}


def _corrected(rows: dict[tuple[str, str], dict], names: list[str]) -> pd.DataFrame:
    table = pd.DataFrame.from_dict(rows, "index").rename_axis(names)
    return table.assign(**{"p, Holm": holm(table["p, recomputed"])})


def _printed(printed: pd.DataFrame, **asked) -> float:
    asked |= {"statistic": "p"}
    found = printed[(printed[list(asked)] == pd.Series(asked)).all(axis=1)]
    return float(found["value"].iloc[0]) if len(found) else float("nan")
