"""Files that are there whole or not at all, whatever happens to the process that writes them."""

import errno
import os
import secrets
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from bench.core.errors import BenchError

ABANDONED_S = 3600  # a file half written for so long belongs to a process that was killed
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK)  # file systems without hard links


def write(path: Path, save: Callable[[IO[bytes]], object], *, replace: bool = False) -> None:
    """Write beside, flush to disk, then link in place: readers and a second writer never see half a file.

    Parameters
    ----------
    path
        Where the file shall be.
    save
        Writes the content into the open file that it is given.
    replace
        False leaves a file that is there already as it is.

    Raises
    ------
    BenchError
        If the folder is full or may not be written; nothing half written is left behind.
    """
    try:
        put(path, save, replace=replace)
    except OSError as error:
        raise cannot_write(path.parent, error) from error


def put(path: Path, save: Callable[[IO[bytes]], object], *, replace: bool = False) -> None:
    """Do what `write` does, for files that are no results: what the disk refuses stays an OSError."""
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".part-{secrets.token_hex(8)}")
        with open(part, "xb") as file:  # who may read it is the user's umask's to say
            save(file)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(part, path)
        else:
            _link(part, path)
    finally:
        if part:
            part.unlink(missing_ok=True)


def copy(source: Path, target: Path) -> None:
    """Copy a file as `write` writes one, in the place of what is there."""
    content = source.read_bytes()
    write(target, lambda file: file.write(content), replace=True)


def set_aside(path: Path) -> None:
    """Rename what is in the way, whatever it is, so that nobody's content is lost.

    Raises
    ------
    BenchError
        If it cannot be renamed.
    """
    try:
        os.replace(path, path.with_name(f"{path.name}.aside-{secrets.token_hex(4)}"))
    except OSError as error:
        raise cannot_write(path.parent, error) from error


def check_writable(folder: Path) -> None:
    """Raise a BenchError if the folder cannot be written; remove what killed processes left in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for part in [*folder.glob(".probe-*"), *folder.glob("*/*/.part-*")]:
            with suppress(OSError):  # a second process cleans up at the same time, or it is another user's
                if time.time() - part.stat().st_mtime > ABANDONED_S:
                    part.unlink()
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".probe-") as probe:
            probe.write(bytes(65536))
            probe.flush()
    except OSError as error:
        raise cannot_write(folder, error) from error


def cannot_write(folder: Path, error: OSError) -> BenchError:
    """Return the sentence for a folder that is full or may not be written."""
    remedy = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "make it writable"
    return BenchError(
        f"Results cannot be written to {folder}: {error.strerror or error}. Records made so far are safe; {remedy} "
        "or name another folder in BENCH_RESULTS, then run the same command again."
    )


def _link(part: Path, path: Path) -> None:
    try:
        with suppress(FileExistsError):  # another process was first: its file stays
            os.link(part, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if not path.exists():
            os.replace(part, path)
