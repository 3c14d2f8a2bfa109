"""How far models are apart, published beside reproduced: one difference a row, with its interval and corrected test."""

from itertools import product

import numpy as np
import pandas as pd

from bench.core.errors import BenchError, unknown
from bench.report.effects import Effect, of_published, of_runs
from bench.report.figures.runs import own_panels, published_panels
from bench.report.figures.style import METRICS, is_control, natural, series_of
from bench.statistics.intervals import ALPHA, MARGIN, holm

BOTH = ("accuracy", "macro_f1_seen")
HIGHER, LOWER, SAME, OPEN = "higher", "lower", f"same within {MARGIN:g}", "open"
INDEX = ["", "compared", "training cells", "metric"]


def effects(
    records: pd.DataFrame, published: dict[str, pd.DataFrame], metrics=BOTH, *, to: str = "", of: str = ""
) -> pd.DataFrame:
    """Return differences between one series and every other one, controls left out.

    Parameters
    ----------
    records
        Records of one experiment.
    published
        Tables of `bench.published` by panel title.
    metrics
        Of `bench.statistics.metrics`; a source without one of them has no row for it.
    to, of
        Name one: others minus the series ``to``, such as ``L1 logistic regression``; or ``of`` minus the others.

    Returns
    -------
    Rows source x compared series x share of the training cells x metric.  ``difference`` with its 95 % interval (nan
    where the runs give none, see `report.effects`); ``p, Holm`` of the two-sided test, corrected for a tier's rows;
    ``says``: ``higher`` or ``lower`` if that is below 0.05, ``same`` if two one-sided tests show a difference within
    the margin, corrected likewise, else ``open``; ``by`` is the statistic.

    Raises
    ------
    BenchError
        If no source has the series.
    """
    reference, panels = to or of, published_panels(published) | own_panels(records)
    found = {}
    for title, runs in panels.items():
        runs = runs[~runs["series"].map(is_control)]
        found |= _of_panel(title, runs, reference, metrics, others_minus=bool(to))
    if not found:
        there = {series for runs in panels.values() for series in runs["series"] if not is_control(series)}
        raise unknown("series to compare with", reference, there) if there else BenchError("Nothing to compare.")
    return _tested(found)


def own_variants(records: pd.DataFrame, metrics=BOTH) -> pd.DataFrame:
    """Return each model minus its own other variants, as `effects` does for one: all of a tier's rows are one family.

    Raises
    ------
    BenchError
        If no model is recorded beside a variant of its own.
    """
    found = {}
    for title, runs in own_panels(records).items():
        for model in sorted(set(runs["model"]), key=lambda model: natural(series_of(model, ""))):
            found |= _of_panel(title, runs[runs["model"] == model], series_of(model, ""), metrics, others_minus=False)
    if not found:
        raise BenchError("No model is recorded beside a variant of its own; run the chapter to make both.")
    return _tested(found)


def _of_panel(title: str, runs: pd.DataFrame, reference: str, metrics, *, others_minus: bool) -> dict[tuple, tuple]:
    """Return effect and tier by (title, series, share, metric): others minus the reference, or it minus them."""
    runs, found = runs[runs["metric"].isin(list(metrics))], {}
    tier = "published" if title.startswith("Published") else runs["tier"].iloc[0] if len(runs) else ""
    for case, pair in _pairs(runs, reference, metrics):
        effect = (of_published if tier == "published" else of_runs)(*(pair if others_minus else pair[::-1]))
        found[title, *case] = effect, tier
    return found


def _pairs(runs: pd.DataFrame, reference: str, metrics):
    """Yield (series, share, metric) and the runs of that series and of the reference.

    Where the reference was run under a setting that its name tells, or under several, the name of the row says which.
    """
    groups = dict(tuple(runs.groupby(["series", "fraction", "metric"])))
    there = sorted(set(runs["series"]), key=natural)
    references = [series for series in there if series == reference or series.startswith(f"{reference} (")]
    shares = sorted(set(runs["fraction"].dropna()))
    others = [series for series in there if series not in references]
    for series, base, share, metric in product(others, references, shares, metrics):
        if (series, share, metric) in groups and (base, share, metric) in groups:
            name = series if base == reference else f"{series}, against {base}"
            yield (name, share, metric), (groups[series, share, metric], groups[base, share, metric])


def _tested(found: dict[tuple, tuple[Effect, str]]) -> pd.DataFrame:
    """Return effects as rows, p values corrected tier by tier."""
    rows = [
        {"difference": effect.value, "low": low, "high": high, "differs": effect.differs()}
        | {"same": effect.same(MARGIN), "tier": tier, "by": effect.how}
        for effect, tier in found.values()
        for low, high in [effect.interval(1 - ALPHA)]
    ]
    table = pd.DataFrame(rows, pd.MultiIndex.from_tuples(found, names=INDEX))
    for name in ("differs", "same"):
        table[name] = table.loc[table[name].notna()].groupby("tier")[name].transform(holm)
    signs = np.where(table["difference"] > 0, HIGHER, LOWER)
    says = np.select([table["differs"] < ALPHA, table["same"] < ALPHA], [signs, SAME], OPEN)
    table = table.rename(columns={"differs": "p, Holm"}).assign(says=says)
    return table[["difference", "low", "high", "p, Holm", "says", "by"]]


def effect_sizes(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `effects` as readers see them: shares in percent, metrics by their names, ends in one cell."""
    names = {m: METRICS.get(m, m).removesuffix(" (as published)") for m in table.index.unique("metric")}
    shares = {share: f"{100 * share:.3g} %" for share in table.index.unique("training cells")}
    shown = table.rename(names, level="metric").rename(shares, level="training cells")
    if len(shares) == 1:
        shown = shown.droplevel("training cells")
    ends = [
        f"{low:+.3f} to {high:+.3f}" if np.isfinite(low) else "–"
        for low, high in zip(shown["low"], shown["high"], strict=True)
    ]
    p = ["–" if np.isnan(p) else f"{p:.2g}" for p in shown["p, Holm"]]
    difference = [f"{d:+.3f}" if np.isfinite(d) else "–" for d in shown["difference"]]
    return shown.assign(**{"difference": difference, "95 % interval": ends, "p, Holm": p})[
        ["difference", "95 % interval", "p, Holm", "says", "by"]
    ]
