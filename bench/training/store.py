"""Tokens of many cells in a folder that is mapped into memory, not read: only the rows asked for cost memory.

Cells have identifiers (`bench.datasets.names.cell_ids`) by which a model sees whether it was trained on one.
"""

import json
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from sklearn.model_selection import train_test_split

from bench.core.errors import BenchError

CARD = "card.json"
FILES = {"indptr": "<i8", "gene": "<u2", "token": "u1", "ids": "<u8", "dataset": "<u2"}  # raw arrays; CSR by cell
TOKEN_TYPE = "token_type"  # what a card says of tokens that need more than a byte


class Cells:
    """Tokens of many cells, on disk.

    Attributes
    ----------
    genes
        Symbols of the columns.
    ids
        Identifier of each cell, (n_cells,) uint64, see `bench.datasets.names.cell_ids`.
    dataset
        Which of ``datasets`` each cell is from, (n_cells,) uint16.
    content
        16 hex digits over all that the store is made of.
    card
        The same in words: data sets with hash, splits left out and number of cells; genes; library.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.card = json.loads((self.folder / CARD).read_text(encoding="utf-8"))
        self.genes: list[str] = self.card["genes"]
        self.datasets: list[str] = [selection["dataset"] for selection in self.card["selections"]]
        self.content: str = self.card["content"]
        self._indptr, self._gene, self._token, self.ids, self.dataset = (
            np.asarray(np.memmap(self.folder / name, dtype, mode="r")) for name, dtype in types(self.card).items()
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self):
        return Cells, (self.folder,)  # a process of a data loader maps the files too, instead of being sent them

    @property
    def n_genes(self) -> int:
        """Number of columns."""
        return len(self.genes)

    def tokens(self, rows: np.ndarray) -> np.ndarray:
        """Return the tokens of some cells, (len(rows), n_genes), in the order asked for; levels are uint8, 0 to 5."""
        return self.sparse(rows).toarray()

    def sparse(self, rows: np.ndarray) -> sp.csr_matrix:
        """Return what `tokens` returns as CSR without explicit zeros."""
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"Row numbers go from {rows.min()} to {rows.max()}, of {len(self)} cells.")
        begin, length = self._indptr[rows], self._indptr[rows + 1] - self._indptr[rows]
        indptr = np.concatenate([[0], np.cumsum(length)])
        place = np.repeat(begin - indptr[:-1], length) + np.arange(indptr[-1])
        gene = self._gene[place].astype(np.int32)  # scipy knows no indices of two bytes
        return sp.csr_matrix((self._token[place], gene, indptr), shape=(len(rows), self.n_genes))

    def split(self, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows to train on and the rows to validate on, drawn at random.

        Parameters
        ----------
        share
            Of the cells that validate, between 0 and 1; 0.05 in the paper.
        seed
            Of the draw, which is that of scikit-learn's ``train_test_split`` with ``random_state=seed``.
        """
        n_validation = int(np.ceil(share * len(self)))
        if not 0 < n_validation < len(self):
            raise BenchError(
                f"share={share!r} of {len(self):,} cells leaves no cell on one side; choose a share between 0 and 1."
            )
        train, validation = train_test_split(np.arange(len(self)), test_size=n_validation, random_state=seed)
        return train, validation


def types(card: dict) -> dict[str, str]:
    """Return the numbers that the files of a store are made of."""
    return FILES | ({"token": card[TOKEN_TYPE]} if TOKEN_TYPE in card else {})


def is_whole(folder: Path) -> bool:
    """Say whether a folder holds a store of which nothing is missing."""
    if not (folder / CARD).is_file():
        return False
    expected = json.loads((folder / CARD).read_text(encoding="utf-8"))["bytes"]
    return all((folder / name).is_file() and (folder / name).stat().st_size == expected[name] for name in FILES)
