"""Gene vectors from co-expression: Gene2vec of Du et al., trained on single cells.

Source: Du et al., Gene2vec, BMC Genomics 20 (Suppl 1):82 (2019), written from the paper.  Pairs of co-expressed genes
of every data set are pooled, each pair is a sentence of two words, and skip-gram word2vec runs over the pairs in a new
random order in every pass; 200 dimensions.  scBERT adds these vectors to its token embeddings.

Known deviations: Du et al. take pairs with a Pearson correlation above 0.9 in 984 bulk data sets of GEO.  Tokens of
single cells hardly correlate so much, and such a threshold leaves no pairs; here a pair is taken if either gene has the
other among its most correlated ones, above a minimum.  Genes seen in few cells are passed over, since two of them that
meet in one cell correlate fully.  Genes without a pair get random vectors.
"""

import hashlib
import io
import json
import zlib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np

from bench.core import atomic
from bench.core.errors import BenchError
from bench.models.scbert.coexpression import coexpressed
from bench.training.store import Cells

SENTENCES = 2**16  # at a time as text


def gene2vec(
    cells: Cells,
    *,
    rows: np.ndarray | None = None,
    dim: int = 200,
    pairs_per_gene: int = 50,
    min_correlation: float = 0.1,
    min_cells: int = 10,
    epochs: int = 30,
    seed: int = 0,
) -> tuple[np.ndarray, dict]:
    """Return one vector per gene and a card that says how they were made.

    Memory is that of one float32 matrix of genes x genes (1.1 GB for scBERT's 16,906 genes, less where a data set lacks
    some) whatever the number of cells.

    Parameters
    ----------
    cells
        Tokens; their correlation is the co-expression.
    rows
        Cells to use, such as those that a model trains on; all unless given.
    dim
        Length of the vectors.
    pairs_per_gene
        How many of its most correlated genes each gene is paired with, in each data set.
    min_correlation
        Smallest Pearson correlation of a pair.
    min_cells
        Genes with a token above 0 in fewer cells of a data set have no pair there.
    epochs
        Passes over the pairs; 10 leave the vectors of a few hundred thousand pairs nearly parallel.
    seed
        Of the order of the pairs, the start of the vectors, and the vectors of genes without a pair.

    Returns
    -------
    Vectors (n_genes, dim) float64, in the order of ``cells.genes``, the same for the same seed; and the card.  Its mean
    cosines, of pairs and of random genes, tell how far training came: with few pairs and passes they are much the same.

    Raises
    ------
    BenchError
        If an option is out of range, or no pair of genes reaches the minimum.
    """
    _check_options(dim, pairs_per_gene, min_correlation, min_cells, epochs, seed)
    rows = np.arange(len(cells)) if rows is None else np.sort(np.asarray(rows))
    options = {"dim": dim, "epochs": epochs, "seed": seed}
    rule = {"pairs_per_gene": pairs_per_gene, "min_correlation": min_correlation, "min_cells": min_cells}
    found, about = [], []
    for number, name in enumerate(cells.datasets):
        own = rows[cells.dataset[rows] == number]
        pairs, largest = coexpressed(cells, own, **rule) if len(own) > 1 else (np.empty((0, 2), np.int64), 0.0)
        found.append(pairs)
        about.append({"dataset": name, "n_cells": len(own), "n_pairs": len(pairs), "largest_correlation": largest})
    pairs = np.concatenate(found)
    if not len(pairs):
        raise BenchError(
            f"No two genes with tokens in at least {min_cells} cells correlate by {min_correlation:g} or more: the "
            f"largest correlation is {max(a['largest_correlation'] for a in about):.3f}. Lower min_correlation or "
            f"min_cells, or use more cells ({len(rows):,} now)."
        )
    genes, known = _skip_gram(pairs, **options)
    card = {"method": "gene2vec", "cells": cells.content, "n_cells": len(rows), "n_genes": cells.n_genes}
    card |= {"n_genes_without_pair": cells.n_genes - len(genes), "n_pairs": len(pairs), "datasets": about}
    vectors = _with_all_genes(genes, known, cells.n_genes, seed)
    card |= options | rule | _closeness(vectors, pairs, genes, seed) | {"gensim": version("gensim")}
    return vectors, card


