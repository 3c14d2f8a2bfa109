"""What failed, beside what did not: a dash and the reason in the row of the model."""

import pandas as pd

from bench.report.figures.names import one_line

REASON = 100  # characters of a reason in a table; the whole of it stands below the costs of a page
FAILED = "failed"


def with_failed(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Return a table by title and series with a column that says what failed, if anything did.

    Parameters
    ----------
    table
        Its index begins with title and series.  A model all of whose runs failed has no row there; it gets one, or one
        for each further name of the index, of dashes.
    rows
        Of records, with ``title`` and ``series``, those of failed trials among them.
    """
    reasons = _reasons(rows)
    if not reasons:
        return table
    there = {key[:2] for key in table.index}
    further = [()] if table.index.nlevels == 2 else [(of,) for of in table.index.droplevel([0, 1]).unique()]
    absent = [(*key, *more) for key in reasons if key not in there for more in further]
    index = pd.MultiIndex.from_tuples([*table.index, *absent], names=table.index.names)
    counts = {name: "Int64" for name in table if pd.api.types.is_integer_dtype(table[name])}
    return table.astype(counts).reindex(index).assign(**{FAILED: [reasons.get(key[:2], "–") for key in index]})


def _reasons(rows: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Return by title and series how many runs failed, and why the first one did."""
    trials = rows.drop_duplicates(["tier", "key"])
    found = {}
    for key, group in trials.groupby(["title", "series"], sort=False):
        failed = group.loc[group["status"] != "ok", "status"].astype(str)
        if len(failed):
            reason = one_line(failed.iloc[0].removeprefix("failed: "), REASON)
            found[key] = f"{len(failed)} of {len(group)}: {reason}"
    return found
