"""Which task goes to which process: in their order, and those that need a GPU to processes that were dealt one."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any


def nobody(task: Any) -> bool:
    """Return that a task needs no GPU."""
    return False


class Dealing:
    """Tasks that wait, and the GPUs that processes have.

    Parameters
    ----------
    tasks
        In the order in which they are begun.
    gpus
        One for each of the first processes, as ``CUDA_VISIBLE_DEVICES`` names them; without any, every process does
        every task.
    on_gpu
        Whether a task needs one.
    """

    def __init__(self, tasks: Iterable, gpus: Sequence[str] = (), on_gpu: Callable[[Any], bool] = nobody):
        self._gpus = gpus
        self._on_gpu, self._others = deque(), deque()
        for task in tasks:
            (self._on_gpu if gpus and on_gpu(task) else self._others).append(task)

    def gpu_of(self, number: int) -> str:
        """Return the GPU of the process of that number, from 0 on, or an empty text."""
        return self._gpus[number] if number < len(self._gpus) else ""

    def next(self, gpu: str) -> Any | None:
        """Take the next task for a process: with a GPU, what needs one comes first."""
        waiting = self._on_gpu if gpu and self._on_gpu else self._others
        return waiting.popleft() if waiting else None

    def next_on_gpu(self) -> Any | None:
        """Take the next task that needs a GPU."""
        return self._on_gpu.popleft() if self._on_gpu else None
