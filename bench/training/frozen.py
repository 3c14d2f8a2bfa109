"""What frozen layers give for a cell, computed once and kept in the cache for all epochs and repetitions.

A store is a folder named after the frozen weights, their precision and the size of a row.  Rows are only ever added; a
row counts once its name stands in the list, so that a killed process leaves nothing that could be read wrongly.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bench.core.shared import lock_of
from bench.datasets.sources import cache_folder
from bench.training.labelled import Cells

LIMIT = 10**10  # bytes of all stores together; the one that was not used for longest goes first
SPARE = 10**7  # bytes that stay free on the disk
BATCH = 16  # cells computed at a time
NAME = 16  # bytes by which a cell is known: over its tokens


@dataclass(frozen=True)
class Encoded(Cells):
    """Labelled cells as rows of a store, which are read when they are needed; ``tokens`` are the numbers of rows."""

    store: "Store"

    def inputs(self, rows: np.ndarray, device: torch.device) -> Tensor:
        """Return what the frozen layers give, (cells, positions, dim), in the precision in which it is kept."""
        return self.store.read(self.tokens[rows]).to(device)


class Store:
    """Rows of one shape on disk.

    Parameters
    ----------
    made_of
        Digest of all that decides a row besides the cell.
    shape, dtype
        Of a row.
    """

    def __init__(self, made_of: str, shape: tuple[int, ...], dtype: torch.dtype):
        self.folder, self.shape, self.dtype = cache_folder() / "frozen" / made_of, shape, dtype
        self.row_bytes = dtype.itemsize * int(np.prod(shape))
        self._values, self._names = self.folder / "values", self.folder / "names"

    def numbers(self) -> dict[bytes, int]:
        """Return the number of every row that is there whole, by the name of its cell."""
        if not self._names.is_file() or not self._values.is_file():
            return {}
        text, n_rows = self._names.read_bytes(), self._values.stat().st_size // self.row_bytes
        names = [text[i : i + NAME] for i in range(0, len(text) - NAME + 1, NAME)]
        return {name: number for number, name in enumerate(names[:n_rows])}

    def add(self, names: list[bytes], rows: Iterable[Tensor]) -> None:
        """Add the rows of new cells, some at a time, (some cells, *shape)."""
        self.folder.mkdir(parents=True, exist_ok=True)
        n_before = len(self.numbers())
        with open(self._values, "ab") as values, open(self._names, "ab") as listed:
            values.truncate(n_before * self.row_bytes)  # what a killed process left
            listed.truncate(n_before * NAME)
            done = 0
            for part in rows:
                values.write(part.to(self.dtype).contiguous().view(torch.uint8).numpy().tobytes())
                values.flush()
                os.fsync(values.fileno())  # before the list says so
                listed.write(b"".join(names[done : done + len(part)]))
                listed.flush()
                done += len(part)

    def read(self, numbers: np.ndarray) -> Tensor:
        """Return rows, (len(numbers), *shape); `opened` before, they stay even if the store is removed."""
        rows = torch.from_numpy(self._mapped[numbers])
        return rows.view(self.dtype).view(len(numbers), *self.shape)

    def opened(self) -> "Store":
        """Return the store with the rows that are there now."""
        n_rows = len(self.numbers())
        self._mapped = np.memmap(self._values, np.uint8, "r", shape=(n_rows, self.row_bytes))
        return self


def encoded(cells: Cells, store: Store, compute: Callable[[np.ndarray], Tensor]) -> Cells:
    """Return cells as rows of the store, which are computed where it lacks them; the cells if it cannot hold them.

    Parameters
    ----------
    cells
        With tokens, (n_cells, n_genes) CSR.
    store
        Where rows are kept.
    compute
        Returns the rows, (some cells, *shape) on the CPU, of some cells by their numbers.
    """
    names = [_name(cells.tokens, i) for i in range(len(cells))]
    with _lock(store):
        there = store.numbers()
        missing = list({names[i]: i for i in range(len(names)) if names[i] not in there}.values())
        needed = len(missing) * store.row_bytes
        if missing and not _room(store, needed):
            return cells
        if missing:
            said = (
                f"What frozen layers give for {len(missing):,} cells is kept: {needed / 1e9:.1f} GB in {store.folder}"
            )
            tqdm.write(said, file=sys.stderr)
            parts = [np.array(missing[i : i + BATCH]) for i in range(0, len(missing), BATCH)]
            progress = tqdm(parts, desc="frozen layers", leave=False, disable=None)
            try:
                store.add([names[i] for i in missing], map(compute, progress))
            except OSError as error:
                tqdm.write(f"It cannot be kept ({error.strerror}), and is computed each time.", file=sys.stderr)
                return cells
            there = store.numbers()
        with suppress(OSError):  # of another user
            store.folder.touch()  # used now
        return Encoded(np.array([there[name] for name in names]), cells.labels, store.opened())


def _lock(store: Store) -> AbstractContextManager:
    """Keep others from the store; where nothing can be written, what is there can be read without a lock."""
    try:
        store.folder.parent.mkdir(parents=True, exist_ok=True)
        return lock_of(store.folder.with_suffix(".lock")).acquire()
    except OSError:
        return nullcontext()


def stores() -> dict[Path, int]:
    """Return the folders of all stores and their bytes, the one that was not used for longest first."""
    folders = sorted((cache_folder() / "frozen").glob("*/"), key=lambda folder: folder.stat().st_mtime)
    return {folder: sum(file.stat().st_size for file in folder.iterdir()) for folder in folders}


def _room(store: Store, needed: int) -> bool:
    """Make room for so many bytes; say whether there is enough."""
    others = {folder: size for folder, size in stores().items() if folder != store.folder}
    own = len(store.numbers()) * store.row_bytes
    if own + needed > LIMIT:
        said = f"What frozen layers give for all cells takes {(own + needed) / 1e9:.1f} GB, more than the"
        tqdm.write(f"{said} {LIMIT / 1e9:g} GB that are kept: it is computed each time.", file=sys.stderr)
        return False
    if (free := shutil.disk_usage(store.folder.parent).free) < needed + SPARE:  # not to fill it for others
        said = f"What frozen layers give for these cells takes {needed / 1e9:.3f} GB, and only {free / 1e9:.3f} GB are"
        tqdm.write(f"{said} free in {store.folder.parent}: it is computed each time.", file=sys.stderr)
        return False
    for folder, size in others.items():
        if own + needed + sum(others.values()) <= LIMIT:
            break
        tqdm.write(f"Removed, as not used for longest: {folder}, {size / 1e9:.1f} GB", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        others[folder] = 0
    return True


def _name(tokens, row: int) -> bytes:
    part = slice(tokens.indptr[row], tokens.indptr[row + 1])
    content = np.ascontiguousarray(tokens.indices[part], np.int64).tobytes() + tokens.data[part].tobytes()
    return blake2b(content, digest_size=NAME).digest()
