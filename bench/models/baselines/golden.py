"""Golden case of L1 logistic regression, fitted with the baseline's own functions."""

import numpy as np

from bench.core.errors import BenchError
from bench.models.baselines.l1_logistic import L1LogisticConfig, choose_C, decision_values, fitted
from bench.verify.case import Case

TOLERANCES = {  # case -> kind of output -> largest error, of numbers of size one unless the kind says relative
    "lr_liblinear": {
        "predictions": 0,  # where decision values do not tie
        "objective relative": 1e-6,  # up to C = 100
        "objective relative, C = 1000": 1e-5,
        "objective relative, C = 10000": 1e-3,
        "coefficients": 1e-4,  # up to C = 10
    },
}

MODERATE = 10  # largest C at which the solution itself is well determined


def liblinear(case: Case) -> None:
    """Compare coefficients, objective, predictions and cross-validation over the grid of C."""
    allowed, seed = TOLERANCES[case.name], case.settings["random_state"]
    X, y, X_test, Cs = (case[f"input.{name}"].numpy() for name in ("X", "y", "X_test", "C"))
    config = L1LogisticConfig(tol=case.settings["tol"], max_iter=case.settings["max_iter"], Cs=tuple(Cs))
    if case.settings["cv_folds"] != config.folds:
        raise BenchError(f"{case.name} has {case.settings['cv_folds']} folds, the baseline {config.folds}.")
    fits = [fitted(X, y, C, config, seed) for C in Cs]
    coef = np.stack([np.vstack([e.coef_ for e in fit.estimators_]) for fit in fits])  # (n_Cs, n_classes, n_genes)
    intercept = np.stack([np.concatenate([e.intercept_ for e in fit.estimators_]) for fit in fits])
    decision = np.stack([decision_values(fit, X_test) for fit in fits])  # (n_Cs, n_cells, n_classes)
    moderate = Cs <= MODERATE
    for name, found in (("coef", coef), ("intercept", intercept), ("decision", decision)):
        rows = np.broadcast_to(moderate.reshape(-1, *[1] * (found.ndim - 1)), found.shape)
        case.compare(f"output.{name}", found, allowed["coefficients"], where=rows)
    rows = np.broadcast_to(moderate[:, None], coef.shape[:2])
    case.compare("output.n_nonzero", (coef != 0).sum(2), allowed["predictions"], where=rows)
    _compare_objective(case, X, y, Cs, coef, intercept)
    _compare_predictions(case, decision, fits[0].classes_)
    best, accuracy = choose_C(X, y, config, seed)
    case.compare("output.cv_accuracy", accuracy, 1e-12)
    case.compare("output.cv_mean_accuracy", accuracy.mean(axis=1), 1e-12)
    case.compare("output.best_C", best, 0)
    case.compare("output.cv_fold", _folds(X, y, config.folds), 0)


def _compare_objective(case: Case, X, y, Cs, coef, intercept) -> None:
    """Compare; the intercept is penalised, and the objective is not divided by the number of cells."""
    allowed = TOLERANCES[case.name]
    sign = np.where(y[:, None] == np.unique(y), 1, -1)
    values = np.stack([X.astype(np.float64) @ c.T + b for c, b in zip(coef, intercept, strict=True)])
    losses = np.logaddexp(0, -sign * values).sum(axis=1)  # (n_Cs, n_classes)
    objective = np.abs(coef).sum(axis=2) + np.abs(intercept) + Cs[:, None] * losses
    expected = case["output.objective"].numpy()
    relative = (np.abs(objective - expected) / expected).max(axis=1)
    for C, error in zip(Cs, relative, strict=True):
        kind = f"objective relative, C = {C:g}"
        tolerance = allowed.get(kind, allowed["objective relative"])
        case.note("output.objective" + kind.removeprefix("objective") * (kind in allowed), error, tolerance)


def _compare_predictions(case: Case, decision: np.ndarray, classes: np.ndarray) -> None:
    """Compare where no decision values tie; elsewhere rounding noise would decide which class comes first."""
    allowed = TOLERANCES[case.name]["predictions"]
    best = np.sort(case["output.decision"].numpy(), axis=2)
    clear = best[..., -1] > best[..., -2]
    predicted = classes[decision.argmax(axis=2)]
    case.compare("output.prediction", predicted, allowed, where=clear)
    accuracy = (predicted == case["input.y_test"].numpy()).mean(axis=1)
    case.compare("output.test_accuracy", accuracy, 1e-12, where=clear.all(axis=1))


def _folds(X, y, n_folds: int) -> np.ndarray:
    from sklearn.model_selection import StratifiedKFold

    fold = np.empty(len(y), dtype=int)
    for number, (_, test) in enumerate(StratifiedKFold(n_folds).split(X, y)):
        fold[test] = number
    return fold
