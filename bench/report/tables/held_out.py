"""What a model loses on a donor, study or condition that it was not trained on, beside a random split."""

import numpy as np
import pandas as pd

from bench.core.errors import BenchError
from bench.protocol.beside import read_predictions
from bench.report.figures.names import one_line, told_apart
from bench.report.figures.runs import by_source, complete, named, runs_of
from bench.report.figures.sources import with_titles
from bench.report.figures.style import is_control, natural
from bench.report.tables.failed import with_failed
from bench.statistics.intervals import t_interval

RANDOM, PREFIX = "random", "held_out:"
ENOUGH = 3  # groups, for an interval over them


def groups_of(records: pd.DataFrame, metric: str = "accuracy") -> dict[str, pd.DataFrame]:
    """Return one score per series and split, the mean over seeds, by tier and data set.

    Returns
    -------
    Tables with a row per model and columns ``random`` and one per group that was held out in turn.

    Raises
    ------
    BenchError
        If no group was held out.
    """
    found = {}
    for title, runs in _runs(records, metric).items():
        table = runs.pivot_table(index="series", columns="group", values="value", observed=True)
        table = table[[name for name in (RANDOM, *sorted(set(table) - {RANDOM})) if name in table]]
        found[title] = table.loc[sorted(table.index, key=natural)]
    return found


def common_groups(records: pd.DataFrame, metric: str = "accuracy") -> dict[str, pd.DataFrame]:
    """Return what `groups_of` does, of groups and models of which every model has every group: as many as there are.

    Means over groups are only then of the same cells; controls and the random split are left out.
    """
    found = {}
    for title, table in groups_of(records, metric).items():
        table = table.drop(columns=RANDOM, errors="ignore")
        table = table.loc[[name for name in table.index if not is_control(name)]]
        models = table.notna().sum()
        blocks = [table[models.index[models >= n]].dropna() for n in sorted(set(models))]
        found[title] = max(blocks, key=lambda block: block.size)
    return found


def held_out(records: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Return by source and model: random split, mean over groups held out in turn, what is lost, the worst group.

    From three groups on the mean has half of its 95 % t interval over groups, which covers the choice of group.  A
    model that failed has dashes and the reason.
    """
    rows = {}
    for title, table in groups_of(records, metric).items():
        for series, values in table.iterrows():
            groups = values.drop(RANDOM, errors="ignore").dropna()
            random, mean = values.get(RANDOM, np.nan), groups.mean()
            said = f"{mean:.3f}" + (f" ± {t_interval(groups).half_width:.3f}" if len(groups) >= ENOUGH else "")
            worst = (groups.min(), groups.idxmin()) if len(groups) else (np.nan, "–")
            rows[title, series] = (random, said if len(groups) else "–", random - mean, *worst, len(groups))
    names = ["random split", "held out, mean", "lost", "worst", "held out there", "groups"]
    table = pd.DataFrame.from_dict(rows, "index", columns=names)
    table = table.set_axis(pd.MultiIndex.from_tuples(rows, names=["", "model"]))
    return with_failed(table, with_titles(named(records), split=False))


def per_group(records: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Return by source and held-out group: a score per model, the scored cells, the share that no model can name.

    That share are cells of types which no other group has; it is nan where predictions are not kept.
    """
    tables, trials = {}, _runs(records, metric)
    for title, table in groups_of(records, metric).items():
        scores = table.loc[[name for name in table.index if not is_control(name)]].T
        cells = trials[title].drop_duplicates("group").set_index("group")
        scores["cells"] = cells["n_test"].reindex(scores.index).round().astype("Int64")
        scores["of unseen types"] = [_unseen(cells.loc[name]) for name in scores.index]
        tables[title] = scores.rename({RANDOM: "random split"})
    return pd.concat(tables, names=["", "held out"])


def _runs(records: pd.DataFrame, metric: str) -> dict[str, pd.DataFrame]:
    """Return the runs of data sets of which a group was held out, by title, with the name of the ``group``."""
    rows = runs_of(complete(records[records["metric"] == metric]))
    rows = rows[rows["split"].eq(RANDOM) | rows["split"].str.startswith(PREFIX)]
    groups = {split: split.removeprefix(PREFIX) for split in set(rows["split"])}
    held = {split: name if name != RANDOM else f"group {name}" for split, name in groups.items() if split != RANDOM}
    names = told_apart({split: [one_line(name, 30)] for split, name in held.items()}) | {RANDOM: RANDOM}
    rows = with_titles(rows, split=False).assign(group=rows["split"].map(names))
    found = {title: runs for title, runs in by_source(rows).items() if not runs["split"].eq(RANDOM).all()}
    if not found:
        raise BenchError('No group is held out in these records; run the chapter with -p split "held_out:*".')
    return found


def _unseen(trial: pd.Series) -> float:
    try:
        said = read_predictions(trial["experiment"], trial["tier"], trial["key"])[1]
    except BenchError:
        return np.nan
    return float((~np.isin(said.truth, said.classes)).mean())
