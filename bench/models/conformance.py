"""What the protocol relies on in a model, as checks that its own tests run too: ``bench check my_module:MyModel``."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from anndata import AnnData

from bench.core.errors import BenchError
from bench.core.settings import parse
from bench.models.answers import remarks
from bench.models.candidate import Candidate
from bench.models.contract import labels_of
from bench.models.spec import Spec, create, declared, describe
from bench.statistics.metrics import accuracy
from bench.weights import resolve

N_ALONE = 20  # cells that are predicted one by one


def types(candidate: Candidate) -> None:
    """Compare ``classes_`` with the types of the training cells, also of cells that lack one type."""
    last = np.unique(labels_of(candidate.train))[-1]
    fewer = candidate.train[labels_of(candidate.train) != last].copy()
    for model, train in ((candidate.fitted, candidate.train), (candidate.fit(fewer), fewer)):
        found, expected = list(map(str, model.classes_)), np.unique(labels_of(train)).tolist()
        if found != expected:
            raise BenchError(f"classes_ is {found}; expected the types of the training cells, sorted: {expected}.")


def probabilities(candidate: Candidate) -> None:
    """Let `Predictions` check shape, values and, of a model with a ``predict`` of its own, labels."""
    candidate.predictions(candidate.fitted)


def seed(candidate: Candidate) -> None:
    """Fit again with the same seed and, where the model says that it draws nothing, with another one."""
    first = candidate.probabilities(candidate.fitted)
    again = candidate.probabilities(candidate.fit(candidate.train.copy()))
    if (off := np.abs(again - first).max()) > candidate.tolerance:
        raise BenchError(f"Two fits with seed=0 differ by {off:.2g}; draw everything from the seed.")
    if not declared(candidate.fitted, getattr(candidate.fitted, "variant", None), "stochastic", True):
        other = candidate.probabilities(candidate.fit(candidate.train.copy(), seed=1))
        if (other.argmax(axis=1) != first.argmax(axis=1)).any():
            raise BenchError("stochastic is False, but another seed gives other labels; leave stochastic at True.")


def order(candidate: Candidate) -> None:
    """Predict the scored cells in another order; one batch of them, where a dependence on the batch is declared."""
    model, cells = candidate.fitted, candidate.cells
    if getattr(model, "batch_dependent", False):
        cells = cells[: getattr(getattr(model, "config", None), "evaluation_batch", None) or 1].copy()
    places = np.random.default_rng(0).permutation(cells.n_obs)
    shuffled, expected = candidate.probabilities(model, cells[places]), candidate.probabilities(model, cells)[places]
    _same(shuffled, expected, candidate.tolerance, "in another order", "predict each cell by itself")


def company(candidate: Candidate) -> None:
    """Predict cells one by one and in two parts; a dependence on the batch may be declared."""
    model, cells = candidate.fitted, candidate.cells
    if getattr(model, "batch_dependent", False):
        return
    together = candidate.probabilities(model)
    advice = "fit all statistics on the training cells, or declare batch_dependent = True"
    alone = [candidate.probabilities(model, cells[i : i + 1]) for i in range(min(N_ALONE, cells.n_obs))]
    _same(np.vstack(alone), together[: len(alone)], candidate.tolerance, "alone", advice)
    parts = [candidate.probabilities(model, part) for part in (cells[:31], cells[31:]) if part.n_obs]
    _same(np.vstack(parts), together, candidate.tolerance, "in two parts", advice)


def unchanged(candidate: Candidate) -> None:
    """Compare the cells that were handed over with copies made before."""
    train, cells = candidate.train.copy(), candidate.cells.copy()
    model = candidate.fit(train)
    _untouched("fit", train, candidate.train)
    candidate.call("predict_proba", model.predict_proba, cells)
    _untouched("predict_proba", cells, candidate.cells)


def one_cell(candidate: Candidate) -> None:
    """Train on cells of which one is the only one of its type."""
    labels = labels_of(candidate.train)
    rare = np.flatnonzero(labels == np.unique(labels)[0])[1:]
    try:
        candidate.predictions(candidate.fit(candidate.train[np.setdiff1d(np.arange(len(labels)), rare)].copy()))
    except BenchError as error:
        raise BenchError(f"With a single training cell of a type: {error}") from error


def empty_cell(candidate: Candidate) -> None:
    """Predict cells without any count."""
    cells = candidate.cells[:3].copy()
    cells.X.data[:] = 0
    cells.X.eliminate_zeros()
    try:
        candidate.probabilities(candidate.fitted, cells)
    except BenchError as error:
        raise BenchError(f"Of cells without any count: {error}") from error


@dataclass(frozen=True)
class Check:
    """One check: its function, what it expects, and what would be wrong with a number without it."""

    function: Callable[[Candidate], None]  # raises a BenchError
    promise: str
    why: str


CHECKS = {
    "types": Check(
        types,
        "classes_ holds the types of the training cells, sorted",
        "columns are matched with types by it, and ties are broken in its order",
    ),
    "probabilities": Check(
        probabilities,
        "one finite row per scored cell, not negative, with sum 1; predict names known types",
        "calibration, Brier score and ties have no meaning otherwise",
    ),
    "seed": Check(seed, "the same seed gives the same result", "nobody could make a record again"),
    "order": Check(order, "the order of the scored cells does not matter", "files are often sorted by type"),
    "company": Check(
        company,
        "a cell is given the same alone as among others, or the model declares batch_dependent",
        "a score would depend on which cells happen to be scored together",
    ),
    "unchanged": Check(
        unchanged, "the cells handed over stay as they are", "a program that calls it goes on with other data"
    ),
    "one_cell": Check(one_cell, "a type with one training cell is accepted", "few-shot draws leave such types"),
    "empty_cell": Check(empty_cell, "a cell without counts is given numbers", "one such cell would fail the trial"),
}
NEEDED = ("types", "probabilities")  # without these nothing else can be said


def specified(model: str, settings: dict[str, str]) -> Spec:
    """Return a model with settings that came as text, read as YAML, and with its weights on this machine."""
    spec = describe(model, {name: parse(name, value) for name, value in settings.items()})
    return replace(spec, weights=str(resolve(spec.weights))) if spec.weights else spec


def check(spec: Spec, train: AnnData, scored: AnnData) -> Iterator[tuple[str, str]]:
    """Yield each check's name and what is wrong, or an empty text; after a miss that others build on, no more.

    Parameters
    ----------
    spec
        The model with every choice made, from `bench.models.describe`.
    train, scored
        Cells that keep the data contract, as from `bench.models.sample.sides`; they are not changed.
    """
    candidate = Candidate(lambda: create(spec), train, scored)
    for name in CHECKS:
        yield name, (reason := verdict(name, candidate))
        if reason and name in NEEDED:
            return


def verdict(name: str, candidate: Candidate) -> str:
    """Return what one check finds wrong, or an empty text."""
    try:
        CHECKS[name].function(candidate)
    except BenchError as error:
        return str(error)
    return ""


def notes(candidate: Candidate) -> list[str]:
    """Return sentences on what breaks no promise, and yet may be a mistake."""
    said, own = (
        remarks(candidate.predictions(candidate.fitted)),
        candidate.predictions(candidate.fitted, candidate.train),
    )
    if own.abstained.all():
        return said
    own = own.take(~own.abstained)
    right, often = accuracy(own), float(np.unique(own.truth, return_counts=True)[1].max() / len(own.truth))
    if right <= often + 2 * np.sqrt(often * (1 - often) / len(own.truth)):
        said.append(
            f"{right:.0%} of its own training cells are right, {often:.0%} by chance: it may have learnt nothing"
        )
    return said


def refusal(model: str, train: AnnData, scored: AnnData) -> tuple[str, str]:
    """Return the first check that a model misses and what is said of it; two empty texts if it is accepted.

    Parameters
    ----------
    model
        A name or an import path, as in `bench.models.find`.
    train, scored
        As in `check`.
    """
    try:
        spec = specified(model, {})
    except BenchError as error:
        return "found by its name", str(error)
    return next(((name, reason) for name, reason in check(spec, train, scored) if reason), ("", ""))


def _same(found: np.ndarray, expected: np.ndarray, tolerance: float, how: str, advice: str) -> None:
    if (off := np.abs(found - expected).max()) > tolerance:
        raise BenchError(f"Probabilities of the same cells, predicted {how}, differ by {off:.2g}; {advice}.")


def _untouched(verb: str, now: AnnData, before: AnnData) -> None:
    parts = {f"X.{part}": (getattr(now.X, part), getattr(before.X, part)) for part in ("data", "indices", "indptr")}
    changed = [name for name, pair in parts.items() if not np.array_equal(*pair)]
    changed += [part for part in ("obs", "var") if not getattr(now, part).equals(getattr(before, part))]
    changed += [f"obsm[{name!r}]" for name in before.obsm if not np.array_equal(now.obsm[name], before.obsm[name])]
    changed += ["uns"] if now.uns.get("bench") != before.uns.get("bench") else []
    if changed:
        raise BenchError(f"{verb} changed {', '.join(changed)} of the cells it was given; work on a copy.")
