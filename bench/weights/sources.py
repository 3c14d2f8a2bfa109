"""The published weights, where they are from, and their one conversion to a safetensors file in the user's cache.

Which there are, families say (`bench.core.families`): published ones with their files, the one with the tensors first,
and names of recipes whose weights this project pretrains itself.
"""

import sys
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from bench.core.atomic import ABANDONED_S
from bench.core.errors import BenchError, unknown
from bench.core.families import families, with_part
from bench.core.shared import lock_of
from bench.datasets.sources import Source, cache_folder, fetch
from bench.weights.card import identity, metadata
from bench.weights.entries import Published
from bench.weights.first_use import held_to, note, with_hashes

CONVERSION = "1"  # raise when a converter writes other content from the same file: kept conversions are made again


def known() -> dict[str, Published]:
    """Return all published weights by name; a hash that nobody publishes is the one of the file first used here."""
    entries = {name: entry for family in with_part("published") for name, entry in family.load("published").items()}
    return {name: held_to(entry) for name, entry in entries.items()}


def pretrained_names() -> list[str]:
    """Return the names of weights that this project pretrains itself."""
    return [name for family in families().values() for name in family.pretrained]


def resolve(text: str | Path) -> Path:
    """Return the weights file that a name or a path means; fetched and converted, or pretrained, if need be.

    Raises
    ------
    BenchError
        If it is neither a name nor the path of a file, or the weights cannot be had.
    """
    text = str(text)
    for family in families().values():
        if text in family.pretrained:
            return family.load("pretrainer")(text)
    if text in known():
        return published(text)
    names, path = [*known(), *pretrained_names()], Path(text).expanduser()
    if path.is_file():
        return path
    if path.suffix or len(path.parts) > 1:
        raise BenchError(f"No weights file {text}; give a file that is there, or one of {', '.join(names)}.")
    raise unknown("weights", text, [*names, "the path of a file"])


def identity_of(text: str | Path) -> str:
    """Return the identity of what `resolve` returns for a name or a path; no weights are fetched or made for it."""
    text = str(text)
    for family in families().values():
        if text in family.pretrained and family.recipes:
            recipe = family.load("recipes")[text]
            return recipe.identity(recipe.cells())
    if text in known():
        if not all(source.sha256 for source in known()[text].sources):
            published(text)  # whose hash nobody publishes
        return _stamp(known()[text])["identity"]
    return identity(text)


def published(name: str, path: Path | None = None, *, accepted: bool = False) -> Path:
    """Return the converted file of published weights, fetched, checked and converted once.

    Parameters
    ----------
    name
        A key of `known`.
    path
        The original file, or a folder that holds it, for a machine without network; needed once.
    accepted
        Whether the user has accepted the terms of a licence that asks for it; needed once.

    Raises
    ------
    BenchError
        If the files cannot be had or are not the published ones, or do not hold the model's tensors; if the terms are
        not accepted.
    """
    if name not in known():
        raise unknown("published weights", name, known())
    target, entry = target_of(name), known()[name]
    if path is None and _kept(target, _stamp(entry)):
        return target  # the original is not needed any more
    _check_terms(name, entry, accepted)
    for licence in dict.fromkeys(source.licence for source in entry.sources):  # before anything is downloaded
        print(f"Weights {name}, licence: {licence}", file=sys.stderr)
    return converted(name, [_fetch(name, entry, source, path) for source in entry.sources], accepted=True)


def target_of(stem: str) -> Path:
    """Return where a converted file of this name is kept."""
    return cache_folder() / "weights" / f"{stem}.safetensors"


def converted(name: str, files: list[Path], *, accepted: bool = False) -> Path:
    """Return published weights, from files that are known to be the published ones, or are the first of that name."""
    entry = with_hashes(known()[name], files)
    stamp = _stamp(entry)
    if not _kept(target_of(name), stamp):
        _check_terms(name, entry, accepted)
    about = stamp | {"source": ", ".join(source.name for source in entry.sources), "licence": entry.sources[0].licence}
    about |= {"model": entry.model, "origin": f"published, {name}"}
    options = {"part": entry.part} if entry.part else {}
    target = convert_once(target_of(name), entry.model, files, None, stamp, about, **options)
    note(known()[name], entry)
    return target


def stamp_of(digests: list[str], genes: list[str] | None, part: str = "") -> dict[str, str]:
    """Return the metadata that decide whether a conversion is still the right one.

    The identity does not depend on the converted bytes: a trial has the same key with every version of safetensors.
    """
    parts = digests + ([part] if part else []) + (genes or [])
    identity = digests[0] if len(parts) == 1 else sha256("\n".join(parts).encode()).hexdigest()
    return {"source_sha256": " ".join(digests), "identity": identity[:16], "conversion": CONVERSION}


def _stamp(entry: Published) -> dict[str, str]:
    return stamp_of([str(source.sha256) for source in entry.sources], None, entry.part)


def _check_terms(name: str, entry: Published, accepted: bool) -> None:
    if entry.terms and not accepted:
        raise BenchError(f"{entry.terms} If you accept that, say so once: bench weights {name} --accept-licence")


def _kept(target: Path, stamp: dict[str, str]) -> bool:
    return target.is_file() and stamp.items() <= metadata(target).items()


def _fetch(name: str, entry: Published, source: Source, path: Path | None) -> Path:
    try:
        return fetch(source, path)
    except BenchError as error:
        hint = f" A checkpoint of your own is converted with: bench weights {entry.model} --path {path}" if path else ""
        raise BenchError(f"Weights {name}: {error} {entry.by_hand}{hint}") from error


def convert_once(
    target: Path,
    model: str,
    files: list[Path],
    genes: list[str] | None,
    stamp: dict,
    about: dict,
    **options: bool | str,
) -> Path:
    """Return the target, converted unless it is there with the same stamp; ``options`` are the converter's."""
    from bench.weights.files import cannot_write, save  # torch only now

    if _kept(target, stamp):  # a cache that is only read needs no lock
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = lock_of(target.with_name(f".{target.stem}.lock")).acquire()  # two runs at once: one waits
    except OSError as error:
        raise cannot_write(target.parent, error) from error
    with lock:
        if not _kept(target, stamp):
            _remove_abandoned(target.parent)
            tensors, found = families()[model].load("converter")(files, genes, **options)
            save(target, tensors, found | about)
    return target


def _remove_abandoned(folder: Path) -> None:
    """Remove what a killed process left half written."""
    for part in folder.glob(".part-*"):
        with suppress(FileNotFoundError):  # a second process may clean up at the same time
            if time.time() - part.stat().st_mtime > ABANDONED_S:
                part.unlink()
