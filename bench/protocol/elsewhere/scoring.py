"""What ``bench score`` does: find the cells that were asked for, read what a tool says of them, record it."""

import json
import re
import shlex
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import BenchError, listed, unknown
from bench.datasets import DATASETS, Request, loaded
from bench.datasets.contract import ORIGINAL
from bench.models.contract import labels_of
from bench.models.elsewhere import predictions as files
from bench.protocol import records
from bench.protocol.attempt import Result
from bench.protocol.elsewhere import given_splits, recording
from bench.protocol.elsewhere.answered import Choices
from bench.protocol.elsewhere.split_table import Asked
from bench.protocol.notebooks import chapters, known_parameters
from bench.protocol.parameters import TIERS
from bench.protocol.query import is_labelled
from bench.protocol.sides import Sides, sides_of
from bench.protocol.trial import Task

PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # of names that become folders
READING = ("label", "batch", "layer", "symbols", "drop", "subset")  # of options that a table of splits makes needless


def scored(path: Path, options: Mapping[str, Any]) -> list[str]:
    """Score a file of predictions, record it, and return what is to be printed of it.

    Parameters
    ----------
    path
        The file.
    options
        Of ``bench score``, by name.

    Raises
    ------
    BenchError
        If the request or the file is wrong; nothing is recorded then.
    """
    choices = Choices(_name(options["name"], path), options["seen"], options["missing"], options["rejects"])
    _check_place(options["experiment"], options["tier"])
    asked, rows = _asked(options)
    _check_tier(options["tier"], asked)
    tasks = asked.tasks(options["experiment"], options["tier"])
    if len(tasks) > 1:
        splits = listed((task.trial.split for task in tasks), 5)
        raise BenchError(
            f"Predictions are of one split a file, and {asked.splits[0]} is {splits}; name one with --split."
        )
    (task,) = tasks
    _check_labelled(task)
    sides = sides_of(task)
    if rows is not None:
        given_splits.check_same(rows, Path(options["splits"]).expanduser(), task, sides)
    answers = _answers(path, options, task, sides)
    try:
        result = recording.result_of(task, sides, answers, choices)
    except BenchError as error:
        raise BenchError(f"{path}: {error}") from error
    for note in result.notes:
        print(f"{path.name}: {note}", file=sys.stderr)
    return [_scores(result), _recorded(result, options["replace"]), *_next(result, asked)]


def _name(given: str | None, path: Path) -> str:
    """Return what the tool is called."""
    name = path.name.removesuffix(".gz").rpartition(".")[0] or path.name if given is None else given
    if not name.strip() or not name.isprintable():
        raise BenchError(f"--name {name!r} should be a few words in one line, such as SingleR.")
    return " ".join(name.split())


def _check_place(experiment: str, tier: str) -> None:
    """Raise a BenchError if there is no such tier, or an experiment that no chapter shows by a slip of the pen."""
    if tier not in TIERS:
        raise unknown("tier", tier, TIERS)
    if not PLAIN.fullmatch(experiment) or experiment == "notebooks":
        raise BenchError(f"--experiment {experiment!r} should be a chapter's name, or letters, digits, - and _.")
    records.check_writable(experiment, tier)


def _asked(options: Mapping[str, Any]) -> tuple[Asked, Any]:
    """Return what was split and how, by a table of splits or by options, and the table's rows."""
    if options["splits"]:
        needless = [f"--{name}" for name in READING if options[name]]
        if needless:
            raise BenchError(f"The table of splits says how the data were read; leave {listed(needless)} out.")
        path = Path(options["splits"]).expanduser()
        meant = (options[name] for name in ("which", "fraction", "seed"))
        rows = given_splits.chosen(given_splits.read(path), path, *meant)
        return given_splits.asked_by(rows, path, options["data"], options["seed"], options["query"]), rows
    if not options["data"]:
        raise BenchError("Say which cells were predicted: --splits splits.csv of bench split, or --data with --split.")
    source = Request(options["data"], **{name: options[name] for name in READING[:5]})
    fraction = 1.0 if options["fraction"] is None else options["fraction"]
    splits = (options["which"],) if options["which"] else ()
    seeds, subset = (options["seed"] or 0,), options["subset"] or "paired"
    return Asked(source, splits, (fraction,), seeds, subset, options["query"]), None


