"""Names of genes in a file: which of its columns has symbols, what is no gene, and what the names look like."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.core.errors import BenchError, listed, unknown
from bench.datasets.request import option

USUAL = (
    "feature_name",
    "gene_symbols",
    "gene_symbol",
    "gene_short_name",
    "symbol",
    "symbols",
    "gene_name",
    "gene_names",
)
USUAL += ("hgnc_symbol", "features", "gene", "genes", "name")
IDENTIFIERS = ("ensembl_id", "gene_ids", "gene_id", "ensembl", "feature_id")
KINDS = ("feature_types", "feature_type")  # of Cell Ranger: Gene Expression, Antibody Capture, ...
ENSEMBL = r"^ENS[A-Z]*G\d{6,}(\.\d+)?"
PREFIX = re.compile(r"^(GRCh3[78]|hg19|hg38|mm10|mm9|GRCm3[89]|mm39)_+(?:Human_|Mouse_)?", re.IGNORECASE)
HUMAN = re.compile(r"^(GRCh3|hg)", re.IGNORECASE)
MOUSE = r"[A-Z][a-z0-9.-]*[a-z][a-z0-9.-]*"  # Cd3e, Gapdh; human symbols are upper case, but for orf


@dataclass(frozen=True)
class Symbols:
    """The genes of a matrix by name."""

    source: str  # the column of var, or var_names
    names: pd.Index  # (n_genes,) of the matrix's columns, repeats included
    identifiers: pd.Index | None  # (n_genes,) Ensembl identifiers, where the file has them
    kept: np.ndarray  # (n_genes,) bool: which columns are genes
    notes: tuple[str, ...]


def symbols_of(index: pd.Index, columns: Sequence[str], read: Callable[[str], pd.Series], asked: str | None) -> Symbols:
    """Return the names of genes by which the models know them.

    Parameters
    ----------
    index, columns, read
        ``var_names``, names of the columns of ``var``, and a reader of one of them.
    asked
        The column that the user names; None takes ``var_names``, or a usual column where those are identifiers.

    Raises
    ------
    BenchError
        If there is no such column, or no symbols.
    """
    notes, source = [], asked or "var_names"
    if asked and asked not in ("var_names", *columns):
        raise unknown("column of var with gene symbols (symbols)", asked, [*columns, "var_names"])
    if asked is None and _identifies(index):
        source = next((name for name in columns if _has_symbols(name, read)), None)
        if source is None:
            raise BenchError(
                f"var_names are Ensembl identifiers ({index[0]!r}), expected gene symbols, and no column of var is "
                f"known to hold them; name it with {option('symbols', 'COLUMN')}; var has {listed(columns) or 'none'}."
            )
        notes.append(f"var_names are Ensembl identifiers; symbols are those of var[{source!r}].")
    names = index if source == "var_names" else _text(read(source), index)
    names, more = _without_prefix(names)
    _check(names, source)
    kept, some = _genes_only(columns, read, len(names))
    identifiers = index if _identifies(index) else _identifiers(columns, read)
    return Symbols(source, names, identifiers, kept, (*notes, *more, *some))


def looks(names: pd.Index) -> str:
    """Return what the names look like: ``human``, ``mouse`` or another word."""
    if not len(names):
        return "unknown"
    if _identifies(names):
        return "Ensembl identifiers"
    letters = names[names.str.contains("[A-Za-z]")]
    if len(letters) and letters.str.fullmatch(MOUSE).mean() > 0.5:
        return "mouse (or rat)"
    if len(letters) and (letters.str.lower() == letters).mean() > 0.5:
        return "written in lower case, as zebrafish or fly"
    return "human"


def remarks(names: pd.Index, share: Callable[[np.ndarray], float]) -> list[str]:
    """Return what a user should know of the genes: another species, spike-ins.

    Parameters
    ----------
    names
        Symbols of the genes.
    share
        Of the counts in some genes, given as bool of (n_genes,).
    """
    found, species = [], looks(names)
    if species not in ("human", "unknown"):
        found.append(
            f"gene symbols look {species}: {listed(names[:4])}; models that know human genes find few of them."
        )
    spiked = np.asarray(names.str.match(r"^ERCC[-_]\d+"))
    if np.any(spiked):
        found.append(
            f"{int(np.sum(spiked))} spike-ins (ERCC) are among the genes, with {100 * share(np.asarray(spiked)):.1f} % "
            "of the counts; they count in each cell's total."
        )
    return found


def _identifies(names: pd.Index) -> bool:
    return len(names) > 0 and float(np.mean(names.str.match(ENSEMBL))) > 0.5


def _has_symbols(name: str, read: Callable[[str], pd.Series]) -> bool:
    if name.lower() not in USUAL:
        return False
    try:
        values = read(name)
    except Exception:  # not needed so far: another column may do
        return False
    names = pd.Index(values.dropna().astype(str))
    return len(names) > 0 and not _identifies(names) and not names.str.fullmatch(r"[\d.]*").all()


def _text(values: pd.Series, index: pd.Index) -> pd.Index:
    """Return symbols, and the identifier of a gene that has none."""
    names = values.astype(object).where(values.notna(), "").astype(str).str.strip()
    return pd.Index(np.where(names == "", index, names))


def _identifiers(columns: Sequence[str], read: Callable[[str], pd.Series]) -> pd.Index | None:
    for name in (name for name in columns if name.lower() in IDENTIFIERS):
        try:
            found = pd.Index(read(name).astype(str))
        except Exception:  # not needed
            continue
        if _identifies(found):
            return found
    return None


def _without_prefix(names: pd.Index) -> tuple[pd.Index, list[str]]:
    """Return names without the genome that Cell Ranger puts before them where it has several."""
    found = [PREFIX.match(name) for name in names]
    if sum(map(bool, found)) < len(names) / 2:
        return names, []
    genomes = sorted({match[1] for match in found if match})
    bare = pd.Index([name if match is None else name[match.end() :] for name, match in zip(names, found, strict=True)])
    if len(genomes) == 1:
        return bare, [f"the prefix {genomes[0]!r} is taken off the names of genes."]
    human = np.array([match is None or HUMAN.match(match[1]) is not None for match in found])
    return pd.Index(np.where(human, bare, names)), [
        f"genes of several genomes ({listed(genomes)}): the {(~human).sum():,} that are not human keep their prefix; "
        "leave out cells of other species."
    ]


def _genes_only(columns: Sequence[str], read: Callable[[str], pd.Series], n: int) -> tuple[np.ndarray, list[str]]:
    """Return which features are genes; antibodies and guides may bear the name of one."""
    for name in (name for name in columns if name in KINDS):
        kinds = read(name).astype(str)
        genes = (kinds == "Gene Expression").to_numpy()
        if genes.any() and not genes.all():
            others = listed(sorted(kinds[~genes].unique()), 3)
            return genes, [f"{(~genes).sum():,} features that are no genes ({others}) are left out."]
    return np.ones(n, bool), []


def _check(names: pd.Index, source: str) -> None:
    where = "var_names" if source == "var_names" else f"var[{source!r}]"
    if len(names) and float(np.mean(names.str.fullmatch(r"[\d.]+"))) > 0.5:
        raise BenchError(
            f"{where} are numbers ({names[0]!r}), expected gene symbols; name the column of var that has them with "
            f"{option('symbols', 'COLUMN')}."
        )
    if source != "var_names" and _identifies(names):
        example = names[names.str.match(ENSEMBL)][0]
        raise BenchError(f"{where} holds Ensembl identifiers ({example!r}), not symbols; name another column.")
