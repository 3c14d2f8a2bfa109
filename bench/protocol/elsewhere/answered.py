"""What another tool says of cells as predictions of the scored ones: joined by names, types as the data spell them."""

from collections import Counter
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import pandas as pd

from bench.core.errors import BenchError, listed
from bench.datasets.labels import MISSING, key_of
from bench.datasets.spelling import named_alike, named_by_r
from bench.models.answers import rejected
from bench.models.contract import labels_of
from bench.models.elsewhere.predictions import Answers
from bench.protocol.elsewhere.joining import joined
from bench.protocol.sides import Sides
from bench.statistics.predictions import ABSTAINED, Predictions


@dataclass(frozen=True)
class Choices:
    """What a user says of predictions."""

    name: str  # of the tool
    seen: str = "unknown"  # whether it has seen the scored cells: yes, no or unknown
    missing: str = "refuse"  # or abstain: of scored cells that the file lacks
    rejects: tuple[str, ...] = ()  # words, besides the usual ones, for a cell that is given no type


def predictions_of(answers: Answers, sides: Sides, others: pd.Index, choices: Choices) -> tuple[Predictions, list[str]]:
    """Return what was predicted for the scored cells, in their order, and what is to be said of it.

    Parameters
    ----------
    answers
        What a file says.
    sides
        The cells that were trained on and those that are scored.
    others
        Names of all cells of the data.
    choices
        The user's.

    Raises
    ------
    BenchError
        If cells do not fit, see `bench.protocol.elsewhere.joining`, or types have other names than in the data.
    """
    place, notes = joined(answers.cells, _table(answers), sides, others, choices.missing)
    known, truth = set(labels_of(sides.train).tolist()), sides.truth
    there = set(truth.tolist())
    found = answers.probabilities
    values = None if found is None else np.where(place[:, None] < 0, np.nan, found.to_numpy(float)[place])
    label = _labels(answers, place, values)
    label, respelt = _spelt(label, known | there)
    nothing = np.array([key_of(name) in MISSING for name in label]) & ~np.isin(label, list(known))
    refused = rejected(label, choices.rejects, sorted(known)) & ~nothing
    predicted = np.where(nothing | refused, ABSTAINED, label)
    _check_named_alike(predicted, there, known)
    notes += respelt + _on_abstentions(label, nothing & (place >= 0), refused) + _on_unknown(predicted, known, there)
    given = set(predicted.tolist()) - {ABSTAINED}
    batch = sides.scored.obs["batch"].astype(str).to_numpy() if "batch" in sides.scored.obs else None
    if values is None:
        return Predictions(truth, None, np.array(sorted(given | known)), predicted, batch), notes
    classes = [*found.columns, *sorted(given - set(found.columns))]
    values, more = _complete(values, len(classes), predicted)
    return Predictions(truth, values, np.array(classes), predicted, batch), notes + more


def _table(answers: Answers) -> pd.DataFrame:
    """Return all that is said of each cell, to find cells of which two things are said."""
    found = pd.DataFrame(index=range(len(answers.cells)))
    if answers.probabilities is not None:
        found = answers.probabilities.set_axis(range(answers.probabilities.shape[1]), axis=1)
    return found if answers.labels is None else found.assign(label=answers.labels)


def _labels(answers: Answers, place: np.ndarray, values: np.ndarray | None) -> np.ndarray:
    """Return the label of each scored cell, empty where it has none; the most probable type where none is given."""
    if answers.labels is not None:
        return np.where(place < 0, "", answers.labels[place])
    types = np.sort(answers.probabilities.columns.to_numpy(str))  # of equal ones the alphabetically first
    ordered = values[:, np.argsort(answers.probabilities.columns.to_numpy(str), kind="stable")]
    without = np.isnan(ordered).all(axis=1)
    return np.where(without, "", types[np.nan_to_num(ordered).argmax(axis=1)])


def _spelt(label: np.ndarray, types: set[str]) -> tuple[np.ndarray, list[str]]:
    """Return labels as the data spell them, where case, blanks or what R changes in names alone differ.

    Raises
    ------
    BenchError
        If R spells two types as one label is spelt.
    """
    others = set(label.tolist()) - types
    alike = named_alike(others, types)
    by_r = named_by_r(others - set(alike), types)
    for name, meant in by_r.items():
        if len(meant) > 1:
            raise BenchError(
                f"The label {name!r} may mean {listed(map(repr, meant))}, which R spells alike; write types as the "
                "training cells have them."
            )
    alike |= {name: meant for name, (meant,) in by_r.items()}
    if not alike:
        return label, []
    shown = listed((f"{name!r} as {to!r}" for name, to in sorted(alike.items())), 4)
    return np.array([alike.get(name, name) for name in label]), [f"types that are spelt otherwise are taken: {shown}"]


def _on_abstentions(label: np.ndarray, nothing: np.ndarray, refused: np.ndarray) -> list[str]:
    counts = Counter(label[refused].tolist()) | Counter({"no label": int(nothing.sum())})
    shown = listed(f"{name} {n:,}" for name, n in counts.items() if n)
    return [f"cells that are given no type, which is wrong in accuracy: {shown}"] if shown else []


def _on_unknown(predicted: np.ndarray, known: set[str], truth: set[str]) -> list[str]:
    """Say how many labels are no types of the training cells."""
    counts = Counter(predicted[~np.isin(predicted, [*known, ABSTAINED])].tolist())
    odd = {name: n for name, n in counts.most_common() if name not in truth}
    taught = {name: n for name, n in counts.most_common() if name in truth}
    notes = []
    if odd:
        shown = listed((f"{name!r} {n:,}" for name, n in odd.items()), 5)
        notes.append(f"{sum(odd.values()):,} cells are given types that the data do not have, which is wrong: {shown}")
    if taught:
        shown = listed((f"{name!r} {n:,}" for name, n in taught.items()), 5)
        notes.append(
            f"{sum(taught.values()):,} cells are given types that no training cell has, yet scored ones: {shown}"
        )
    return notes


def _check_named_alike(predicted: np.ndarray, truth: set[str], known: set[str]) -> None:
    """Refuse where no prediction can be right because types have other names."""
    given = set(predicted.tolist()) - {ABSTAINED}
    if not given or given & truth or (given <= known and known & truth):
        return
    near = {name: get_close_matches(name, sorted(truth), n=1, cutoff=0.3) for name in sorted(given)}
    pairs = [f"{name!r}, where the data have {close[0]!r}" for name, close in near.items() if close]
    shown = listed(pairs or (f"{name!r}" for name in sorted(given)), 3)
    raise BenchError(
        f"None of the predicted types is one of the scored cells, which have {listed(map(repr, sorted(truth)), 5)}. "
        f"Predicted is {shown}. Write types as the training cells have them, or name another column of labels."
    )


def _complete(values: np.ndarray, n_classes: int, predicted: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return probabilities with a column per class, equal ones for cells that have none; how many is said."""
    values = np.hstack([values, np.zeros((len(values), n_classes - values.shape[1]))])
    without = np.isnan(values[:, 0])
    values[without] = 1 / n_classes
    n = int((without & (predicted != ABSTAINED)).sum())
    return values, [f"{n:,} cells have a label and no probabilities: all types count as equally probable"] if n else []
