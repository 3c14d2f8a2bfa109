"""Types and genes of two data sets that are the same, or may be, and are spelt otherwise."""

import re
from collections.abc import Iterable

import pandas as pd

from bench.datasets.labels import key_of

ENSEMBL = r"ENS[A-Z]*G\d{11}"
MOST = 0.5  # share of names from which on a way of spelling is taken to be that of all


def named_alike(names: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """Return the names that differ from one of the others in case or blanks only, with that one.

    Names of one or two letters, as of clusters, keep their case.
    """
    plain = {key_of(other): other for other in sorted(others)}
    return {name: plain[key_of(name)] for name in names if plain.get(key_of(name), name) != name}


def named_by_r(names: Iterable[str], others: Iterable[str]) -> dict[str, list[str]]:
    """Return the names that differ from others only in what R's make.names and spreadsheets change, with those."""
    plain: dict[str, list[str]] = {}
    for other in sorted(others):
        plain.setdefault(plain_of(other), []).append(other)
    found = {name: plain[plain_of(name)] for name in names if plain_of(name) in plain}
    return {name: alike for name, alike in found.items() if name not in alike}


def plain_of(name: str) -> str:
    """Return a name without what R's make.names and spreadsheets change; empty where nothing is left."""
    return re.sub(r"[^0-9a-z]+", ".", name.casefold()).strip(".").removeprefix("x")


def other_spelling(genes: pd.Index, others: pd.Index) -> str:
    """Return what may be behind it that few genes of two data sets have the same name, and what to do."""
    for one, two, whose in ((genes, others, "query"), (others, genes, "reference")):
        if one.str.match(ENSEMBL).mean() > MOST >= two.str.match(ENSEMBL).mean():
            return (
                f"Those of the {whose} are Ensembl identifiers ({one[0]!r}) and the others are not ({two[0]!r}): "
                "name the column of var that holds gene symbols with symbols, such as -p symbols feature_name."
            )
    if pair := _pair(genes, others, str.upper):
        return (
            f"{pair} differ in case only, as symbols of two species do: use cells of one species, or rename the genes "
            "of one file to their orthologues."
        )
    if pair := _pair(genes, others, _bare):
        return f"{pair} differ in a version only: take it off in one of the files."
    return (
        f"They are named {genes[0]!r} and {others[0]!r}: check the species and the kind of names. If the query is a "
        "panel or a selection of genes, cut the reference to the genes of both (adata[:, genes]) and use that."
    )


def _pair(genes: pd.Index, others: pd.Index, plain) -> str:
    """Return an example of two names that a spelling makes equal, where it does so for most of the smaller set."""
    known = {plain(other): other for other in others}
    alike = [gene for gene in genes.difference(others, sort=False) if plain(gene) in known]
    if len(alike) <= MOST * min(len(genes), len(others)):
        return ""
    return f"{alike[0]!r} of the query and {known[plain(alike[0])]!r} of the reference"


def _bare(gene: str) -> str:
    return re.sub(r"\.\d+$", "", gene)
