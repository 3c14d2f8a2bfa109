"""Files of this process's machine that workers do not have, sent to each once: data, vectors, weights, modules.

What counts is content: a file of the same path and other content is another file.  Where workers see the same disk
nothing is sent.  What is sent lies in the worker's cache, in a folder of its content; a data set that goes by its name
lies where it would have been fetched to, and none that is there already is replaced.
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from bench.core import atomic
from bench.core.errors import BenchError, listed, reason_of
from bench.core.memory import said
from bench.datasets.sources import cache_folder
from bench.models.origin import is_ours, origin_of
from bench.protocol.conditions import hash_of
from bench.weights.seen import BESIDE

SENT = "sent"
DIGITS = 16  # of the hash of a content, in the name of its folder


@dataclass(frozen=True)
class File:
    """A file that tasks need."""

    path: str  # on the machine of this process
    digest: str  # SHA-256
    place: str  # below the cache of a worker

    @property
    def here(self) -> Path:
        """Where it is on the machine that asks: at the same path on a disk that both see, or where it was sent."""
        path = Path(self.path)
        return path if _has(path, self.digest) else cache_folder() / self.place

    @property
    def is_here(self) -> bool:
        """Whether the machine that asks has it."""
        return _has(self.here, self.digest)


def sent(client, tasks: Iterable[Any]) -> list[File]:
    """Send what tasks need and a worker does not have, also to workers that come later; return the files of tasks.

    Parameters
    ----------
    client
        Connected to a scheduler, which holds what is sent as long as it runs.
    tasks
        Those with ``files`` (paths) and a ``spec`` are looked at.

    Raises
    ------
    BenchError
        If a worker cannot keep them.
    """
    tasks = list(tasks)
    paths = dict.fromkeys(path for task in tasks for path in getattr(task, "files", ()))
    files = [file for path in paths for file in _files(Path(path))]
    modules = _modules(tasks)
    answers = client.run(_missing, files, modules, on_error="return").values()
    missing = [answer for answer in answers if isinstance(answer, set)]  # others have not this package, as is said
    if wanted := set().union(*missing):
        contents = {file.place: Path(file.path).read_bytes() for file in files if file.place in wanted}
        contents |= {place: content for place, content in modules.items() if place in wanted}
        names = [f"{Path(place).name} ({said(len(content))})" for place, content in contents.items()]
        n_workers = sum(bool(one) for one in missing)
        print(f"Sending what {n_workers} worker(s) do not have: {listed(names)}.", file=sys.stderr)
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


def _files(path: Path) -> Iterator[File]:
    """Yield a file and what belongs to it: weights have a card and a list of cells beside them."""
    digest, data = hash_of(path), cache_folder() / "datasets"
    if path.is_relative_to(data):
        yield File(str(path), digest, str(path.relative_to(data.parent)))
        return
    folder = f"{SENT}/{digest[:DIGITS]}"
    yield File(str(path), digest, f"{folder}/{path.name}")
    for one in (path.with_suffix(suffix) for suffix in BESIDE):
        if one != path and one.is_file():
            yield File(str(one), hash_of(one), f"{folder}/{one.name}")


def _modules(tasks: Iterable[Any]) -> dict[str, bytes]:
    """Return the contents of the user's own modules that models of tasks rest on, by their place in a cache."""
    specs = {(spec.name, spec.variant): spec for task in tasks if (spec := getattr(task, "spec", None))}
    theirs = [spec for spec in specs.values() if not is_ours(spec) and spec.cls.__module__ != "__main__"]
    found = {place: content for spec in theirs for place, content in origin_of(spec).contents.items()}
    digest = sha256(b"".join(place.encode() + content for place, content in sorted(found.items()))).hexdigest()
    return {f"{SENT}/{digest[:DIGITS]}/{place}": content for place, content in found.items()}


def _folder(modules: dict[str, bytes]) -> str:
    """Return the folder below a cache that is looked in for modules; empty where there are none."""
    return "/".join(next(iter(modules), "").split("/")[:2])


def _missing(files: list[File], modules: dict[str, bytes]) -> set[str]:
    """Return places of files and modules that the worker which is asked does not have; of modules all or none."""
    lacking = {file.place for file in files if not file.is_here}
    below = len(_folder(modules)) + 1
    there = all(_found(place[below:]) == content for place, content in modules.items())
    return lacking if there else lacking | {*modules}


def _found(module: str) -> bytes | None:
    """Return the content of a module, by its path, where this process would import it from."""
    for folder in sys.path:
        if (file := Path(folder, module)).is_file():
            return file.read_bytes()
    return None


def _keep(contents: dict[str, bytes], modules: str) -> None:
    """Write what was sent into the cache of the worker, unless it is there, and look for modules there first."""
    for place, content in contents.items():
        atomic.put(cache_folder() / place, partial(_written, content))
    folder = str(cache_folder() / modules)
    if modules and Path(folder).is_dir() and folder not in sys.path:
        sys.path.insert(0, folder)


def _written(content: bytes, file) -> None:
    file.write(content)


def _has(path: Path, digest: str) -> bool:
    return path.is_file() and hash_of(path) == digest
