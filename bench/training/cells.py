"""Unlabelled cells as tokens on disk, for pretraining: memory does not grow with the number of cells.

A store is written once, block by block, and found again by what it is made of: data sets, splits left out, genes, and
the kind of tokens.  Tokens are made by the code that makes them for prediction: `bench.preprocess` for scBERT's,
`bench.binning` for scGPT's.

While a store is written, identifiers and a mask are in memory, 9 bytes a cell; names and labels too, about 300 bytes a
cell, where splits are left out or a data set is known by name.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from filelock import FileLock

from bench.binning import SPECIAL, binned
from bench.datasets import panglao
from bench.errors import BenchError, unknown
from bench.preprocess import LIBRARIES, gene_tokens
from bench.training.blocks import Selection, Stream, open_stream
from bench.training.store import CARD, FILES, Cells, cell_ids, hidden_names, is_whole, overlap

__all__ = ["Cells", "Selection", "build", "cell_ids", "hidden_names", "overlap"]

FORMAT = 1  # raise when the same request would be written differently
MAX_GENES = 2**16
BINS = "bins"


def build(
    folder: Path, selections: list[Selection], genes: list[str], library: str, *, seed: int | None = None
) -> Cells:
    """Return the store of some data sets, written into the folder if it is not there yet.

    Parameters
    ----------
    folder
        For stores; each has a folder of its own in it, named after its content.
    selections
        Data sets, in the order of the cells; different ones.
    genes
        Columns, fewer than 65,536 different symbols; those that a data set lacks are token 0 in it.
    library
        For scBERT's tokens the genes over which the library size is counted: ``panglao`` (scBERT's 16,906) or ``all``
        of the data set; ``bins`` for scGPT's.
    seed
        Of bins, where values are tied; tokens of scBERT need none.

    Raises
    ------
    BenchError
        If the request is wrong, a file cannot be read, or the disk is full; nothing half written is left behind.
    """
    folder = Path(folder)
    _check_request(selections, genes, library, seed)
    streams = [_checked(open_stream(selection), genes) for selection in selections]
    card = _card(selections, streams, genes, library, seed)
    target = folder / f"cells-{card['content']}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{target.name}.lock"):  # two runs that need the same cells: one waits
            if not is_whole(target):
                _replace(target, card, _blocks(streams, card))
    except OSError as error:
        raise BenchError(
            f"Cells cannot be written to {folder}: {error.strerror or error}. Nothing half written was left there; "
            "free some space or name another folder, then run the same command again."
        ) from error
    return Cells(target)


def _check_request(selections: list[Selection], genes: list[str], library: str, seed: int | None) -> None:
    if library not in (*LIBRARIES, BINS):
        raise unknown("library", library, (*LIBRARIES, BINS))
    if (library == BINS) != (seed is not None):
        raise BenchError(f"seed={seed!r} does not go with library={library!r}: bins need one, other tokens none.")
    datasets = [str(selection.dataset) for selection in selections]
    for kind, names in (("data sets", datasets), ("genes", list(genes))):
        if not names:
            raise BenchError(f"The list of {kind} is empty; name at least one.")
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})[:3]
            raise BenchError(f"The list of {kind} repeats {', '.join(twice)}; name each once.")
    if len(genes) >= MAX_GENES:
        raise BenchError(
            f"{len(genes):,} genes do not fit the store, which holds fewer than {MAX_GENES:,}; give fewer."
        )
    if library == "panglao":
        foreign = sorted(set(genes) - set(panglao.gene_order()))
        if foreign:
            raise BenchError(
                f"{len(foreign):,} of the {len(genes):,} genes are not among the Panglao genes, e.g. {foreign[:3]}, "
                "and would always be zero; leave them out, or use library='all'."
            )


def _checked(stream: Stream, genes: list[str]) -> Stream:
    if not set(genes) & set(stream.genes):
        raise BenchError(
            f"{stream.name!r} has none of the {len(genes):,} genes asked for: it has {stream.genes[:3]} ..., asked for "
            f"are {list(genes[:3])} ...; expected human gene symbols in both."
        )
    return stream


def _card(selections: list[Selection], streams: list[Stream], genes: list[str], library: str, seed: int | None) -> dict:
    sources = [
        asdict(selection) | {"dataset": s.name, "hash": s.digest, "values": s.values, "n_cells": int(s.kept.sum())}
        for selection, s in zip(selections, streams, strict=True)
    ]
    card = {"format": FORMAT, "library": library, "selections": sources, "genes": list(genes)}
    card |= {} if seed is None else {"seed": seed}
    return card | {"content": sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()[:16]}


def _blocks(streams: list[Stream], card: dict) -> Iterator[tuple[sp.csr_matrix, np.ndarray, int]]:
    """Yield tokens, identifiers and the data set's number of a few cells at a time."""
    for number, stream in enumerate(streams):
        for start, X in stream.blocks():
            rows = np.flatnonzero(stream.kept[start : start + X.shape[0]])
            if rows.size:
                ids = stream.ids[start + rows]
                yield _tokens(X[rows], stream, card, ids), ids, number


def _tokens(X: sp.csr_matrix, stream: Stream, card: dict, ids: np.ndarray) -> sp.csr_matrix:
    genes = card["genes"]
    if card["library"] != BINS:
        return gene_tokens(X, stream.genes, stream.values, genes, card["library"])
    return binned(X, stream.genes, [*genes, *SPECIAL], ids=ids, seed=card["seed"])  # special ones have no values


def _replace(target: Path, card: dict, blocks: Iterable) -> None:
    part = target.with_name(f".{target.name}.part")
    for old in (target, part):  # a damaged store; what a killed process left
        shutil.rmtree(old, ignore_errors=True)
    try:
        part.mkdir()
        _write(part, card, blocks)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write(folder: Path, card: dict, blocks: Iterable) -> None:
    with ExitStack() as stack:
        files = {name: stack.enter_context(open(folder / name, "wb")) for name in FILES}
        total = np.zeros(1, FILES["indptr"])
        files["indptr"].write(total)
        for X, ids, number in blocks:
            ends = total[-1] + X.indptr[1:]
            arrays = (ends, X.indices, X.data, ids, np.full(len(ids), number))
            for (name, dtype), array in zip(FILES.items(), arrays, strict=True):
                files[name].write(np.ascontiguousarray(array, dtype))
            total = ends
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    if not total[-1]:
        raise BenchError(
            f"None of the {len(card['genes']):,} genes has a token above 0 in any cell; choose other genes."
        )
    sizes = {name: (folder / name).stat().st_size for name in FILES}
    (folder / CARD).write_text(json.dumps(card | {"bytes": sizes}, indent=1), encoding="utf-8")
