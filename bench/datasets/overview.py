"""What is in a user's file, in the lines that ``bench data`` prints: it describes what it can, whatever is wrong."""

import json
import shlex
from collections.abc import Iterator
from dataclasses import replace

import h5py
import pandas as pd
from anndata import AnnData

from bench.core.errors import BenchError, listed
from bench.core.places import is_checkout
from bench.datasets import tables, twins
from bench.datasets.loading import loaded
from bench.datasets.opened import opened
from bench.datasets.places import found_in, matrices, place
from bench.datasets.reading import LABEL, resolved, symbols
from bench.datasets.request import Request
from bench.datasets.splits import expand, split
from bench.datasets.symbols import looks
from bench.datasets.vectors import arrays

LABELS = ("cell_type", "celltype", "annotation", "cell.type", "cell_label", "labels", "label", "cluster", "louvain")
LABELS += ("leiden", "type", "class")
BATCHES = ("donor_id", "donor", "batch", "patient", "individual", "subject", "sample", "study", "condition")
MOST = 8  # names in a line


def lines(asked: Request) -> Iterator[tuple[str, str]]:
    """Yield a heading and what is said under it.

    Raises
    ------
    BenchError
        If the file cannot be opened at all, or a column that is named is not there.
    """
    with opened(asked.name) as file:
        obs = file["obs"]
        yield "size", f"{tables.size(obs):,} cells, {tables.size(file['var']):,} genes"
        for name in matrices(file):
            yield "matrix", f"{place(name)}: {_attempt(lambda name=name: found_in(file, name).said)}"
        used, problem = _used(asked)
        yield from _genes(file, used or asked.layer or "X", asked.symbols)
        sizes, vectors = _sizes(obs), arrays(file)
    yield "columns", listed((f"{name} {n:,}" for name, n in sizes.items()), MOST) + " (values of each)"
    yield "obsm", listed((f"{name} {shape}" for name, shape in vectors.items()), MOST)
    label = asked.label or (LABEL if LABEL in sizes else None)
    if label is None and (likely := _likely(sizes, LABELS)):
        yield "label", f"no column {LABEL!r}; {likely!r} could be it"
        yield "next", _command("data", replace(asked, label=likely))
        return
    adata = None if problem else _attempt(lambda: loaded(asked, silent=True))
    if not isinstance(adata, AnnData):
        yield "problem", problem or adata
        return
    yield from _usable(asked, adata, label, sizes, vectors)


