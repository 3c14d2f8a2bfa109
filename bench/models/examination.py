"""`bench check` in a process of its own: a model that ends it misses a promise, and a sentence says how.

The process that asks imports nothing heavy; the other one reads the cells, imports the model, and keeps it fitted from
one check to the next.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import cache, partial
from itertools import count
from typing import Any, NamedTuple

from bench.core.errors import BenchError
from bench.core.workers import Lost, answers

MODULES = ("bench.models.conformance", "bench.models.sample")  # for a warm process to import


class Line(NamedTuple):
    """What a check found; a note breaks no promise, and yet may be a mistake."""

    name: str
    verdict: str  # ok, MISS, or empty for a note
    text: str


def examine(model: str, settings: Mapping[str, str], source: Mapping[str, Any]) -> Iterator[Line]:
    """Yield a line for every check as it ends, then notes; after a miss that others build on, those are not run.

    Parameters
    ----------
    model, settings
        As for `bench.models.conformance.specified`.
    source
        What `bench.datasets.load` is given to read the data set that a few cells are taken of.

    Raises
    ------
    BenchError
        If the cells cannot be read, the model cannot be imported, or a setting is none of its own.
    """
    step = partial(_step, model, tuple(settings.items()), tuple(source.items()))
    with closing(answers(step, count(), 1, MODULES)) as ended:
        _, promises = next(ended)
        if not isinstance(promises, list):
            raise BenchError(f"Model {model!r}: {promises}." if isinstance(promises, Lost) else str(promises))
        stopped = False
        for name, promise, needed in promises:
            reason = "not run" if stopped else _reason(next(ended)[1])
            stopped = stopped or (needed and reason != "")
            yield Line(name, "MISS" if reason else "ok", reason or promise)
        notes = [] if stopped else next(ended)[1]
        yield from (Line("note", "", text) for text in ([_reason(notes)] if isinstance(notes, Lost) else notes))


def _reason(answer: str | Lost) -> str:
    return f"While this was tried: {answer}." if isinstance(answer, Lost) else answer


def _step(model: str, settings: tuple, source: tuple, number: int) -> Any:
    """Return, in the other process: the promises first, then what each check finds wrong, then notes."""
    from bench.models.conformance import CHECKS, NEEDED, notes, verdict

    try:
        candidate = _candidate(model, settings, source)
        if number == 0:
            return [(name, check.promise, name in NEEDED) for name, check in CHECKS.items()]
        return verdict([*CHECKS][number - 1], candidate) if number <= len(CHECKS) else notes(candidate)
    except BenchError as error:
        return str(error) if number <= len(CHECKS) else [str(error)]


@cache
def _candidate(model: str, settings: tuple, source: tuple) -> Any:
    from bench.datasets import load
    from bench.models import create, sample
    from bench.models.candidate import Candidate
    from bench.models.conformance import specified

    spec = specified(model, dict(settings))
    cells = load(**dict(source), obsm=spec.vectors)
    if spec.is_pretrained:  # a model refuses to be scored on cells that its weights have seen
        cells = sample.unseen(cells, spec.weights)
    return Candidate(partial(create, spec), *sample.sides(cells))
