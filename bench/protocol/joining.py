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

MISSING = ("refuse", "abstain")
CHANGES: dict[str, Callable[[str], str]] = {  # what tools and people do to names of cells
    "without its ending": lambda name: re.sub(r"[-_.]\d+$", "", name),
    "without what stands before it": lambda name: re.sub(r"^.*[_:#|/]", "", name),
    "without beginning and ending": lambda name: re.sub(r"^.*[_:#|/]|[-.]\d+$", "", name),
    "with R's points undone": lambda name: re.sub(r"[^0-9A-Za-z]+", ".", name).removeprefix("X"),
    "in small letters": str.casefold,
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
    scored, train = (cells.obs_names.str.strip() for cells in (sides.scored, sides.train))
    in_scored, in_train = np.isin(names, scored), np.isin(names, train)
    known = in_scored | in_train | np.isin(names, others.str.strip())
    if unknown := int((~known).sum()):
        raise BenchError(_unknown(names[~known], len(names), pd.Index(others)))
    if not in_scored.any():
        raise BenchError(
            f"None of its {len(names):,} rows is of a scored cell; {in_train.sum():,} are of training cells. Predict the "
            "cells whose role is scored, or name the split, the fraction and the seed that were meant."
        )
    left_out = {"training cells": in_train & ~in_scored, "cells that are neither": known & ~in_train & ~in_scored}
    notes = [f"predictions of {int(n.sum()):,} {what} are left out" for what, n in left_out.items() if n.any()]
    rows = np.flatnonzero(in_scored)
    notes += _check_doubled(names[rows], answers.iloc[rows], sides)
    place = pd.Series(rows, names[rows])
    place = place[~place.index.duplicated()].reindex(scored).fillna(-1).astype(int).to_numpy()
    if n := int((place < 0).sum()):
        told = f"{n:,} of {len(scored):,} scored cells have no prediction, such as {scored[place < 0][0]!r}"
        if missing == "refuse":
            raise BenchError(f"{told}: predict them, or count them as cells without a type with --missing abstain.")
        notes.append(f"{told}; they count as cells that are given no type")
    return place, notes


def _check_doubled(names: np.ndarray, answers: pd.DataFrame, sides: Sides) -> list[str]:
    """Return what is said of cells that stand twice with one answer; two answers are refused."""
    twice = pd.Series(names).duplicated(keep=False).to_numpy()
    if not twice.any():
        return []
    same = answers.assign(**{"(cell)": names}).duplicated(keep=False).to_numpy()
    per_cell = answers.assign(**{"(cell)": names}).drop_duplicates()["(cell)"].value_counts()
    if n := int((per_cell > 1).sum()):
        repeated = (
            "; names repeat in the data themselves: name cells by unique_cell of bench split"
            if (sides.names != sides.scored.obs_names).any()
            else "; predictions of several seeds or fractions are a file each"
        )
        raise BenchError(
            f"{n:,} scored cells have several answers that differ, such as {per_cell.index[0]!r}: leave one{repeated}."
        )
    return [f"{len(set(names[twice & same])):,} cells stand several times, with the same answer"]


def _unknown(names: np.ndarray, n_rows: int, known: pd.Index) -> str:
    """Say how many names no cell has, and what a change of spelling would make of them."""
    said = f"{len(names):,} of its {n_rows:,} rows name no cell of the data, such as {names[0]!r}"
    for what, change in CHANGES.items():
        there = {change(name): name for name in known}
        alike = [name for name in names if change(name) in there]
        if len(alike) > len(names) / 2:
            one = alike[0]
            return (
                f"{said}. {what.capitalize()}, {len(alike):,} of them would be known: {one!r} is "
                f"{there[change(one)]!r} in the data; write names as the data have them."
            )
    if all(name.isdigit() for name in names):
        return f"{said}: these are numbers of rows. Add a column with the names of the cells, as {known[0]!r}."
    return (
        f"{said}, where the data have {known[0]!r}. If another column holds the names of cells, name it with "
        "--cell-column; else write them as the data have them, and leave out cells of other data."
    )