def _usable(
    asked: Request, adata: AnnData, label: str, sizes: dict[str, int], vectors: dict[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield what a data set that keeps the contract allows."""
    about, counts = adata.uns["bench"], adata.obs["cell_type"].value_counts()
    yield "used", f"{place(about['layer'])} as {about['values']}, symbols of {about['symbols']}, label {label}"
    yield "types", f"{len(counts)}: " + listed((f"{name} {n:,}" for name, n in counts.items()), MOST)
    possible = list(_splits(adata))
    for _, said in possible:
        yield "split", said
    batch = asked.batch or _likely({name: n for name, n in sizes.items() if n > 1}, BATCHES)
    if batch and not asked.batch:
        yield "split", f"held_out:GROUP and held_out:* with {_flag('batch', batch)}: one of {sizes[batch]} held out"
    names = [name for name, _ in possible if name]
    for note in [*about["notes"], *twins.warnings(adata, names[:MOST])]:
        yield "note", note
    if not names:
        yield "next", "leave those types out, or name a batch to hold out: " + _command("data", asked)
    else:
        if not is_checkout():  # what needs no chapters comes first
            yield "next", _command("split", asked) + " --out splits.csv"
        yield "next", _run(asked)
        if widest := _widest(vectors):
            models = json.dumps(["l1_logistic", f"embedding@{widest}"], ensure_ascii=False)
            yield "next", f"{_run(asked)} -p models {shlex.quote(models)}"
        if batch and len(names) == 1:
            yield "next", f"{_run(replace(asked, batch=batch), 'new_donors')} -p split 'held_out:*'"


def _splits(adata: AnnData) -> Iterator[tuple[str, str]]:
    """Yield the name of each split that is possible, and a sentence on each that is asked about."""
    types = adata.obs["cell_type"].nunique()
    for name in ["random", *(["authors"] if "split" in adata.obs else [])]:
        sides = _attempt(lambda name=name: split(adata, name))
        if isinstance(sides, str):
            yield "", f"{name} is not possible: {sides}"
            continue
        n, third = len(sides.train), adata.n_obs - len(sides.train) - len(sides.test)
        said = f"{name}: {n:,} trained on, {len(sides.test):,} scored"
        said += f", {third:,} in neither part (val)" if third else ""
        yield name, f"{said}; a share has at least a cell of each type, {100 * types / n:.1f} %"
    if "batch" in adata.obs:
        groups = adata.obs["batch"].value_counts()
        alone = _alone(adata)
        said = []
        for name, n in groups.items():
            said.append(f"{name} {n:,}" + (f" ({alone[name]} types nowhere else)" if alone[name] else ""))
        yield "", f"held_out:GROUP, or held_out:* for all {len(groups)}: {listed(said, MOST)}"
        for name in expand(adata, ["held_out:*"]) if len(groups) > 1 else []:
            yield name, ""


def _alone(adata: AnnData) -> dict[str, int]:
    """Return for each batch how many types no other one has, which nobody can learn when it is held out."""
    table = pd.crosstab(adata.obs["batch"].astype(str), adata.obs["cell_type"].astype(str)) > 0
    return table.loc[:, table.sum() == 1].sum(axis=1).to_dict()


def _genes(file: h5py.File, layer: str, asked: str | None) -> Iterator[tuple[str, str]]:
    found = _attempt(lambda: symbols(file, layer, asked))
    if isinstance(found, str):
        yield "genes", found
        return
    source = "var_names" if found.source == "var_names" else f"var[{found.source!r}]"
    repeats = int(found.names.duplicated().sum())
    said = f"{listed(found.names[:4])} of {source}, look {looks(found.names)}"
    yield "genes", said + (f"; {repeats:,} repeats" if repeats else "")


def _used(asked: Request) -> tuple[str | None, str]:
    """Return the matrix that is used, or why none can be."""
    try:
        return resolved(asked).layer, ""
    except BenchError as error:
        return None, str(error)


def _sizes(obs: h5py.Group) -> dict[str, int]:
    """Return how many values each column has that could name types or batches."""
    found = {}
    for name in tables.columns(obs):
        try:
            values = tables.column(obs, name)
            if not (values.dtype.kind == "f" and (values.dropna() % 1 != 0).any()):
                found[name] = int(values.nunique())
        except Exception:  # a column that cannot be read is none to choose
            continue
    n_cells = tables.size(obs)
    return {name: n for name, n in found.items() if n <= max(20, n_cells / 3)}


def _likely(sizes: dict[str, int], wanted: tuple[str, ...]) -> str | None:
    """Return the column whose name is, or has in it, what such columns are called."""
    several = [name for name, n in sizes.items() if n > 1]
    exact = [name for want in wanted for name in several if name.lower() == want]
    return next(iter(exact + [name for want in wanted for name in several if want in name.lower()]), None)


def _widest(vectors: dict[str, str]) -> str | None:
    """Return the array of obsm with most dimensions, of usual names first; pictures of cells have two."""
    matrices = {name: shape.split(" x ") for name, shape in vectors.items()}
    sizes = {name: int(of[1].replace(",", "")) for name, of in matrices.items() if len(of) == 2}
    return max(sizes, key=lambda name: (name.startswith("X_"), sizes[name]), default=None)


def _command(name: str, asked: Request) -> str:
    return " ".join([f"bench {name} {shlex.quote(asked.name)}", *_given(asked, "--")])


def _run(asked: Request, chapter: str = "few_shot_pbmc") -> str:
    where = "" if is_checkout() else "in a clone of the project: "
    return " ".join([f"{where}bench run {chapter} -p dataset {shlex.quote(asked.name)}", *_given(asked, "-p ")])


def _given(asked: Request, dash: str) -> list[str]:
    """Return the options of a request as text, those of ``bench run`` with ``-p``."""
    fields = ("label", "batch", "layer", "symbols")
    given = [f"{dash}{name} {shlex.quote(getattr(asked, name))}" for name in fields if getattr(asked, name)]
    if asked.drop and dash == "--":
        return given + [f"--drop {shlex.quote(name)}" for name in asked.drop]
    return given + ([f"-p drop {shlex.quote(json.dumps(list(asked.drop)))}"] if asked.drop else [])


def _flag(name: str, value: str) -> str:
    return f"--{name} {shlex.quote(value)}"


def _attempt(look):
    """Return what a look at the file gives, or the sentence that it fails with."""
    try:
        return look()
    except BenchError as error:
        return str(error)