def train_file(path: Path, cells: Cells, **options) -> Path:
    """Write the vectors as ``.npy`` and the card as ``.json`` beside it, and return the path of the vectors.

    Parameters
    ----------
    path
        Of the ``.npy`` file; an older one is replaced.
    cells, options
        As in `gene2vec`.

    Raises
    ------
    BenchError
        As in `gene2vec`, or if the files cannot be written, in which case none is half written.
    """
    path = Path(path)
    if path.suffix != ".npy":
        raise BenchError(f"{path} should end in .npy; the card is written beside it as .json.")
    vectors, card = gene2vec(cells, **options)
    content = io.BytesIO()
    np.save(content, vectors, allow_pickle=False)
    card["sha256"] = hashlib.sha256(content.getvalue()).hexdigest()
    card["genes"] = cells.genes
    text = json.dumps(card, indent=1).encode()
    try:
        atomic.write(path, lambda file: file.write(content.getvalue()), replace=True)
        atomic.write(path.with_suffix(".json"), lambda file: file.write(text), replace=True)
    except BenchError as error:
        reason = getattr(error.__cause__, "strerror", None) or error
        raise BenchError(
            f"{path} and its card cannot be written: {reason}. Free some space or name another."
        ) from error
    return path


def _check_options(dim, pairs_per_gene, min_correlation, min_cells, epochs, seed) -> None:
    counted = {"dim": dim, "pairs_per_gene": pairs_per_gene, "min_cells": min_cells, "epochs": epochs, "seed": seed}
    for name, value in counted.items():
        least = 0 if name == "seed" else 1
        if not isinstance(value, int | np.integer) or value < least:
            raise BenchError(f"{name}={value!r} should be a whole number of at least {least}.")
    if not 0 < min_correlation < 1:
        raise BenchError(f"min_correlation={min_correlation!r} should be between 0 and 1.")


class _Shuffled:
    """Sentences of two genes, in a new order in every pass."""

    def __init__(self, pairs: np.ndarray, seed: int) -> None:
        self.pairs, self.random = pairs, np.random.default_rng(seed)

    def __iter__(self) -> Iterator[list[str]]:
        order = self.random.permutation(len(self.pairs))
        for start in range(0, len(order), SENTENCES):
            yield from self.pairs[order[start : start + SENTENCES]].astype(str).tolist()


def _skip_gram(pairs: np.ndarray, *, dim: int, epochs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the genes that have a pair, ascending, and their vectors."""
    from gensim.models import Word2Vec  # half a second to import

    genes, counts = np.unique(pairs, return_counts=True)
    model = Word2Vec(
        vector_size=dim,
        window=1,
        sg=1,
        negative=5,
        sample=0,  # every pair counts: the default leaves out most occurrences of frequent words
        min_count=1,
        sorted_vocab=0,  # genes stay in their order, whatever a sort does with equal counts
        workers=1,  # the timing of several threads would decide the result
        seed=seed,
        hashfxn=_checksum,
    )
    model.build_vocab_from_freq({str(gene): int(n) for gene, n in zip(genes, counts, strict=True)})
    model.train(_Shuffled(pairs, seed), total_examples=len(pairs), epochs=epochs)
    return genes, np.stack([model.wv[str(gene)] for gene in genes]).astype(np.float64)


def _checksum(text: str) -> int:
    """Return a number that, unlike `hash`, is the same in every process."""
    return zlib.crc32(text.encode())


def _with_all_genes(genes: np.ndarray, known: np.ndarray, n_genes: int, seed: int) -> np.ndarray:
    """Return vectors of all genes: random ones of the mean length for those without a pair."""
    vectors = np.random.default_rng(seed).normal(size=(n_genes, known.shape[1]))
    vectors *= np.linalg.norm(known, axis=1).mean() / np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[genes] = known
    return vectors


def _closeness(vectors: np.ndarray, pairs: np.ndarray, genes: np.ndarray, seed: int) -> dict[str, float]:
    """Return the mean cosine of up to 10,000 of the pairs, and of as many random pairs of the genes that have one."""
    random = np.random.default_rng(seed)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    others = random.choice(genes, (10_000, 2))
    drawn = {"pairs": random.permutation(pairs)[:10_000], "random_genes": others[others[:, 0] != others[:, 1]]}
    return {
        f"cosine_of_{kind}": round(float((unit[two[:, 0]] * unit[two[:, 1]]).sum(axis=1).mean()), 4)
        for kind, two in drawn.items()
    }
