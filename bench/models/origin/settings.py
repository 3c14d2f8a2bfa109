"""Hyper-parameters of a model from outside as keys and records have them: contents, never an address in memory.

A text that names a file or a folder which is there stands as its last part and the SHA-256 of the content, whatever it
is meant to be: a run too many does no harm, a number that rests on another file would.  So the same file in another
place makes the same key, and another content another one.
"""

import os
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from joblib import hash as hash_of

from bench.core import atomic
from bench.core.errors import BenchError
from bench.core.keys import canonical, digest
from bench.datasets.sources import cache_folder, sha256_of
from bench.models.origin.modules import find
from bench.models.spec import Spec, defaults

BIG = 1 << 25  # bytes; the hash of a larger file is kept until the file changes
SETTLED_S = 2  # a change within this time may leave a file's time as it is
LEFT_OUT = {"__pycache__", ".git"}  # of a folder: they come and go


@dataclass(frozen=True)
class Settings:
    """Values by name, of what JSON knows; the files and folders among them; and in words what they do not cover."""

    values: dict[str, Any] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def plain(self, where: str, value: Any, default: Any) -> Any:
        """Return a value as it stands in a key; what is found out about it is added."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str | PurePath):
            return self._text(where, str(value))
        if isinstance(value, date | np.generic):
            return str(value)
        if isinstance(value, Mapping):
            names = list(map(str, value))
            return dict(zip(names, self._items(where, value.values(), value is default), strict=True))
        if isinstance(value, list | tuple):
            return self._items(where, value, value is default)
        if isinstance(value, set | frozenset):
            return sorted(self._items(where, value, value is default), key=canonical)
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            content = sha256(np.ascontiguousarray(value)).hexdigest()[:16]
            return f"array {value.dtype} {value.shape} sha256:{content}"
        return _named(value) or _of_default(where, value, default)

    def _items(self, where: str, items: Iterable, are_default: bool) -> list[Any]:
        return [self.plain(where, item, item if are_default else None) for item in items]

    def _text(self, where: str, text: str) -> str:
        path = os.path.expanduser(text)
        if os.path.isdir(path) and Path.cwd().is_relative_to(Path(path).resolve()):
            self.missed.append(f"the folder {text} of {where}, in which this command runs")
            return text
        if not (os.path.isfile(path) or os.path.isdir(path)):
            return text
        try:
            content = _of_folder(path) if os.path.isdir(path) else _of_file(path)
        except OSError as error:
            raise BenchError(f"{where}={text!r} cannot be read ({error.strerror}), so no key can cover it.") from error
        self.files.append(f"{where.rpartition('.')[2]}={text}")
        return f"{Path(path).resolve().name} sha256:{content[:16]}"


def settings_of(spec: Spec) -> Settings:
    """Return the hyper-parameters of a model, defaults included.

    Numbers, text, lists, dictionaries, sets and arrays stand for themselves, functions and classes for their names,
    which `bench.models.origin.origin_of` joins by the contents of their modules.  Another object is accepted as a
    default alone: its content is that of the model's source.

    Raises
    ------
    BenchError
        If one is another object, or a file that it names cannot be read.
    """
    found, by_default = Settings(), defaults(spec.cls, spec.variant)
    for name, value in spec.hyperparameters.items():
        found.values[name] = found.plain(f"{spec.name}.{name}", value, by_default.get(name))
    return found


def _named(value: Any) -> str:
    """Return module and name of a function or class that is found by these; an empty text of anything else."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not (isinstance(module, str) and isinstance(name, str) and find(module)):
        return ""
    found = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module}:{name}" if found is value else ""


def _of_default(where: str, value: Any, default: Any) -> str:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    with suppress(Exception):  # whatever an object of the user's raises when it is pickled
        if value is default or hash_of(value) == hash_of(default):  # one that a factory makes is made each time
            return f"default {kind}"
    raise BenchError(
        f"{where} is an object of type {kind}, whose content no key can cover; give numbers, text, lists, arrays, the "
        "name of a file, or a function or class that a module holds, and make the object of these in the model."
    )


def _of_folder(path: str) -> str:
    """Return a hash over the names and contents of all files in a folder, and in folders that it links to."""
    contents, seen = {}, set()
    for place, folders, names in os.walk(path, followlinks=True, onerror=_raise):
        known = os.path.realpath(place) in seen  # a link to where we came from
        seen.add(os.path.realpath(place))
        folders[:] = [] if known else set(folders) - LEFT_OUT
        files = [] if known else [os.path.join(place, name) for name in names]
        contents |= {Path(file).relative_to(path).as_posix(): _of_file(file) for file in files if os.path.isfile(file)}
    return digest(contents)


def _raise(error: OSError) -> None:
    raise error


def _of_file(path: str) -> str:
    """Return the SHA-256 of a file; that of a big one is kept in the cache."""
    state = os.stat(path)
    if state.st_size < BIG:
        return sha256_of(Path(path))
    version = [os.path.realpath(path), state.st_size, state.st_mtime_ns, state.st_ctime_ns]
    kept = cache_folder() / "hashes" / digest(version)
    with suppress(OSError):
        return kept.read_text(encoding="ascii")
    found = sha256_of(Path(path))
    if time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) > SETTLED_S * 1e9:
        with suppress(BenchError):  # a cache that is full or not ours: it is hashed again next time
            atomic.write(kept, lambda file: file.write(found.encode()))
    return found
