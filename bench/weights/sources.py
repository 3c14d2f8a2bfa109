"""The published weights, where they are from, and their one conversion to a safetensors file in the user's cache.

A later model adds a line to `CONVERTERS` and one to `WEIGHTS`; several files (scGPT has three) are several sources, the
one with the tensors first. Weights pretrained in this project add a name to `PRETRAINED`.

scBERT's checkpoint is mirrored byte for byte at https://huggingface.co/btraven/scbert-panglao-pretrain; its authors
gave Google Drive links in issue 46 of TencentAILabHealthcare/scBERT: file 1_Pgk_o8AtQtoXr_ZLQx0eJYoSWzjxC8f (weights)
and file 1ZyC2mGxZK1tLdy3sMOmdJERnSuvR9WZ0 (data).

scGPT's whole-human folder is on Google Drive, linked from https://github.com/bowang-lab/scGPT, whose licence is MIT; it
is mirrored at https://huggingface.co/perturblab/scgpt-human and https://huggingface.co/u-cellm/scGPT-whole-human.
"""

import time
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path

from filelock import FileLock

from bench.atomic import ABANDONED_S
from bench.datasets.sources import Source, cache_folder, fetch
from bench.errors import BenchError, unknown
from bench.weights.card import metadata

CONVERSION = "1"  # raise when a converter writes other content from the same file: kept conversions are made again


@dataclass(frozen=True)
class Published:
    """Weights that somebody published: the model they belong to, and their files."""

    model: str  # key of CONVERTERS
    sources: tuple[Source, ...]  # the one with the tensors first
    by_hand: str  # where else the files can be had


# model -> function (paths, genes or None) -> (tensors by name, metadata)
CONVERTERS = {"scbert": "bench.weights.scbert:convert", "scgpt": "bench.weights.scgpt:convert"}

_SCGPT_HUMAN = {
    "best_model.pt": "6cb5d451ab5c4b33eb673adbe4fddc61d2389df1b89b7651a9fe2e557572b922",
    "args.json": "c18e075e018140cb8b2d9029387b9de26607a5ce6a8ccabd6ead70cd76b95d60",
    "vocab.json": "acca93d114ca62c3f0f50debbd23e8c87f0714f4737764454f6b2b13f2e8580f",
}

WEIGHTS = {
    "scbert_panglao": Published(
        model="scbert",
        sources=(
            Source(
                name="panglao_pretrain.pth",
                licence="GPL-3.0 (the repository's licence says it covers the model)",
                sha256="aa27109136580b24a1b985f63d0ba31f22490d09e71b13d1793cbff38619dfe3",
                size=87_631_538,
                url="https://huggingface.co/btraven/scbert-panglao-pretrain/resolve/main/panglao_pretrain.pth",
            ),
        ),
        by_hand="The authors' own copy is at https://drive.google.com/file/d/1_Pgk_o8AtQtoXr_ZLQx0eJYoSWzjxC8f.",
    ),
    "scgpt_human": Published(
        model="scgpt",
        sources=tuple(
            Source(
                name=name,
                licence="MIT (the licence of the scGPT repository)",
                sha256=digest,
                url=f"https://huggingface.co/perturblab/scgpt-human/resolve/main/{name}",
            )
            for name, digest in _SCGPT_HUMAN.items()
        ),
        by_hand="The same three files are at https://huggingface.co/u-cellm/scGPT-whole-human; the authors link them "
        "as whole-human on https://github.com/bowang-lab/scGPT.",
    ),
}

# recipes of `bench.training.recipes`, whose weights this project pretrains itself
PRETRAINED = (
    "scbert_quick",
    "scbert_quick_no_gene2vec",
    "scbert_standin",
    "scbert_standin_no_gene2vec",
    "scgpt_quick",
    "scgpt_standin",
)


