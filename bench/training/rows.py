"""What is the same for a cell in every training: a row of numbers, computed once and kept in the cache.

A store is a folder named after all that decides a row besides the cell.  Rows are only ever added; a row counts once
its name stands in the list, so that a killed process leaves nothing that could be read wrongly.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
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

KINDS = {"frozen": "what frozen layers give", "embeddings": "embeddings"}  # folders of the cache, what a row is
LIMIT = 10**10  # bytes of all stores together; the one that was not used for longest goes first
SPARE = 10**7  # bytes that stay free on the disk
WORTH_SAYING = 10**7  # bytes of which it is said that they are kept
BATCH = 16  # cells computed at a time
NAME = 16  # bytes by which a cell is known: over its tokens


@dataclass(frozen=True)
class Encoded(Cells):
    """Labelled cells as rows of a store, which are read when they are needed; ``tokens`` are the numbers of rows."""

    store: "Store"

    def inputs(self, rows: np.ndarray, device: torch.device) -> Tensor:
        """Return the rows of some cells, (cells, *shape), in the type of number in which they are kept."""
        return self.store.read(self.tokens[rows]).to(device)


class Store:
    """Rows of one shape on disk.

    Parameters
    ----------
    made_of
        Digest of all that decides a row besides the cell.
    shape, dtype
        Of a row.
    kind
        One of ``KINDS``.
    """

    def __init__(self, made_of: str, shape: tuple[int, ...], dtype: torch.dtype, kind: str = "frozen"):
        self.folder, self.shape, self.dtype = cache_folder() / kind / made_of, shape, dtype
        self.what = KINDS[kind]
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


def encoded(cells: Cells, store: Store, compute: Callable[[np.ndarray], Tensor], at_a_time: int = BATCH) -> Cells:
    """Return cells as rows of the store, which are computed where it lacks them; the cells if it cannot hold them.

    Parameters
    ----------
    cells
        With tokens, (n_cells, n_genes) CSR.
    store
        Where rows are kept.
    compute
        Returns the rows, (some cells, *shape) on the CPU, of some cells by their numbers.
    at_a_time
        Cells whose rows are computed, and then kept, together.
    """
    names = [_name(cells.tokens, i) for i in range(len(cells))]
    with _lock(store):
        there = store.numbers()
        missing = list({names[i]: i for i in range(len(names)) if names[i] not in there}.values())
        needed = len(missing) * store.row_bytes
        if missing and not _room(store, needed):
            return cells
        if missing:
            if needed >= WORTH_SAYING:
                said = f"Kept for {len(missing):,} cells: {store.what}, {_size(needed)} in {store.folder}"
                tqdm.write(said, file=sys.stderr)
            try:
                store.add([names[i] for i in missing], map(compute, _parts(missing, at_a_time, store.what)))
            except OSError as error:
                said = f"{store.what.capitalize()} cannot be kept ({error.strerror}): it is computed each time."
                tqdm.write(said, file=sys.stderr)
                return cells
            there = store.numbers()
        with suppress(OSError):  # of another user
            store.folder.touch()  # used now
        return Encoded(np.array([there[name] for name in names]), cells.labels, store.opened())


def digest_of(tensors: Mapping[str, Tensor], more: str) -> str:
    """Return 16 hex digits over tensors with their names, and over what else decides a row."""
    digest = blake2b(more.encode(), digest_size=8)
    for name, tensor in tensors.items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _parts(rows: list[int], at_a_time: int, what: str) -> Iterator[np.ndarray]:
    parts = [np.array(rows[i : i + at_a_time]) for i in range(0, len(rows), at_a_time)]
    yield from tqdm(parts, desc=what, leave=False, disable=None)


def _lock(store: Store) -> AbstractContextManager:
    """Keep others from the store; where nothing can be written, what is there can be read without a lock."""
    try:
        store.folder.parent.mkdir(parents=True, exist_ok=True)
        return lock_of(store.folder.with_suffix(".lock")).acquire()
    except OSError:
        return nullcontext()


def stores() -> dict[Path, int]:
    """Return the folders of all stores and their bytes, the one that was not used for longest first."""
    found = [folder for kind in KINDS for folder in (cache_folder() / kind).glob("*/")]
    found.sort(key=lambda folder: folder.stat().st_mtime)
    return {folder: sum(file.stat().st_size for file in folder.iterdir()) for folder in found}


def _room(store: Store, needed: int) -> bool:
    """Make room for so many bytes; say whether there is enough."""
    others = {folder: size for folder, size in stores().items() if folder != store.folder}
    own = len(store.numbers()) * store.row_bytes
    if own + needed > LIMIT:
        said = f"To keep {store.what} for all cells takes {_size(own + needed)}, more than the"
        tqdm.write(f"{said} {LIMIT / 1e9:g} GB that are kept: it is computed each time.", file=sys.stderr)
        return False
    if (free := shutil.disk_usage(store.folder.parent).free) < needed + SPARE:  # not to fill it for others
        said = f"To keep {store.what} for these cells takes {_size(needed)}, and only {_size(free)} are"
        tqdm.write(f"{said} free in {store.folder.parent}: it is computed each time.", file=sys.stderr)
        return False
    for folder, size in others.items():
        if own + needed + sum(others.values()) <= LIMIT:
            break
        tqdm.write(f"Removed, as not used for longest: {folder}, {_size(size)}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        others[folder] = 0
    return True


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


def _name(tokens, row: int) -> bytes:
    part = slice(tokens.indptr[row], tokens.indptr[row + 1])
    content = np.ascontiguousarray(tokens.indices[part], np.int64).tobytes() + tokens.data[part].tobytes()
    return blake2b(content, digest_size=NAME).digest()
