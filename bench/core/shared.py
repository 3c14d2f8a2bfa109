"""Folders of the cache, which processes and users may share."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from filelock import FileLock

from bench.core.errors import BenchError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
EVERYBODY = 0o666  # of a lock: it is opened for writing by all who wait for it, whoever made it


def lock_of(path: Path) -> FileLock:
    """Return a lock that another user of the folder can take, too."""
    return FileLock(path, mode=EVERYBODY)


@contextmanager
def filled(folder: Path, lock: str = "") -> Iterator[None]:
    """Make a folder of the cache, and turn what the disk refuses meanwhile into a sentence.

    Parameters
    ----------
    folder
        What is written meanwhile is in it.
    lock
        Name of the file in it by which other processes that do the same wait; none unless given.

    Raises
    ------
    BenchError
        If the disk is full, or something may not be written or read.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock_of(folder / lock) if lock else nullcontext():
            yield
    except OSError as error:
        raise cannot_keep(folder, error) from error


def cannot_keep(folder: Path, error: BaseException) -> BenchError:
    """Return the sentence for a folder of the cache that is full or may not be written."""
    reason = _innermost(getattr(error, "strerror", None) or str(error))
    place = getattr(error, "filename", None) or folder
    full = getattr(error, "errno", None) in FULL or "No space left" in reason
    remedy = "Free some space (bench cache shows what may go)" if full else "Make it writable for you"
    return BenchError(f"The cache cannot be used, {place}: {reason}. {remedy}, or name another folder in BENCH_CACHE.")


def _innermost(text: str) -> str:
    """Return what the system said, out of what HDF5 and torch put around it."""
    said = re.search(r"error message = '([^']+)'", text) or re.search(r"No space left on device", text)
    return said.group(said.lastindex or 0) if said else " ".join(text.split())
