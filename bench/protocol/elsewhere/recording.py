"""From predictions that another tool has made to a record like any other: the same cells, metrics and columns.

What nobody has measured here is not known: time, memory, device.  The hash of the predictions is a part of the trial,
in a column of its own and not in that of weights: it differs from seed to seed, and runs of one name are one series.
"""

from dataclasses import asdict, replace
from hashlib import sha256
from typing import Any

import numpy as np
import pandas as pd

from bench.core.atomic import set_aside
from bench.core.errors import BenchError, listed
from bench.core.provenance import Cost
from bench.datasets import DATASETS, Request, described, loaded, tables
from bench.datasets.opened import opened
from bench.models.elsewhere.predictions import Answers
from bench.models.registry import ELSEWHERE
from bench.protocol import beside, records
from bench.protocol.attempt import Result
from bench.protocol.columns import joined
from bench.protocol.elsewhere.answered import Choices, predictions_of
from bench.protocol.place import own_file
from bench.protocol.sides import Sides
from bench.protocol.trial import PROTOCOL, Task, Trial
from bench.statistics.confidence import contradicted
from bench.statistics.metrics import score
from bench.statistics.predictions import Predictions

VERSION = 1  # raise when the same file gives other numbers
RUN = ("tier", "dataset_hash", "label", "layer", "symbols", "dropped_types", "query_hash", "split", "subset", "model")
RUN += ("variant", "fraction", "seed")  # of these, one name has one prediction of each cell


def result_of(task: Task, sides: Sides, answers: Answers, choices: Choices) -> Result:
    """Return the record of what a file says of the scored cells of a trial.

    Parameters
    ----------
    task
        Data, split, share and seed; its model stands for any.
    sides
        Its cells.
    answers
        What the file says.
    choices
        The user's.

    Raises
    ------
    BenchError
        If the file does not fit the cells or their types.
    """
    others = _names(task.source)
    others = others if task.query is None else others.union(_names(task.query), sort=False)
    said, notes = predictions_of(answers, sides, others, choices)
    if said.probabilities is not None and (share := contradicted(said)):
        n = round(share * len(said.truth))
        notes.append(f"{n:,} labels are not the most probable type; labels are scored, probabilities are calibrated")
    if (said.predicted == said.truth).all():
        notes.append("every label is the true one: is it the column of predictions?")
    trial = _trial(task.trial, choices.name, sides.scored.obs_names, said)
    shared = _shared(task, trial, sides, choices)
    rows = [{"metric": m, "class": c, "value": v} for m, c, v in score(said, described(task.source).hard_pair)]
    rows += [{"metric": m, "class": "", "value": v} for m, v in sides.measures.items()]
    cells = sides.scored.obs_names.to_numpy()
    return Result([shared | row for row in rows], cells, said, names=sides.names, notes=(*answers.notes, *notes))


def others_of(row: dict[str, Any]) -> pd.DataFrame:
    """Return records of the same tool, cells, share and seed that were made of other predictions, a row for each.

    A mean over seeds would count one of them twice.  Committed ones are looked for as if there were no own ones: these
    may be put aside.
    """
    known = joined(records.read(own=False), records.read(committed=False))
    known = known[known["status"].eq("ok") & known["predictions_hash"].ne(row["predictions_hash"])]
    for name in RUN:
        known = known[known[name] == row[name]]
    return known.drop_duplicates(["experiment", "key"])  # a committed one first


def recorded_seen(row: dict[str, Any]) -> str | None:
    """Return what an own record of the very same predictions says of the scored cells, or None where there is none."""
    if not records.is_done(row["experiment"], row["tier"], row["key"]):
        return None
    known = records.read(row["experiment"], committed=False)
    return known.loc[(known["key"] == row["key"]) & (known["tier"] == row["tier"]), "pretrained_on_scored_cells"].iloc[
        0
    ]


def is_whole(experiment: str, tier: str, key: str) -> bool:
    """Return whether the predictions of a record can be read, too."""
    try:
        return beside.read_predictions(experiment, tier, key) is not None
    except BenchError:
        return False


def put_aside(experiment: str, tier: str, key: str) -> None:
    """Rename an own record and its predictions, so that no page reads them any more."""
    for suffix in (".csv", ".npz"):  # the record first: without it its predictions are nobody's
        if (path := own_file(f"{experiment}/{tier}/{key}{suffix}")) is not None:
            set_aside(path)


def check_replaceable(others: pd.DataFrame, name: str, *, replace: bool) -> None:
    """Raise a BenchError if other predictions of that name are recorded and are not to be replaced, or cannot be."""
    if others.empty:
        return
    shown = listed((f"{row.key} of {row.experiment} ({row.tier})" for row in others.itertuples()), 3)
    if (others["origin"] == "committed").any():
        raise BenchError(
            f"{name!r} is recorded with other predictions, which are committed: {shown}; give another --name."
        )
    if not replace:
        raise BenchError(
            f"{name!r} is recorded with other predictions of the same split, fraction and seed: {shown}. Put these in "
            "their place with --replace, or keep both and give these another --name."
        )


def _names(source: Request) -> pd.Index:
    """Return the names of all cells of the data, of a file also those whose types are left out."""
    names = loaded(source, silent=True).obs_names
    if not source.drop or source.name in DATASETS:
        return names
    with opened(source.name) as file:
        return names.union(tables.index(file["obs"]), sort=False)


def _trial(of: Trial, name: str, cells: pd.Index, said: Predictions) -> Trial:
    model = {"model": ELSEWHERE, "variant": name, "recipe": "default", "hyperparameters": "{}", "weights_hash": ""}
    return replace(of, **model, protocol=f"{PROTOCOL}.{VERSION}", predictions_hash=_hash(cells, said))


def _hash(cells: pd.Index, said: Predictions) -> str:
    """Return 16 hex digits over what is said of each cell, whatever their order in the file was."""
    digest = sha256()
    for names in (cells, said.predicted, said.classes if said.probabilities is not None else ()):
        digest.update("\n".join(map(str, names)).encode() + b"\0")
    if said.probabilities is not None:
        digest.update(np.ascontiguousarray(said.probabilities.round(6), "<f8"))
    return digest.hexdigest()[:16]


def _shared(task: Task, trial: Trial, sides: Sides, choices: Choices) -> dict[str, Any]:
    """Return the columns that all rows of the record share."""
    cost = Cost()
    cost.n_train, cost.n_test = sides.train.n_obs, sides.scored.n_obs
    found = asdict(trial) | task.reading | cost.provenance()
    found |= {"experiment": task.experiment, "tier": task.tier, "key": trial.key, "status": "ok"}
    found |= {"sees_scored_cells": "unknown", "pretrained_on_scored_cells": choices.seen}
    return found | {"train_share": round(sides.train.n_obs / sides.n_trainable, 6)}
