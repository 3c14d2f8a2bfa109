"""Metrics against scikit-learn, torchmetrics, hand counts and a transcription of PROTOCOL 1.0."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, f1_score, recall_score
from torchmetrics.classification import MulticlassCalibrationError

from bench.core.errors import BenchError
from bench.statistics.metrics import METRICS, confusion, ece, evaluate, score
from bench.statistics.predictions import Predictions

TYPES = np.array(["B", "CD4 T", "CD8 T", "NK", "mono"])
HARD = ("CD4 T", "CD8 T")


def random_predictions(seed: int, n_cells: int = 500, known: slice = slice(None)) -> Predictions:
    """Confident but often wrong predictions; truth never holds the last type."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(TYPES[:-1], size=n_cells, p=[0.4, 0.3, 0.25, 0.05])
    logits = rng.normal(size=(n_cells, len(TYPES))) + 1.5 * (truth[:, None] == TYPES)
    probabilities = np.exp(2 * logits[:, known])
    return Predictions(truth, probabilities / probabilities.sum(axis=1, keepdims=True), TYPES[known])


@pytest.fixture(params=range(5))
def predictions(request):
    return random_predictions(request.param)


def test_every_metric_declares_its_direction_and_description():
    for name, metric in METRICS.items():
        assert metric.better in {"higher", "lower", "none"}, name
        assert len(metric.description) > 10, name
        assert metric.function.__doc__, name


def test_every_metric_moves_in_its_direction():
    truth = np.repeat(TYPES, 20)
    hit = (truth[:, None] == TYPES).astype(float)
    right, wrong = Predictions(truth, hit, TYPES), Predictions(truth, np.roll(hit, 1, axis=1), TYPES)
    good, bad = ({row[:2]: row[2] for row in score(p, HARD)} for p in (right, wrong))
    for metric, label in good:
        sign = {"higher": 1, "lower": -1, "none": 0}[METRICS[metric].better]
        assert np.sign(good[metric, label] - bad[metric, label]) == sign, metric


def test_accuracy_and_balanced_accuracy(predictions):
    assert evaluate("accuracy", predictions) == np.mean(predictions.truth == predictions.predicted)
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        expected = balanced_accuracy_score(predictions.truth, predictions.predicted)
    assert evaluate("balanced_accuracy", predictions) == pytest.approx(expected)


def test_macro_f1_over_the_fixed_and_the_seen_label_set(predictions):
    truth, predicted = predictions.truth, predictions.predicted
    assert "mono" in predicted and "mono" not in predictions.labels
    fixed = f1_score(truth, predicted, labels=list(TYPES[:-1]), average="macro")
    seen = f1_score(truth, predicted, labels=list(TYPES), average="macro", zero_division=0)
    assert evaluate("macro_f1", predictions) == pytest.approx(fixed)
    assert evaluate("macro_f1_seen", predictions) == pytest.approx(seen)
    assert fixed > seen  # the absent type enters the published average as a zero


def test_per_class_scores_cover_exactly_the_types_in_the_truth(predictions):
    truth, predicted = predictions.truth, predictions.predicted
    for name, reference in {"f1": f1_score, "recall": recall_score}.items():
        values = evaluate(name, predictions)
        assert list(values) == list(TYPES[:-1])
        for label, value in values.items():
            assert value == pytest.approx(reference(truth == label, predicted == label))
    assert evaluate("support", predictions) == pd.Series(truth).value_counts().to_dict()


def test_hard_metrics_follow_the_protocol(predictions):
    truth, predicted = predictions.truth, predictions.predicted
    hard = [i for i in range(len(truth)) if truth[i] in HARD]
    accuracy = sum(predicted[i] == truth[i] for i in hard) / len(hard)
    f1s = []
    for label in HARD:  # false positives from every other class count
        hits = sum(p == label == t for t, p in zip(truth, predicted, strict=True))
        precision, recall = hits / sum(predicted == label), hits / sum(truth == label)
        f1s.append(2 * precision * recall / (precision + recall))
    assert evaluate("hard_accuracy", predictions, HARD) == pytest.approx(accuracy)
    assert evaluate("hard_f1", predictions, HARD) == pytest.approx(np.mean(f1s))


