"""Which genes of a data set a model knows by name, and which are dropped: said with every number, never in silence."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import BenchError, listed
from bench.weights.card import metadata

ENSEMBL = re.compile(r"ENS[A-Z]*[GT]\d{6,}(\.\d+)?", re.IGNORECASE)  # gene and transcript identifiers of any species
SPECIAL = re.compile(r"<\w+>")  # tokens that are no genes: <pad>, <cls>, <eoc>
MOUSE = re.compile(r"[A-Z][a-z0-9.-]*[a-z][a-z0-9.-]*")  # Cd3e, Gapdh; human symbols are upper case, but for orf


@dataclass(frozen=True)
class Coverage:
    """The genes of a data set, divided by whether a vocabulary has them; the text is for records and pages."""

    used: list[str]  # in the order of the data set
    dropped: list[str]  # likewise
    hint: str = ""  # why genes may have been dropped, where their names tell

    def __str__(self) -> str:
        return f"{self.told()}. {self.hint}" if self.hint else self.told()

    def told(self, most: int = 20) -> str:
        """Return the numbers of genes, and the names of at most so many of those that are dropped."""
        text = f"{len(self.used):,} of {len(self.used) + len(self.dropped):,} genes are in the vocabulary"
        return text + (f"; dropped {len(self.dropped):,}: {listed(self.dropped, most)}" if self.dropped else "")


def coverage(genes: Iterable[str], vocabulary: Sequence[str]) -> Coverage:
    """Return which genes a model can use.

    Parameters
    ----------
    genes
        Names of the data set's genes, such as ``adata.var_names``.
    vocabulary
        All tokens of the model; special ones (``<pad>``, ``<cls>``, ``<eoc>``) are no genes. Names match exactly, as
        in the published models.

    Raises
    ------
    BenchError
        If none of the genes is in the vocabulary, with what their names look like.
    """
    genes = list(map(str, genes))
    known = {token for token in vocabulary if not SPECIAL.fullmatch(token)}
    used = [gene for gene in genes if gene in known]
    dropped = [gene for gene in genes if gene not in known]
    hint = _hint(dropped, known)
    if not used:
        example = f", such as {listed(sorted(known)[:3])}" if known else ""
        raise BenchError(
            f"None of the {len(genes):,} genes ({listed(genes, 5) or 'no genes at all'}) is among the {len(known):,} "
            f"that the model knows{example}. {hint or 'Name genes as the model does: official human symbols.'}"
        )
    return Coverage(used, dropped, hint)


def named_genes(file: Path) -> list[str]:
    """Return the genes that a weights file names, without special tokens.

    Raises
    ------
    BenchError
        If it names none.
    """
    told = metadata(file)
    if "genes" not in told:
        raise BenchError(f"{file} does not name its genes; give weights that do, such as those pretrained here.")
    return [token for token in json.loads(told["genes"]) if not SPECIAL.fullmatch(token)]


def coverage_of(file: Path, data: str, layer: str | None = None, symbols: str | None = None) -> Coverage:
    """Return which genes of a data set, by name or path, a weights file knows.

    Parameters
    ----------
    file
        Weights.
    data, layer, symbols
        A data set or an ``.h5ad`` file, and how its genes are read, see `bench.datasets.request`.

    Raises
    ------
    BenchError
        If the file does not name its genes, the data cannot be had, or no gene is known.
    """
    told = metadata(file)
    if "genes" not in told:
        raise BenchError(f"{file} does not name its genes, so they cannot be compared with those of {data}.")
    others = json.loads(told.get("names", "{}"))  # symbols and aliases, where tokens are identifiers
    return coverage(genes_of(data, layer, symbols), [*json.loads(told["genes"]), *others])


def genes_of(data: str, layer: str | None = None, symbols: str | None = None) -> list[str]:
    """Return the names of the genes of a data set, by name or ``.h5ad`` path, whatever its labels are called."""
    from bench.datasets.loading import DATASETS, load
    from bench.datasets.reading import names
    from bench.datasets.request import Request, is_file

    if data not in DATASETS and is_file(data):
        return names(Request(data, layer=layer, symbols=symbols)).tolist()
    return load(data).var_names.tolist()


def _hint(dropped: list[str], known: set[str]) -> str:
    """Return what to do about genes that are dropped, if their names tell."""
    identifiers = sum(ENSEMBL.fullmatch(gene) is not None for gene in dropped)
    if identifiers and 2 * identifiers >= len(dropped):
        return (
            f"{identifiers:,} of those are Ensembl identifiers: give gene symbols as var_names, often kept in a column "
            "of var (adata.var_names = adata.var['gene_symbols'])."
        )
    upper = {gene.upper() for gene in known}
    near = [gene for gene in dropped if gene.upper() in upper]
    if not near or 10 * len(near) < len(dropped):
        return ""
    said = f"{len(near):,} of those ({listed(near, 3)}) would be known if upper and lower case did not count"
    if sum(MOUSE.fullmatch(gene) is not None for gene in near) * 2 >= len(near):
        return f"{said}: they look like mouse symbols; map them to their human orthologues."
    return f"{said}: write the symbols as the model does."
