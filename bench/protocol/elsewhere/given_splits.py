"""A table of splits that comes back with predictions: which split is meant, and whether the data are the same."""

import shlex
from pathlib import Path

import pandas as pd

from bench.core.errors import BenchError, listed, unknown
from bench.datasets import Request
from bench.models.elsewhere.text_table import read as read_table
from bench.protocol.elsewhere.split_table import COLUMNS, OPTIONAL, OPTIONS, SCORED, TRAIN, Asked
from bench.protocol.sides import Sides
from bench.protocol.trial import Task


def read(path: Path) -> pd.DataFrame:
    """Return such a table.

    Raises
    ------
    BenchError
        If it is none, or cells of several data sets are in it.
    """
    table = read_table(path)
    if missing := [name for name in COLUMNS if name not in table and name not in OPTIONAL]:
        raise BenchError(f"{path} is no table that bench split has written: it lacks {listed(missing)}.")
    numbers = {name: pd.to_numeric(table[name], errors="coerce") for name in ("fraction", "seed")}
    for name, values in numbers.items():
        if values.isna().any():
            raise BenchError(f"{path}: {name} {table[name][values.isna()].iloc[0]!r} is no number; write it anew.")
    if "query" not in table:
        table = table.assign(query="", query_hash="")
    for name in ("dataset", "dataset_hash", "options", "query", "query_hash"):
        if table[name].nunique() > 1:
            raise BenchError(
                f"{path} joins splits of several data; score each with a table of its own ({name} varies)."
            )
    return table.assign(**numbers)


def chosen(
    table: pd.DataFrame, path: Path, split: str | None, fraction: float | None, seed: int | None
) -> pd.DataFrame:
    """Return the rows of one split, share and seed.

    Raises
    ------
    BenchError
        If there are none, or several.
    """
    for name, value in {"split": split, "fraction": fraction, "seed": seed}.items():
        if value is None or (name == "seed" and table["fraction"].eq(1).all()):
            continue  # with all cells nothing is drawn: the table has one seed, and a tool may have several of its own
        if not (found := table[table[name] == value]).empty:
            table = found
            continue
        raise unknown(f"{name} in {path}", f"{value:g}" if name != "split" else value, _there(table, name))
    several = {name: _there(table, name) for name in ("split", "fraction", "seed") if table[name].nunique() > 1}
    if several:
        there = "; ".join(f"{name} {listed(values, 6)}" for name, values in several.items())
        options = " ".join(f"--{name} {shlex.quote(values[0])}" for name, values in several.items())
        raise BenchError(f"{path} holds several: {there}. Say of which the predictions are, such as {options}.")
    return table


def asked_by(rows: pd.DataFrame, path: Path, data: str | None, seed: int | None, query: str | None = None) -> Asked:
    """Return what the rows of `chosen` were made by.

    Parameters
    ----------
    rows, path
        The rows, and the file that they are from.
    data
        Where the data lie now, where the user says it.
    seed
        Where the user says it; else that of the rows.
    query
        Where the query lies now, where the user says it.

    Raises
    ------
    BenchError
        If a query is named and the rows have none, or their options are not as `bench split` writes them.
    """
    first, options = rows.iloc[0], {}
    words = shlex.split(first["options"])
    for name, value in zip(words[::2], words[1::2], strict=False):
        options.setdefault(name.removeprefix("--"), []).append(value)
    if len(words) % 2 or set(options) - set(OPTIONS):
        raise BenchError(f"{path}: options {first['options']!r} are not as bench split writes them; write it anew.")
    drop = tuple(options.pop("drop", ()))
    single = {name: values[-1] for name, values in options.items()}
    subset = single.pop("subset", "paired")
    source = Request(data or _located(first["dataset"], path), **single, drop=drop)
    seed = int(first["seed"]) if seed is None else seed
    if query and not first["query"]:
        raise BenchError(f"{path} was made without a query; leave --query out, or split anew: bench split --query.")
    query = (query or _located(first["query"], path)) if first["query"] else None
    splits = () if query else (first["split"],)
    return Asked(source, splits, (float(first["fraction"]),), (seed,), subset, query)


def check_same(rows: pd.DataFrame, path: Path, task: Task, sides: Sides) -> None:
    """Raise a BenchError unless the rows of a table are what the data give today."""
    now = {"dataset": (task.source.name, task.trial.dataset_hash, "--data")}
    if task.query is not None:
        now["query"] = (task.query.name, task.trial.query_hash, "--query")
    for name, (found, content, option) in now.items():
        there = rows[f"{name}_hash"].iloc[0]
        if there != content:
            raise BenchError(
                f"{path} was made of {rows[name].iloc[0]} with the content {there}, and {Path(found).name} has "
                f"{content} now: the file has changed, or it is another one; name the right one with {option}, or "
                "split it anew and predict again."
            )
    named = "unique_cell" if "unique_cell" in rows else "cell"
    roles = {TRAIN: sides.train.obs_names, SCORED: sides.scored.obs_names}
    found = {role: set(rows.loc[rows["role"] == role, named]) for role in roles}
    odd = (
        sum(len(found[role] ^ set(names.str.strip())) for role, names in roles.items())
        + (~rows["role"].isin(roles)).sum()
    )
    if odd:
        raise BenchError(
            f"{path}: {odd:,} cells have another role than the data give; rows were changed or left out. Write it anew "
            "with bench split, and check which cells the tool was trained on."
        )


def _there(table: pd.DataFrame, name: str) -> list[str]:
    return [value if name == "split" else f"{value:g}" for value in sorted(table[name].unique())]


def _located(name: str, path: Path) -> str:
    """Return the path of data as the table names them: from here, or from where the table lies."""
    beside = path.parent / name
    return str(beside) if not Path(name).exists() and beside.exists() else name