@pytest.mark.parametrize("pair", [(), ("CD4 T", "mono")])
def test_hard_metrics_are_left_out_where_undefined(pair):
    predictions = random_predictions(0)
    assert not {row[0] for row in score(predictions, pair)} & {"hard_accuracy", "hard_f1"}
    with pytest.raises(BenchError, match="two hard types that both occur"):
        evaluate("hard_f1", predictions, pair)


@pytest.mark.parametrize("pair", [("NK",), ("NK", "NK"), "NK", ("B", "NK", "mono")])
def test_a_hard_pair_is_two_types(pair):
    with pytest.raises(BenchError, match="two different cell types"):
        score(random_predictions(0), pair)


def test_ece_equals_torchmetrics(predictions):
    reference = MulticlassCalibrationError(num_classes=len(TYPES), n_bins=15, norm="l1")
    target = torch.tensor(np.searchsorted(TYPES, predictions.truth))
    expected = reference(torch.tensor(predictions.probabilities), target).item()
    assert evaluate("ece", predictions) == pytest.approx(expected, abs=1e-6)


def test_ece_bins_are_closed_on_the_right():
    # an edge belongs to the bin below it, so the gaps of a right and a wrong cell cancel in part
    edge = np.linspace(0, 1, 16)[9]  # 0.6; the bin below starts at 0.533
    for high, low in [(edge, 0.57), (1.0, 0.95)]:
        predictions = Predictions(["a", "b"], [[high, 1 - high], [low, 1 - low]], ["a", "b"])
        assert ece(predictions) == pytest.approx(abs((1 - high) - low) / 2)


def test_brier_equals_scikit_learn(predictions):
    expected = brier_score_loss(predictions.truth, predictions.probabilities, labels=TYPES, scale_by_half=False)
    assert evaluate("brier", predictions) == pytest.approx(expected)


def test_brier_of_a_type_the_model_does_not_know_by_hand():
    predictions = Predictions(["a", "z"], [[0.75, 0.25], [0.5, 0.5]], ["a", "b"])
    first, unknown = 0.25**2 + 0.25**2, 0.5**2 + 0.5**2 + 1.0**2
    assert evaluate("brier", predictions) == pytest.approx((first + unknown) / 2)


def test_predicted_types_of_a_constant_prediction_is_one():
    truth = np.repeat(TYPES, 20)
    constant = Predictions(truth, np.tile([0.2, 0.3, 0.2, 0.2, 0.1], (100, 1)), TYPES)
    assert evaluate("predicted_types", constant) == 1
    assert evaluate("accuracy", constant) == 0.2  # the share of that type, which need not be the largest
    two = Predictions(["a", "b", "z"], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], ["a", "b", "c"])
    assert evaluate("predicted_types", two) == 2  # neither the types of the truth nor those known


def test_unknown_types_count_as_errors_everywhere():
    predictions = random_predictions(1, known=slice(1, None))  # the model lacks B
    assert evaluate("recall", predictions)["B"] == evaluate("f1", predictions)["B"] == 0
    assert confusion(predictions).loc["B", "B"] == 0
    assert evaluate("accuracy", predictions) < np.mean(predictions.truth != "B")


def test_confusion_counts_and_axes(predictions):
    counts = confusion(predictions)
    assert (counts.index.name, counts.columns.name) == ("truth", "predicted")
    assert list(counts.index) == list(TYPES[:-1]) and list(counts.columns) == list(TYPES)
    assert counts.loc["B", "NK"] == sum((predictions.truth == "B") & (predictions.predicted == "NK"))
    assert counts.to_numpy().sum() == len(predictions.truth)


def test_confusion_keeps_a_class_that_is_never_predicted():
    counts = confusion(Predictions(["a", "b"], [[1.0, 0, 0], [1.0, 0, 0]], ["a", "b", "c"]))
    assert counts.to_numpy().tolist() == [[1, 0, 0], [1, 0, 0]]


