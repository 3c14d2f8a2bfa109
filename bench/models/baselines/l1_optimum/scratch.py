"""Memory for the large arrays that a solver needs again and again, each time of another size."""

import math
from mmap import mmap

import numpy as np

SPARE = 1.25  # times what is needed; what is not touched takes no memory


class Scratch:
    """Named arrays that go back to the system with it: what malloc has given to threads need not, once it is freed."""

    def __init__(self):
        self._held: dict[str, mmap] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: np.dtype | type = np.float64) -> np.ndarray:
        """Return an array with any values in it; it holds those of the last one of this name, which is gone."""
        size = math.prod(shape)
        n_bytes = size * np.dtype(dtype).itemsize
        if name not in self._held or len(self._held[name]) < n_bytes:
            self._held[name] = mmap(-1, int(SPARE * n_bytes) + 64)
        return np.frombuffer(self._held[name], dtype, size).reshape(shape)
