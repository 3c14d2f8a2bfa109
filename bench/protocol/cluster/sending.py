"""Files of this process's machine that workers do not see, sent to each once: data, vectors, weights, a user's modules.

Where workers see the same disk nothing is sent.  What a worker is sent lies in its cache: a file of the cache at its
place there, any other under ``sent``, in a folder of its content.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from bench.core import atomic
from bench.core.errors import BenchError, listed, reason_of
from bench.core.memory import said
from bench.datasets.sources import cache_folder, sha256_of
from bench.models.origin import is_ours, origin_of

SENT = "sent"


@dataclass(frozen=True)
class File:
    """A file that tasks need."""

    path: str  # on the machine of this process
    size: int
    place: str  # below the cache of a worker

    @property
    def here(self) -> Path:
        """Where it is on the machine that asks: at the same path on a disk that both see, or where it was sent."""
        path = Path(self.path)
        return path if _is_there(path, self.size) else cache_folder() / self.place


def sent(client, tasks: Iterable[Any]) -> list[File]:
    """Send what tasks need and a worker does not have, also to workers that come later; return the files of tasks.

    Parameters
    ----------
    client
        Connected to a scheduler.
    tasks
        Those with ``files`` (paths) and a ``spec`` are looked at.

    Raises
    ------
    BenchError
        If a worker cannot keep them.
    """
    tasks = list(tasks)
    files = [_file(path) for path in dict.fromkeys(path for task in tasks for path in getattr(task, "files", ()))]
    modules = _modules(tasks)
    answers = client.run(_missing, files, modules, on_error="return").values()
    missing = [answer for answer in answers if isinstance(answer, set)]  # others have not this package, as is said
    if wanted := set().union(*missing):
        contents = {file.place: Path(file.path).read_bytes() for file in files if file.place in wanted}
        contents |= {f"{_folder(modules)}/{place}": content for place, content in modules.items() if place in wanted}
        names = [f"{Path(place).name} ({said(len(content))})" for place, content in contents.items()]
        n_workers = sum(bool(one) for one in missing)
        print(f"Sending what {n_workers} worker(s) do not see: {listed(names)}.", file=sys.stderr)
        try:
            client.register_worker_callbacks(partial(_keep, contents, _folder(modules)))
        except Exception as error:  # what its cache says, or what cannot be sent
            raise BenchError(
                f"A worker cannot keep what it was sent ({reason_of(error)}); name a folder with room for it in "
                "BENCH_CACHE where workers start, or put the files where they see them."
            ) from error
    return files


def moved(task: Any, files: list[File]) -> Any:
    """Return a task with the paths that its files have on this machine."""
    places = {file.path: str(file.here) for file in files}
    return task.moved(places) if places and hasattr(task, "moved") else task


def _file(path: str) -> File:
    source, cache = Path(path), cache_folder()
    if source.is_relative_to(cache):
        return File(path, source.stat().st_size, str(source.relative_to(cache)))
    return File(path, source.stat().st_size, f"{SENT}/{sha256_of(source)[:16]}/{source.name}")


def _modules(tasks: Iterable[Any]) -> dict[str, bytes]:
    """Return the contents of the user's own modules that models of tasks rest on, by the path of a module."""
    specs = {(spec.name, spec.variant): spec for task in tasks if (spec := getattr(task, "spec", None))}
    theirs = [spec for spec in specs.values() if not is_ours(spec) and spec.cls.__module__ != "__main__"]
    return {place: content for spec in theirs for place, content in origin_of(spec).contents.items()}


def _folder(modules: dict[str, bytes]) -> str:
    digest = sha256(b"".join(name.encode() + content for name, content in sorted(modules.items())))
    return f"{SENT}/{digest.hexdigest()[:16]}"


def _missing(files: list[File], modules: dict[str, bytes]) -> set[str]:
    """Return places of files and paths of modules that the worker which is asked does not have."""
    lacking = {file.place for file in files if not _is_there(file.here, file.size)}
    return lacking | {place for place in modules if not any(Path(folder, place).is_file() for folder in sys.path)}


def _keep(contents: dict[str, bytes], modules: str) -> None:
    """Write what was sent into the cache of the worker, unless it is there, and look for modules there, too."""
    for place, content in contents.items():
        path = cache_folder() / place
        if not _is_there(path, len(content)):
            atomic.put(path, partial(_written, content), replace=True)
    if (folder := str(cache_folder() / modules)) not in sys.path:
        sys.path.append(folder)


def _written(content: bytes, file) -> None:
    file.write(content)


def _is_there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