def _check_labelled(task: Task) -> None:
    """Raise a BenchError if nobody knows the types of the cells that would be scored."""
    if task.query is not None and not is_labelled(loaded(task.query, silent=True)):
        raise BenchError(
            f"query {Path(task.query.name).name} has no column {task.reading['label']!r} with types, so that there is "
            "nothing to score predictions by; add that column, or keep the labels as the tool has written them."
        )


def _check_tier(tier: str, asked: Asked) -> None:
    if tier == "paper" and asked.source.name not in DATASETS:
        name = Path(asked.source.name).name
        raise BenchError(f"tier paper stands for the paper's own data, not {name}; name tier standin for other data.")


def _answers(path: Path, options: Mapping[str, Any], task: Task, sides: Sides) -> files.Answers:
    """Return what the files say, read by names of cells and types."""
    adata = loaded(task.source, silent=True)
    cells = {*adata.obs_names, *adata.obs.get(ORIGINAL, ()), *sides.scored.obs_names, *sides.names}
    types = np.union1d(labels_of(sides.train), sides.truth if is_labelled(sides.scored) else []).tolist()
    known = files.Known(cells, types, task.reading["label"])
    found = files.read(path, known, options["cell_column"], options["label_column"])
    if not options["probabilities"]:
        return found
    other = Path(options["probabilities"]).expanduser()
    return files.with_probabilities(found, files.read(other, known), other)


def _scores(result: Result) -> str:
    """Return the sentence with the scores."""
    row, said = result.rows[0], result.predictions
    values = {row["metric"]: row["value"] for row in result.rows if row["class"] == ""}
    shown = [f"{name.replace('_f1', ' F1')} {values[name]:.3f}" for name in ("accuracy", "macro_f1") if name in values]
    shown += [f"ECE {values['ece']:.3f}"] if "ece" in values else ["no probabilities, so no calibration"]
    of = f"query {row['query']}, trained on {row['dataset']}" if row["query"] else None
    of = of or f"{row['dataset']}, split {row['split']}"
    return (
        f"{row['variant']} on {of}, {100 * row['train_share']:.3g} % of the training "
        f"cells, seed {row['seed']}: {', '.join(shown)}; {len(said.truth):,} cells of {len(said.labels)} types"
    )


def _recorded(result: Result, replace: bool) -> str:
    """Record the result, and say where."""
    row = result.rows[0]
    others = recording.others_of(row)
    recording.check_replaceable(others, row["variant"], replace=replace)
    place, seen = (row["experiment"], row["tier"], row["key"]), recording.recorded_seen(row)
    if seen == row["pretrained_on_scored_cells"] and recording.is_whole(*place):
        return f"recorded already: {records.path_of(*place)}"
    for other in others.itertuples():
        recording.put_aside(other.experiment, other.tier, other.key)
    if seen is not None:  # the same predictions: something else is said of them now, or the file is damaged
        recording.put_aside(*place)
    result.write()
    instead = [f"{other.key} of {other.experiment}" for other in others.itertuples()]
    told = f"; has the tool seen scored cells before: {row['pretrained_on_scored_cells']}"
    told += f"; in the place of {listed(instead, 3)}, which stays beside as .aside" if instead else ""
    return f"recorded as {row['model']}@{row['variant']}, key {row['key']}: {records.path_of(*place)}{told}"


def _next(result: Result, asked: Asked) -> list[str]:
    """Return the commands that show what is recorded."""
    row = result.rows[0]
    labels = f"its labels: bench predictions {row['key'][:8]}"
    if row["experiment"] not in chapters():
        near = get_close_matches(row["experiment"], chapters(), n=1)
        hint = f"; no chapter of that name shows it{f', did you mean {near[0]}?' if near else ''}" if chapters() else ""
        return [f"it is listed by: bench records {row['experiment']}{hint}", labels]
    source = asked.source
    scored = {"query": asked.query} if asked.query else {"split": row["split"]}
    wanted = {"tier": row["tier"], "dataset": source.name, **scored}
    wanted |= {name: getattr(source, name) for name in ("label", "batch", "layer", "symbols")}
    wanted |= {"drop": json.dumps(source.drop) if source.drop else None}
    wanted |= {"fractions": f"[{row['fraction']}]", "seeds": f"[{row['seed']}]"}
    wanted |= {"subset": asked.subset} if asked.subset != "paired" else {}
    known = known_parameters(row["experiment"])
    words = [word for name, value in wanted.items() if value and name in known for word in ("-p", name, value)]
    return [f"beside the models of that chapter: bench run {row['experiment']} {shlex.join(words)}", labels]
