"""Scores of predicted cell types: pure functions of truth and probabilities, each with its direction.

Source: PROTOCOL 1.0 (hard CD8 cells; published macro F1 = scikit-learn's default label set).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, f1_score, recall_score

from bench.core.errors import BenchError, unknown
from bench.statistics.confidence import brier, contradicted, ece
from bench.statistics.predictions import ABSTAINED, Predictions


def accuracy(predictions: Predictions) -> float:
    """Return the share of cells with the right type, 0-1."""
    return float(accuracy_score(predictions.truth, predictions.predicted))


def balanced_accuracy(predictions: Predictions) -> float:
    """Return the mean recall over the types in the truth, 0-1."""
    return float(np.mean(list(recall(predictions).values())))


def macro_f1(predictions: Predictions) -> float:
    """Return the mean F1 over the types in the truth, 0-1; rare labels a model emits cannot add zeros."""
    return float(np.mean(list(f1(predictions).values())))


def macro_f1_seen(predictions: Predictions) -> float:
    """Return the mean F1 over the types in truth or prediction, 0-1, as the paper publishes it."""
    seen = np.union1d(predictions.labels, predictions.predicted[~predictions.abstained])
    return float(f1_score(predictions.truth, predictions.predicted, labels=seen, average="macro", zero_division=0))


def _per_class(score: Callable, predictions: Predictions) -> dict[str, float]:
    labels = predictions.labels
    values = score(predictions.truth, predictions.predicted, labels=labels, average=None, zero_division=0)
    return dict(zip(labels.tolist(), values.tolist(), strict=True))


def f1(predictions: Predictions) -> dict[str, float]:
    """Return the F1 of each type in the truth, 0-1."""
    return _per_class(f1_score, predictions)


def recall(predictions: Predictions) -> dict[str, float]:
    """Return the recall of each type in the truth, 0-1; the paper calls it class accuracy."""
    return _per_class(recall_score, predictions)


def support(predictions: Predictions) -> dict[str, float]:
    """Return the number of test cells of each type in the truth."""
    labels, counts = np.unique(predictions.truth, return_counts=True)
    return dict(zip(labels.tolist(), counts.astype(float).tolist(), strict=True))


def has_pair(predictions: Predictions, hard_pair: Sequence[str]) -> bool:
    """Return whether a hard pair is given and both of its types occur in the truth.

    Raises
    ------
    BenchError
        If the pair is neither empty nor two different types.
    """
    if len(hard_pair) and (isinstance(hard_pair, str) or len(hard_pair) != 2 or len(set(hard_pair)) != 2):
        raise BenchError(f"hard_pair is {hard_pair!r}; expected two different cell types, or () for none.")
    return len(hard_pair) == 2 and set(hard_pair) <= set(predictions.labels)


def hard_accuracy(predictions: Predictions, hard_pair: Sequence[str]) -> float:
    """Return the accuracy over the cells of the two hard types, all classes allowed as answers, 0-1."""
    return accuracy(predictions.take(np.isin(predictions.truth, list(hard_pair))))


def hard_f1(predictions: Predictions, hard_pair: Sequence[str]) -> float:
    """Return the mean F1 of the two hard types over ALL cells (false positives of others count), 0-1."""
    scores = f1(predictions)
    return float(np.mean([scores[label] for label in hard_pair]))


def predicted_types(predictions: Predictions) -> float:
    """Return how many different types were predicted; one for a constant prediction, that is a collapsed training."""
    return float(len(np.unique(predictions.predicted[~predictions.abstained])))


def abstained(predictions: Predictions) -> float:
    """Return the share of cells that the model rejects, 0-1; each is wrong in accuracy and no type of its own in F1."""
    return float(predictions.abstained.mean())


@dataclass(frozen=True)
class Metric:
    """One score: its function, which direction is better, one line for the reader.

    `function` takes `Predictions` (and the pair, if `hard`) and returns a number or {cell type: number}.
    """

    function: Callable[..., float | dict[str, float]]
    better: Literal["higher", "lower", "none"]
    description: str
    hard: bool = False  # defined only where a pair of hard types is given and present
    notable: bool = False  # zero for nearly every model, and recorded only where it is not
    of_probabilities: bool = False  # not defined where labels alone are known


METRICS = {
    "accuracy": Metric(accuracy, "higher", "share of test cells with the right type"),
    "balanced_accuracy": Metric(balanced_accuracy, "higher", "mean recall over the types in the test set"),
    "macro_f1": Metric(macro_f1, "higher", "mean F1 over the types in the test set"),
    "macro_f1_seen": Metric(macro_f1_seen, "higher", "mean F1 over types in truth or prediction, as published"),
    "f1": Metric(f1, "higher", "F1 of one type"),
    "recall": Metric(recall, "higher", "share of the cells of one type that were found"),
    "support": Metric(support, "none", "test cells of one type"),
    "hard_accuracy": Metric(hard_accuracy, "higher", "accuracy over the cells of the two hard types", hard=True),
    "hard_f1": Metric(hard_f1, "higher", "mean F1 of the two hard types over all test cells", hard=True),
    "ece": Metric(
        ece, "lower", "gap between confidence and accuracy of the predicted type, 15 bins", of_probabilities=True
    ),
    "brier": Metric(
        brier, "lower", "squared error of the probabilities summed over classes, 0-2", of_probabilities=True
    ),
    "predicted_types": Metric(predicted_types, "none", "different types predicted; 1 for a constant prediction"),
    "abstained": Metric(
        abstained, "none", "share of test cells that the model rejects; wrong in accuracy", notable=True
    ),
    "contradicted": Metric(
        contradicted,
        "none",
        "share of test cells whose predicted type is not the most probable one",
        notable=True,
        of_probabilities=True,
    ),
}

WITHOUT_TRUTH = ("predicted_types", "abstained", "contradicted")  # all others compare with the true type


def evaluate(metric: str, predictions: Predictions, hard_pair: Sequence[str] = ()) -> float | dict[str, float]:
    """Return one metric by name: a number, or {cell type: number} for a per-class metric.

    Raises
    ------
    BenchError
        As `demand_pair` does.
    """
    demand_pair(metric, predictions, hard_pair)
    return METRICS[metric].function(predictions, *([hard_pair] if METRICS[metric].hard else []))


def demand_pair(metric: str, predictions: Predictions, hard_pair: Sequence[str]) -> None:
    """Raise a BenchError if the name is unknown, or a hard metric is asked for without its pair in the truth."""
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    if METRICS[metric].hard and not has_pair(predictions, hard_pair):
        raise BenchError(
            f"{metric} needs two hard types that both occur in the truth; got {tuple(hard_pair)!r}. "
            "Pass hard_pair=(type, type), or choose another metric."
        )


def score(predictions: Predictions, hard_pair: Sequence[str] = ()) -> list[tuple[str, str, float]]:
    """Return every metric as rows (metric, cell type or "", value), hard and notable ones where there is something.

    Of cells whose types nobody knows these are the metrics ``WITHOUT_TRUTH``; where labels alone are known, those that
    are not of probabilities.
    """
    rows = []
    present = has_pair(predictions, hard_pair)
    for name, metric in METRICS.items():
        if (metric.hard and not present) or (name not in WITHOUT_TRUTH and not len(predictions.labels)):
            continue
        if metric.of_probabilities and predictions.probabilities is None:
            continue
        value = evaluate(name, predictions, hard_pair)
        if metric.notable and not value:
            continue
        rows += [(name, *item) for item in (value if isinstance(value, dict) else {"": value}).items()]
    return rows


def confusion(predictions: Predictions) -> pd.DataFrame:
    """Return counts of cells: rows `truth` (types in the truth), columns `predicted` (those and all known classes).

    Cells that the model rejects have a last column of their own.
    """
    counts = pd.crosstab(predictions.truth, predictions.predicted, rownames=["truth"], colnames=["predicted"])
    columns = np.union1d(predictions.labels, predictions.classes)
    if predictions.abstained.any():
        columns = np.append(columns, ABSTAINED)
    return counts.reindex(columns=pd.Index(columns, name="predicted"), fill_value=0)
