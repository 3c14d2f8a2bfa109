"""What a trial takes in memory, known before it runs, and whether that is free.

A trial reads its data set and gives the model copies of its cells; what the model adds is declared by it, in matrices
of its training cells (`bench.models.contract.Annotator.takes`), and stands beside measurements in
`bench.report.growth`.  Of a model that declares nothing, only the data are counted.
"""

from collections.abc import Sequence
from typing import Any

from anndata import AnnData

from bench.core.errors import BenchError
from bench.core.memory import Free, said
from bench.models.spec import Spec, declared

PROCESS = 4e8  # bytes of a process with the libraries that a baseline imports
LARGE = 2e9  # bytes of a trial from which on a data set is not kept where trials are only planned
CELL = 600  # bytes of a cell's names and labels, as often as they are held
VALUE = 8  # bytes of a value that is stored, with the number of its gene


class DoesNotFit(BenchError):
    """None of some trials fits into the memory."""


def needed(spec: Spec, adata: AnnData, n_train: int) -> float:
    """Return the bytes that a trial takes at most, as far as the model says.

    Parameters
    ----------
    spec, adata, n_train
        The model, the data set that is read, and how many of its cells are trained on; the others count as scored.
    """
    of_data = VALUE * adata.X.nnz + CELL * adata.n_obs
    of_training = of_data * n_train / adata.n_obs
    takes = declared(spec.cls, spec.variant, "takes", {}).get(spec.recipe, 0.0)
    return PROCESS + 2 * of_data + takes * of_training


def fitting(tasks: Sequence[Any], n_workers: int, free: Free) -> tuple[list[Any], int, str]:
    """Return the tasks that fit, how many of them at a time, and a sentence on what does not; empty where all do.

    Parameters
    ----------
    tasks, n_workers
        What is to run, and how many at a time are wanted.  One without ``needed``, bytes, is taken to need nothing.
    free
        What is free, see `bench.core.memory.free`.

    Raises
    ------
    DoesNotFit
        If there are tasks and none of them fits.
    """
    sizes = [getattr(task, "needed", 0.0) for task in tasks]
    small = [task for task, size in zip(tasks, sizes, strict=True) if size <= free.size]
    found = f"{said(free.size)} {free.limit} are free"
    if len(small) < len(tasks):
        least = min(size for size in sizes if size > free.size)
        sentence = (
            f"{len(tasks) - len(small)} of {len(tasks)} trials do not fit into the memory: they need about "
            f'{said(least)} or more, and {found}. Take fewer cells (-p fractions "[0.1]"), models that need less, or '
            "a larger machine."
        )
        if not small:
            raise DoesNotFit(sentence)
        return small, min(n_workers, _at_once(small, free)), f"left out: {sentence}"
    at_once = _at_once(tasks, free)
    if at_once >= min(n_workers, len(tasks)):
        return small, n_workers, ""
    return small, at_once, f"{at_once} at a time, not {n_workers}: a trial needs about {said(max(sizes))}, and {found}."


def _at_once(tasks: Sequence[Any], free: Free) -> int:
    most = max(getattr(task, "needed", 0.0) for task in tasks)
    return max(1, int(free.size // most)) if most else len(tasks)
