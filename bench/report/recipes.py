"""The linear model solved to its optimum beside the published one: the same trials once more, kept in a file.

The file is part of the project; ``chapters/recipes.py`` makes it.  It lies among the committed records, of which it is
none; a row belongs to the record of the published recipe by its key.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from bench.core.errors import BenchError
from bench.protocol.runner import run_task
from bench.protocol.trials import Grid
from bench.report import kept_tables

FILE = "calibration_and_cost/recipes.csv"
MODEL = "l1_logistic"
MEASURES = ["chosen_C", "accuracy", "macro_f1", "duality_gap"]
COLUMNS = ["key", *MEASURES, "seconds"]


def published(records: pd.DataFrame) -> pd.DataFrame:
    """Return a row per published trial on all training cells that searches C: tier, data, split, scores, seconds.

    Parameters
    ----------
    records
        Of some experiments; a trial that several have counts once, with the least seconds.
    """
    known = {"model": MODEL, "variant": "default", "recipe": "published", "fraction": 1.0, "status": "ok"}
    rows = records[(records[list(known)] == pd.Series(known)).all(axis=1) & records["metric"].isin(MEASURES)]
    rows = rows[[len(json.loads(text)["Cs"]) > 1 for text in rows["hyperparameters"]]]
    index = ["key", "tier", "dataset", "split", "hyperparameters"]
    scores = rows.pivot_table(index=index, columns="metric", values="value").reindex(columns=MEASURES[:3])
    return scores.assign(seconds=rows.groupby(index)["seconds"].min()).reset_index()


def optimum(trials: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield rows of the table: what the other recipe finds on the same cells, with the same settings; nothing is kept.

    Parameters
    ----------
    trials
        Of `published`.

    Raises
    ------
    BenchError
        If one fails.
    """
    for trial in trials.itertuples():
        overrides = {MODEL: json.loads(trial.hyperparameters) | {"recipe": "optimum"}}
        grid = Grid("recipes", trial.tier, trial.dataset, [MODEL], split=trial.split, overrides=overrides)
        (task,) = grid.tasks()
        result = run_task(task)
        if result.failure:
            raise BenchError(f"{trial.dataset}, {trial.split}: {result.failure}")
        found = {row["metric"]: row["value"] for row in result.rows if row["metric"] in MEASURES and not row["class"]}
        yield {"key": trial.key} | found | {"seconds": result.rows[0]["seconds"]}


def write(rows: list[dict[str, Any]], path: Path | None = None) -> Path:
    """Write what `kept` reads, and return the file."""
    return kept_tables.write(pd.DataFrame(rows, columns=COLUMNS), {}, FILE, path)


def kept(path: Path | None = None) -> pd.DataFrame:
    """Return the table that the project keeps, or of another file that `write` wrote.

    Raises
    ------
    BenchError
        If there is no such file, or it is another one.
    """
    return kept_tables.kept(FILE, path, COLUMNS, ["commit"], holds="what the recipe optimum finds")[0]