def resolve(text: str | Path) -> Path:
    """Return the weights file that a name or a path means; fetched and converted, or pretrained, if need be.

    Raises
    ------
    BenchError
        If it is neither a name nor the path of a file, or the weights cannot be had.
    """
    text = str(text)
    if text in PRETRAINED:
        from bench.training.pretrain import pretrained  # torch only now

        return pretrained(text)
    if text in WEIGHTS:
        return published(text)
    names, path = [*WEIGHTS, *PRETRAINED], Path(text).expanduser()
    if path.is_file():
        return path
    if path.suffix or len(path.parts) > 1:
        raise BenchError(f"No weights file {text}; give a file that is there, or one of {', '.join(names)}.")
    raise unknown("weights", text, [*names, "the path of a file"])


def published(name: str, path: Path | None = None) -> Path:
    """Return the converted file of published weights, fetched, checked and converted once.

    Parameters
    ----------
    name
        A key of ``WEIGHTS``.
    path
        The original file, or a folder that holds it, for a machine without network; needed once.

    Raises
    ------
    BenchError
        If the files cannot be had or are not the published ones, or do not hold the model's tensors.
    """
    if name not in WEIGHTS:
        raise unknown("published weights", name, WEIGHTS)
    target = target_of(name)
    if path is None and _kept(target, stamp_of([str(source.sha256) for source in WEIGHTS[name].sources], None)):
        return target  # the original is not needed any more
    return converted(name, [_fetch(name, WEIGHTS[name], source, path) for source in WEIGHTS[name].sources])


def target_of(stem: str) -> Path:
    """Return where a converted file of this name is kept."""
    return cache_folder() / "weights" / f"{stem}.safetensors"


def converted(name: str, files: list[Path]) -> Path:
    """Return published weights, from files that are known to be the published ones."""
    entry, licence = WEIGHTS[name], WEIGHTS[name].sources[0].licence
    stamp = stamp_of([str(source.sha256) for source in entry.sources], None)
    about = stamp | {"source": ", ".join(source.name for source in entry.sources), "licence": licence}
    about |= {"model": entry.model, "origin": f"published, {name}"}
    return convert_once(target_of(name), entry.model, files, None, stamp, about)


def stamp_of(digests: list[str], genes: list[str] | None) -> dict[str, str]:
    """Return the metadata that decide whether a conversion is still the right one.

    The identity does not depend on the converted bytes: a trial has the same key with every version of safetensors.
    """
    parts = digests + (genes or [])
    identity = digests[0] if len(parts) == 1 else sha256("\n".join(parts).encode()).hexdigest()
    return {"source_sha256": " ".join(digests), "identity": identity[:16], "conversion": CONVERSION}


def _kept(target: Path, stamp: dict[str, str]) -> bool:
    return target.is_file() and stamp.items() <= metadata(target).items()


def _fetch(name: str, entry: Published, source: Source, path: Path | None) -> Path:
    try:
        return fetch(source, path)
    except BenchError as error:
        hint = f" A checkpoint of your own is converted with: bench weights {entry.model} --path {path}" if path else ""
        raise BenchError(f"Weights {name}: {error} {entry.by_hand}{hint}") from error


def convert_once(
    target: Path, model: str, files: list[Path], genes: list[str] | None, stamp: dict, about: dict, **options: bool
) -> Path:
    """Return the target, converted unless it is there with the same stamp; ``options`` are the converter's."""
    from bench.weights.files import cannot_write, save  # torch only now

    module, _, function = CONVERTERS[model].partition(":")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(target.with_name(f".{target.stem}.lock")).acquire()  # two runs at once: one waits
    except OSError as error:
        raise cannot_write(target.parent, error) from error
    with lock:
        if not _kept(target, stamp):
            _remove_abandoned(target.parent)
            tensors, found = getattr(import_module(module), function)(files, genes, **options)
            save(target, tensors, found | about)
    return target


def _remove_abandoned(folder: Path) -> None:
    """Remove what a killed process left half written."""
    for part in folder.glob(".part-*"):
        with suppress(FileNotFoundError):  # a second process may clean up at the same time
            if time.time() - part.stat().st_mtime > ABANDONED_S:
                part.unlink()
