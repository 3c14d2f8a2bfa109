"""What CellPLM is given: counts of the genes that its weights name, and which cells go through it together."""

import json
from dataclasses import dataclass, replace
from hashlib import blake2b
from types import SimpleNamespace
from typing import Self

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from anndata import AnnData

from bench.core.errors import BenchError
from bench.models.cellplm.passes import Pass, chunks, groups, known_columns
from bench.models.cellplm.variable_genes import most_variable
from bench.models.counts import counts_of
from bench.preprocess import Genes, align, looked_for
from bench.training.labelled import Cells
from bench.weights import Checkpoint
from bench.weights.said import told

AT_ONCE = 4096  # cells that do not see each other, at the same time


@dataclass(frozen=True)
class Vocabulary:
    """The genes that weights name, by symbol and where they say it by Ensembl identifier."""

    symbols: list[str]
    identifiers: list[str]  # none, or one for each

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> "Vocabulary":
        """Return the genes of a file of weights.

        Raises
        ------
        BenchError
            If they are another model's, or not one for each row of the embedding.
        """
        symbols = json.loads(told(checkpoint, "genes", "cellplm"))
        identifiers = json.loads(checkpoint.metadata.get("ensembl", "[]"))
        embedded = checkpoint.tensors.get("embedder.feat_enc.emb", ())
        if len(symbols) != len(embedded) or len(identifiers) not in (0, len(symbols)):
            raise BenchError(
                f"{checkpoint.path} names {len(symbols):,} genes and embeds {len(embedded):,}; expected one name for "
                "each. Convert the original files with: bench weights cellplm --path FOLDER."
            )
        return cls(symbols, identifiers)

    def names(self, cells: AnnData) -> list[str]:
        """Return the name that this vocabulary has for each gene of a data set, or else the data set's own."""
        own = cells.var_names.tolist()
        if not self.identifiers or "ensembl_id" not in cells.var:
            return own
        symbol = dict(zip(self.identifiers, self.symbols, strict=True))
        return [symbol.get(key, name) for key, name in zip(cells.var["ensembl_id"].astype(str), own, strict=True)]

    def looked_for(self, cells: AnnData, least: float) -> Genes:
        """Return the genes by the names of a data set, and which of them it has; too few are refused."""
        names = self.names(cells)
        looked_for(SimpleNamespace(var_names=pd.Index(names)), self.symbols, least)
        own = dict(zip(reversed(names), reversed(cells.var_names.tolist()), strict=True))
        return Genes([own.get(gene, gene) for gene in self.symbols], [own[g] for g in self.symbols if g in own])

    def counts(self, cells: AnnData, order: np.ndarray, only: set[str] | None = None) -> sp.csr_matrix:
        """Return the (n_cells, n_vocabulary) counts of cells, float32, sorted.

        Parameters
        ----------
        cells
            Whose counts are known, or were before a logarithm was taken; see `bench.models.counts`.
        order
            Row of the embedding for each gene of the vocabulary.
        only
            Genes that were chosen, by the names of `names`; None for all.
        """
        names = self.names(cells)
        columns, places = known_columns(names, self.symbols)
        if only is not None:
            chosen = np.array([names[column] in only for column in columns], dtype=bool)
            columns, places = columns[chosen], places[chosen]
        X = counts_of(cells).astype(np.float32)[:, columns]
        placed = sp.csr_matrix((X.data, order[places][X.indices], X.indptr), (X.shape[0], len(self.symbols)))
        placed.sort_indices()
        return placed


@dataclass(frozen=True)
class InCompany(Cells):
    """Labelled cells as counts, (n_cells, n_vocabulary), and with which others each goes through the network."""

    batches: np.ndarray | None = None  # (n_cells,) labels: cells of different ones do not see each other
    before: Self | None = None  # cells that every pass has too, of the same batch
    alone: bool = False
    reading: bool = False  # whether they see nothing but a reference
    n_clusters: int = 0  # of a mixture as latent layer, which draws one for every cell

    def take(self, rows: np.ndarray) -> Self:
        """Return some of the cells."""
        batches = None if self.batches is None else self.batches[rows]
        return replace(super().take(rows), batches=batches)

    def parts(self, rows: np.ndarray, most: int, device: torch.device) -> list[np.ndarray]:
        """Return the rows of each pass, or of several that do not see each other."""
        if self.alone or self.reading:
            return chunks(rows, min(most, AT_ONCE))
        batches = None if self.batches is None else self.batches[rows]
        return [rows[part] for group in groups(batches, len(rows)) for part in chunks(group, most)]

    def inputs(self, rows: np.ndarray, device: torch.device) -> Pass:
        """Return the cells as a pass, the ones that keep them company first."""
        counts, n_before = self.tokens[rows], 0
        if self.before is not None:
            others = self.before.tokens
            if self.batches is not None and self.before.batches is not None:
                others = others[self.before.batches == self.batches[rows[0]]]
            counts, n_before = sp.vstack([others, counts], format="csr"), others.shape[0]
        drawn = torch.from_numpy(_drawn(counts, self.n_clusters)).to(device) if self.n_clusters else None
        return Pass(counts, np.arange(counts.shape[1]), device, drawn, self.alone, n_before)


def digest_of(counts: sp.csr_matrix) -> str:
    """Return 16 hex digits over the counts of cells."""
    parts = (counts.indptr.astype(np.int64), counts.indices.astype(np.int64), counts.data)
    return blake2b(b"".join(part.tobytes() for part in parts), digest_size=8).hexdigest()


def _drawn(counts: sp.csr_matrix, n_clusters: int) -> np.ndarray:
    """Return uniform numbers, (n_cells, n_clusters), that depend on a cell's own counts alone."""
    rows = [int(digest_of(counts[row]), 16) for row in range(counts.shape[0])]
    return np.stack([np.random.default_rng(seed).random(n_clusters, np.float32) for seed in rows])


def joined(known: InCompany, scored: InCompany) -> InCompany:
    """Return cells with and without known classes as one set."""
    batches = None if known.batches is None else np.concatenate([known.batches, scored.batches])
    tokens = sp.vstack([known.tokens, scored.tokens], format="csr")
    return replace(known, tokens=tokens, labels=np.concatenate([known.labels, scored.labels]), batches=batches)


def chosen_genes(vocabulary: Vocabulary, train: AnnData, scored: AnnData | None, n: int) -> set[str] | None:
    """Return the names of the most variable genes: of all cells that are there, as published, or of the training.

    Parameters
    ----------
    vocabulary
        Of the weights.
    train, scored
        Cells, of which the scored ones may not be there.
    n
        How many; 0, or as many as there are, for all of them, which is None.

    Raises
    ------
    BenchError
        If the weights know none of them.
    """
    names = vocabulary.names(train)
    if not 0 < n < train.n_vars:
        return None
    parts = [train.X] if scored is None else [train.X, _like(scored, train)]
    chosen = {names[column] for column in most_variable(sp.vstack(parts, format="csr"), n)}
    if not chosen & set(vocabulary.symbols):
        raise BenchError(
            f"None of the {n:,} most variable genes of the data is among the {len(vocabulary.symbols):,} "
            "that the weights know; set the override 'variable_genes' to 0, for all genes."
        )
    return chosen


def _like(scored: AnnData, train: AnnData) -> sp.csr_matrix:
    """Return the counts of scored cells with the columns of the training cells."""
    if scored.var_names.equals(train.var_names):
        return scored.X
    return align(sp.csr_matrix(scored.X), scored.var_names.tolist(), train.var_names.tolist())
