"""Cells of a table that another tool has written, brought to those that are scored: every cell that differs is counted.

A name that no cell has, a scored cell that the table lacks, or two answers for one cell are refused; nothing is
guessed, but what the two spellings have in common is said.
"""

import re
from collections.abc import Callable

import numpy as np
import pandas as pd

from bench.core.errors import BenchError
from bench.protocol.sides import Sides

SEVERAL = "predictions of several seeds or fractions are a file each"
UNIQUE = "names repeat in the data themselves: name cells by unique_cell of bench split"
CHANGES: dict[str, Callable[[str], str]] = {  # what tools and people do to names of cells
    "endings": lambda name: re.sub(r"[-_.]\d+$", "", name),
    "beginnings": lambda name: re.sub(r"^.*[_:#|/]", "", name),
    "beginnings and endings": lambda name: re.sub(r"^.*[_:#|/]|[-.]\d+$", "", name),
    "points that R writes": lambda name: re.sub(r"[^0-9A-Za-z]+", ".", name).removeprefix("X"),
    "capital letters": str.casefold,
}


def joined(names: np.ndarray, answers: pd.DataFrame, sides: Sides, others: pd.Index, missing: str):
    """Return the row of each scored cell, (n_cells,), -1 where there is none, and what is to be said.

    Parameters
    ----------
    names
        Of the cells in the table, (n_rows,).
    answers
        What the table says of each, (n_rows, any).
    sides
        The cells that are trained on and scored.
    others
        Names of all cells of the data.
    missing
        ``refuse`` or ``abstain``: what becomes of scored cells that the table lacks.

    Raises
    ------
    BenchError
        If no scored cell is in the table, names are unknown, cells are lacking, or one has two answers.
    """
    names = pd.Index(names)
    scored, train, others = (of.str.strip() for of in (sides.scored.obs_names, sides.train.obs_names, others))
    in_scored, in_train = names.isin(scored), names.isin(train)
    known = in_scored | in_train | names.isin(others)
    if not known.all():
        raise BenchError(_unknown(names[~known].tolist(), len(names), others))
    if not in_scored.any():
        raise BenchError(
            f"None of its {len(names):,} rows is of a scored cell; {in_train.sum():,} are of training cells. Predict "
            "the cells whose role is scored, or name the split, the fraction and the seed that were meant."
        )
    left_out = {"training cells": in_train & ~in_scored, "cells that are neither": known & ~in_train & ~in_scored}
    notes = [f"predictions of {int(n.sum()):,} {what} are left out" for what, n in left_out.items() if n.any()]
    rows = np.flatnonzero(in_scored)
    repeated = bool((sides.names != sides.scored.obs_names).any())
    notes += _check_doubled(names[rows], answers.iloc[rows], UNIQUE if repeated else SEVERAL)
    place = pd.Series(rows, names[rows])
    place = place[~place.index.duplicated()].reindex(scored).fillna(-1).astype(int).to_numpy()
    if n := int((place < 0).sum()):
        told = f"{n:,} of {len(scored):,} scored cells have no prediction, such as {scored[place < 0][0]!r}"
        if missing == "refuse":
            hint = f"; {UNIQUE}" if repeated else ""
            raise BenchError(
                f"{told}: predict them, or count them as cells without a type with --missing abstain{hint}."
            )
        notes.append(f"{told}; they count as cells that are given no type")
    return place, notes


def _check_doubled(names: pd.Index, answers: pd.DataFrame, hint: str) -> list[str]:
    """Return what is said of cells that stand twice with one answer; two answers are refused."""
    if not names.has_duplicates:
        return []
    per_cell = answers.assign(cell=names).drop_duplicates()["cell"].value_counts()
    if n := int((per_cell > 1).sum()):
        raise BenchError(
            f"{n:,} scored cells have several answers that differ, such as {per_cell.index[0]!r}: leave one; {hint}."
        )
    return [f"{names[names.duplicated()].nunique():,} scored cells stand several times, with the same answer"]


def _unknown(names: list[str], n_rows: int, known: pd.Index) -> str:
    """Say how many names no cell has, and what a change of spelling would make of them."""
    said = f"{len(names):,} of its {n_rows:,} rows name no cell of the data, such as {names[0]!r}"
    for what, change in CHANGES.items():
        there = {change(name): name for name in known} | {name: name for name in known}
        alike = {name: there.get(name, there.get(change(name))) for name in names}
        alike = {name: ours for name, ours in alike.items() if ours}
        if len(set(alike.values())) > len(names) / 2:  # each another cell, not all of them one
            theirs, ours = next(iter(alike.items()))
            return (
                f"{said}. {what[0].upper()}{what[1:]} aside, {len(alike):,} of them would be known: {theirs!r} may be "
                f"{ours!r} of the data; write names as the data have them."
            )
    if all(name.isdigit() for name in names):
        return f"{said}: these are numbers of rows. Add a column with the names of the cells, as {known[0]!r}."
    return (
        f"{said}, where the data have {known[0]!r}. If another column holds the names of cells, name it with "
        "--cell-column; else write them as the data have them, and leave out cells of other data."
    )
