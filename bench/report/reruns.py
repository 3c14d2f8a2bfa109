"""A random sample of committed trials, run again on another kind of processor and kept in a file.

The file is part of the project; ``chapters/rerun.py`` makes it.  It lies among the committed records, of which it is
none.
"""

from pathlib import Path

import pandas as pd

from bench.core.provenance import processor
from bench.protocol.rerun import finding
from bench.protocol.rerun.repeating import Verdict, table_of
from bench.report import kept_tables

FILE = "reproduce/rerun.csv"
COLUMNS = ["experiment", "tier", "dataset", "model", "variant", "fraction", "seed", "key", "metric", "values", "equal"]


def elsewhere(n_trials: int, longest_s: float) -> pd.DataFrame:
    """Return committed trials at random that another kind of processor than this one has recorded, a row each.

    Parameters
    ----------
    n_trials
        How many of networks, and how many of models without weights; all where there are fewer.
    longest_s
        Only those that took at most so many seconds.

    Raises
    ------
    BenchError
        If there is none.
    """
    trials = finding.committed()
    others = trials[~trials["processor"].isin(["", processor()])]
    with_weights = others["weights_hash"] != ""
    kinds = [others[with_weights], others[~with_weights]]
    return pd.concat([finding.sample(kind, n_trials, seed=0, longest_s=longest_s) for kind in kinds if len(kind)])


def write(found: list[Verdict], path: Path | None = None) -> Path:
    """Write what `kept` reads, and return the file."""
    return kept_tables.write(table_of(found), {}, FILE, path)


def kept(path: Path | None = None) -> pd.DataFrame:
    """Return the table that the project keeps, a row per trial and metric, or of another file that `write` wrote.

    Raises
    ------
    BenchError
        If there is no such file, or it is another one.
    """
    table, _ = kept_tables.kept(FILE, path, COLUMNS, ["commit"], holds="what trials gave that were run again")
    return table.fillna({"failure": "", "not_the_same": ""})


def by_trial(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per trial: whether all came out again, the accuracy of both runs, what was not the same.

    Parameters
    ----------
    table
        Of `kept`.

    Returns
    -------
    Besides the columns that name a trial: ``values`` and ``equal``, how many there are of all metrics and how many
    came out again; ``is_equal``, which labels that differ make false; ``accuracy_recorded``, ``accuracy_again``,
    ``labels_differ``, ``failure`` and ``not_the_same``.
    """
    names = [*COLUMNS[:8], "labels_differ", "failure", "not_the_same"]
    found = table.groupby(names, sort=False, dropna=False)[["values", "equal"]].sum().reset_index()
    overall = table[table["metric"] == "accuracy"].set_index("key")
    for run in ("recorded", "again"):
        found[f"accuracy_{run}"] = found["key"].map(overall[run])
    same = (found["values"] == found["equal"]) & ~(found["labels_differ"] > 0)
    return found.assign(is_equal=same & (found["failure"] == ""))


def processors(table: pd.DataFrame) -> tuple[str, str]:
    """Return the kinds of processor that recorded the trials of a table, and that ran them again."""
    kinds = [table[f"processor_{run}"].dropna() for run in ("recorded", "again")]
    then, now = (" and ".join(sorted(set(kind) - {""})) for kind in kinds)
    return then, now
