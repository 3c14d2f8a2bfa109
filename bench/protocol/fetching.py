"""What a grid needs of the network, brought into the cache beforehand: data, weights, lists of genes.

Vocabularies and medians are part of converted weights.  Data sets are there once the trials have been listed, which
needs their content; a user's own files stay where they are.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core import atomic
from bench.core.errors import BenchError, Faults
from bench.datasets.panglao import GENE_ORDER
from bench.datasets.sources import Source, cache_folder, fetch
from bench.protocol.notebooks import trials_of
from bench.weights import resolve
from bench.weights.card import metadata

LIST = "panglao"  # what settings and weights call the one list of genes that is read when a model is fitted


@dataclass(frozen=True)
class Brought:
    """One thing that trials need."""

    kind: str  # data, weights or genes
    name: str
    path: Path | None = None  # of a file whose size is worth saying
    failure: str = ""  # why it cannot be had

    def __str__(self) -> str:
        size = f"{self.path.stat().st_size / 1e6:,.1f} MB" if self.path else ""
        return f"{self.kind:<9}{self.name:<28}{self.failure or size}".rstrip()


def brought(chapter: str, parameters: dict[str, Any]) -> Iterator[Brought]:
    """Bring what the trials of a chapter need, and yield each thing as it is there; weights are pretrained if need be.

    Parameters
    ----------
    chapter
        Name or path.
    parameters
        In the place of those in its ``parameters`` cell.

    Raises
    ------
    BenchError
        If there is no such chapter or parameter, or nothing of its data can be had.
    """
    left_out = Faults()
    tasks = [task for task, _ in trials_of(chapter, parameters, left_out)]
    if not tasks:
        left_out.raised()
        raise BenchError(f"{chapter} runs no trials, so that it needs nothing.")
    yield from (Brought("data", name) for name in _distinct(_data(task) for task in tasks))
    yield from (Brought("data", "-", failure=sentence) for sentence in left_out.said)
    weights = [_tried("weights", name, resolve) for name in _distinct(map(_weights, tasks))]
    yield from weights
    lists = (metadata(one.path).get("library") for one in weights if one.path)
    if LIST in lists or any(f'"{LIST}"' in task.trial.hyperparameters for task in tasks):
        yield _tried("genes", LIST, lambda _: _kept(GENE_ORDER))


def _data(task: Any) -> str:
    query = getattr(task, "query", None)
    return task.trial.dataset if query is None else f"{task.trial.dataset}, {query.name}"


def _weights(task: Any) -> str:
    """Return the name or the path of the weights of a task of any kind, or an empty text."""
    found = getattr(getattr(task, "spec", task), "weights", None)
    return str(found) if isinstance(found, (str, Path)) else ""


def _distinct(names: Iterator[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, names)))


def _tried(kind: str, name: str, get: Callable[[str], Path]) -> Brought:
    try:
        return Brought(kind, name, get(name))
    except BenchError as error:  # the others are wanted all the same
        return Brought(kind, name, failure=str(error))


def _kept(source: Source) -> Path:
    """Return a published file in the cache, copied from the mirror where that has it: nodes may not see that."""
    found, kept = fetch(source), cache_folder() / "downloads" / source.name
    if found != kept:
        atomic.copy(found, kept)
    return kept
