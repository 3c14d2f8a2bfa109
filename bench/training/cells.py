"""Unlabelled cells as tokens on disk, for pretraining: memory does not grow with the number of cells.

A store is written once, block by block, and found again by what it is made of: data sets, splits left out, genes, and
the kind of tokens.  Tokens are made by the code that makes them for prediction: levels of expression by
`bench.preprocess`, others by what a family hands over as `Tokens`.

While a store is written, identifiers and a mask are in memory, 9 bytes a cell; names and labels too, about 300 bytes a
cell, where splits are left out or a data set is known by name.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp

from bench.core.errors import BenchError, unknown
from bench.core.keys import settled_of
from bench.core.shared import lock_of
from bench.datasets import panglao
from bench.datasets.names import cell_ids, hidden_names, overlap
from bench.preprocess import LIBRARIES, gene_tokens
from bench.training.blocks import Selection, Stream, open_stream
from bench.training.store import CARD, FILES, Cells, is_whole, types

__all__ = ["Cells", "Selection", "build", "cell_ids", "hidden_names", "overlap"]

FORMAT = 1  # raise when the same request would be written differently
MAX_GENES = 2**16


class Tokens(Protocol):
    """A kind of tokens."""

    library: str  # its name in the card of a store

    def settings(self) -> dict[str, Any]:
        """Return what else the card says of it; it is part of the store's content."""

    def check(self, genes: Sequence[str]) -> None:
        """Raise a BenchError if these genes cannot be columns."""

    def __call__(self, X: sp.csr_matrix, stream: Stream, genes: list[str], ids: np.ndarray) -> sp.csr_matrix:
        """Return (n_cells, n_genes) tokens of some cells of a stream, whose identifiers are given.

        They are uint8, unless `settings` say another ``token_type``.
        """


@dataclass(frozen=True)
class Levels:
    """The whole part of log2(1 + CP10K), at most 5; the library size is counted over some genes."""

    library: str  # "panglao", or "all" of the data set

    def settings(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def check(self, genes: Sequence[str]) -> None:
        """Raise a BenchError if the library is unknown, or some genes are not counted in it."""
        if self.library not in LIBRARIES:
            raise unknown("library", self.library, LIBRARIES)
        foreign = sorted(set(genes) - set(panglao.gene_order())) if self.library == "panglao" else []
        if foreign:
            raise BenchError(
                f"{len(foreign):,} of the {len(genes):,} genes are not among the Panglao genes, e.g. {foreign[:3]}, "
                "and would always be zero; leave them out, or use library='all'."
            )

    def __call__(self, X: sp.csr_matrix, stream: Stream, genes: list[str], ids: np.ndarray) -> sp.csr_matrix:
        """Return the tokens."""
        return gene_tokens(X, stream.genes, stream.values, genes, self.library)


def build(folder: Path, selections: list[Selection], genes: list[str], tokens: str | Tokens) -> Cells:
    """Return the store of some data sets, written into the folder if it is not there yet.

    Parameters
    ----------
    folder
        For stores; each has a folder of its own in it, named after its content.
    selections
        Data sets, in the order of the cells; different ones.
    genes
        Columns, fewer than 65,536 different symbols; those that a data set lacks are token 0 in it.
    tokens
        A kind of tokens, or the genes over which `Levels` count the library size: ``panglao``, or ``all`` of the data
        set.

    Raises
    ------
    BenchError
        If the request is wrong, a file cannot be read, or the disk is full; nothing half written is left behind.
    """
    folder = Path(folder)
    tokens = Levels(tokens) if isinstance(tokens, str) else tokens
    _check_request(selections, genes, tokens)
    streams = [_checked(open_stream(selection), genes) for selection in selections]
    card = _card(selections, streams, genes, tokens)
    target = folder / f"cells-{card['content']}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock_of(folder / f".{target.name}.lock"):  # two runs that need the same cells: one waits
            if not is_whole(target):
                _replace(target, card, _blocks(streams, card["genes"], tokens))
    except OSError as error:
        raise BenchError(
            f"Cells cannot be written to {folder}: {error.strerror or error}. Nothing half written was left there; "
            "free some space or name another folder, then run the same command again."
        ) from error
    return Cells(target)


def _check_request(selections: list[Selection], genes: list[str], tokens: Tokens) -> None:
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
    tokens.check(genes)


def _checked(stream: Stream, genes: list[str]) -> Stream:
    if not set(genes) & set(stream.genes):
        raise BenchError(
            f"{stream.name!r} has none of the {len(genes):,} genes asked for: it has {stream.genes[:3]} ..., asked for "
            f"are {list(genes[:3])} ...; expected human gene symbols in both."
        )
    return stream


def _card(selections: list[Selection], streams: list[Stream], genes: list[str], tokens: Tokens) -> dict:
    sources = [
        settled_of(selection) | {"dataset": s.name, "hash": s.digest, "values": s.values, "n_cells": int(s.kept.sum())}
        for selection, s in zip(selections, streams, strict=True)
    ]
    card = {"format": FORMAT, "library": tokens.library, "selections": sources, "genes": list(genes)}
    card |= tokens.settings()
    return card | {"content": sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()[:16]}


def _blocks(streams: list[Stream], genes: list[str], tokens: Tokens) -> Iterator[tuple[sp.csr_matrix, np.ndarray, int]]:
    """Yield tokens, identifiers and the data set's number of a few cells at a time."""
    for number, stream in enumerate(streams):
        for start, X in stream.blocks():
            rows = np.flatnonzero(stream.kept[start : start + X.shape[0]])
            if rows.size:
                ids = stream.ids[start + rows]
                yield tokens(X[rows], stream, genes, ids), ids, number


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
            for (name, dtype), array in zip(types(card).items(), arrays, strict=True):
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
