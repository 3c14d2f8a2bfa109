"""Files whose authors publish no hash: it is noted when a file is first used, and every later one is held to it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.core import atomic
from bench.core.shared import lock_of
from bench.datasets.sources import cache_folder, sha256_of
from bench.weights.entries import Published


def held_to(entry: Published) -> Published:
    """Return published weights with the hashes that were noted, where they have none."""
    if all(source.sha256 for source in entry.sources):
        return entry
    noted = _noted()
    known = [source if source.sha256 else replace(source, sha256=noted.get(source.name)) for source in entry.sources]
    return replace(entry, sources=tuple(known))


def with_hashes(entry: Published, files: Sequence[Path]) -> Published:
    """Return published weights with the hashes of these files, where their authors publish none."""
    pairs = zip(entry.sources, files, strict=True)
    known = [source if source.sha256 else replace(source, sha256=sha256_of(file)) for source, file in pairs]
    return replace(entry, sources=tuple(known))


def note(before: Published, used: Published) -> None:
    """Note the hashes that were not known before; the files are whole, as their weights were converted."""
    pairs = zip(before.sources, used.sources, strict=True)
    new = {now.name: now.sha256 for source, now in pairs if source.sha256 is None}
    if not new:
        return
    file = _file()
    with lock_of(file.with_name(f".{file.stem}.lock")):
        text = json.dumps(new | _noted(), indent=1)
        atomic.write(file, lambda out: out.write(text.encode()), replace=True)


def _file() -> Path:
    return cache_folder() / "weights" / "first_use.json"


def _noted() -> dict[str, str]:
    return json.loads(_file().read_text(encoding="utf-8")) if _file().is_file() else {}