def test_classes_are_sorted_and_the_first_wins_a_tie():
    predictions = Predictions(["a", "b"], [[0.5, 0.5], [0.1, 0.9]], ["b", "a"])
    assert predictions.predicted.tolist() == ["a", "a"]
    assert predictions.probabilities.tolist() == [[0.5, 0.5], [0.9, 0.1]]


def test_a_model_may_say_which_of_its_saturated_types_it_means():
    probabilities = [[0.5, 0.5], [0.5, 0.5], [0.25, 0.75]]
    predictions = Predictions(["a", "b", "b"], probabilities, ["a", "b"], ["a", "b", "a"])
    assert predictions.predicted.tolist() == ["a", "b", "a"]
    assert predictions.take([2, 1]).predicted.tolist() == ["a", "b"]
    assert evaluate("accuracy", predictions) == pytest.approx(2 / 3)
    assert ece(predictions) == pytest.approx((2 * 0.5 + 0.25) / 3)  # bins of 0.5 (two right) and 0.25 (wrong)


def test_scores_do_not_depend_on_the_order_of_cells_or_columns():
    predictions, rng = random_predictions(3), np.random.default_rng(0)
    cells, columns = rng.permutation(500), rng.permutation(5)
    shuffled = Predictions(
        predictions.truth[cells], predictions.probabilities[cells][:, columns], predictions.classes[columns]
    )
    for (name, label, value), (_, _, other) in zip(score(predictions, HARD), score(shuffled, HARD), strict=True):
        assert value == pytest.approx(other), (name, label)


def test_score_has_one_row_per_metric_or_type():
    rows = score(random_predictions(0), HARD)
    assert {row[0] for row in rows} == {name for name, metric in METRICS.items() if not metric.notable}
    assert [row[1] for row in rows if row[0] == "f1"] == list(TYPES[:-1])
    assert len({row[:2] for row in rows}) == len(rows) and all(isinstance(row[2], float) for row in rows)


def test_half_precision_probabilities_are_accepted():
    predictions = random_predictions(2)
    stored = Predictions(predictions.truth, predictions.probabilities.astype(np.float16), TYPES)
    assert evaluate("brier", stored) == pytest.approx(evaluate("brier", predictions), abs=1e-3)


GOOD = {"truth": ["a", "b"], "probabilities": [[1.0, 0.0], [0.5, 0.5]], "classes": ["a", "b"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"truth": ["a"]}, r"shape \(2, 2\); expected \(1, 2\)"),
        ({"truth": []}, "at least one label"),
        ({"truth": ["a", None]}, "1 missing labels"),
        ({"classes": ["a", "a"]}, r"\['a'\] more than once"),
        ({"classes": ["a", "b", "c"]}, r"expected \(2, 3\)"),
        ({"probabilities": [[1.0, 0.0], [np.nan, 0.5]]}, "1 cells have NaN"),
        ({"probabilities": [[1.0, 0.0], [np.inf, 0.5]]}, "1 cells have NaN or infinite"),
        ({"probabilities": [[1.1, -0.1], [0.5, 0.5]]}, "lowest probability is -0.1"),
        ({"probabilities": [[1.0, 0.0], [0.5, 0.498]]}, "cell 1 sum to 0.998"),
        ({"predicted": ["a"]}, "predicted has 1 labels for 2 cells"),
        ({"predicted": ["a", "z"]}, r"predicted holds \['z'\]"),
        ({"probabilities": [1.0, 0.0]}, r"shape \(2,\)"),
    ],
)
def test_invalid_predictions_are_refused_with_a_sentence(change, message):
    Predictions(**GOOD)
    with pytest.raises(BenchError, match=message):
        Predictions(**(GOOD | change))


def test_an_unknown_metric_names_the_nearest():
    with pytest.raises(BenchError, match="Did you mean 'macro_f1'"):
        evaluate("macrof1", random_predictions(0))
