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
        In the order in which they are begun; with GPUs all of them are looked at first.
    gpus
        One for each of the first processes, as ``CUDA_VISIBLE_DEVICES`` names them; without any, every process does
        every task.
    on_gpu
        Whether a task needs one.
    """

    def __init__(self, tasks: Iterable, gpus: Sequence[str] = (), on_gpu: Callable[[Any], bool] = nobody):
        on_gpus, others = [], tasks  # which may be made as they are asked for, and without end
        if gpus:
            tasks = list(tasks)
            on_gpus = [task for task in tasks if on_gpu(task)]
            others = [task for task in tasks if not on_gpu(task)]
        self._gpus, self._on_gpu, self._others = gpus, deque(on_gpus), iter(others)

    def gpu_of(self, number: int) -> str:
        """Return the GPU of the process of that number, from 0 on, or an empty text."""
        return self._gpus[number] if number < len(self._gpus) else ""

    def next(self, gpu: str) -> Any | None:
        """Take the next task for a process: with a GPU, what needs one comes first."""
        found = self.next_on_gpu() if gpu else None
        return next(self._others, None) if found is None else found

    def next_on_gpu(self) -> Any | None:
        """Take the next task that needs a GPU."""
        return self._on_gpu.popleft() if self._on_gpu else None
