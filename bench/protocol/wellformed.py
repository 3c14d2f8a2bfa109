"""Whether what a chapter asks for can be understood, before any data are looked at."""

from typing import Any

from bench.core.errors import Faults, listed, unknown
from bench.datasets import DATASETS
from bench.datasets.splits import SUBSETS, check_name
from bench.protocol.parameters import TIERS

OF_FILES = ("label", "batch", "layer", "symbols")
LISTS = {
    "dataset": (str, "['baron', 'kang']"),
    "models": (str, "['l1_logistic', 'knn']"),
    "fractions": ((int, float), "[0.1, 1.0]"),
    "seeds": (int, "[0, 1]"),
}


def check(grid: Any, faults: Faults) -> None:
    """Take note of all that is wrong with the fields of a `bench.protocol.trials.Grid`."""
    for look in (_names, _lists, _overrides):
        look(grid, faults)


def _names(grid: Any, faults: Faults) -> None:
    for name, valid in (("tier", TIERS), ("subset", SUBSETS)):
        if getattr(grid, name) not in valid:
            faults.add(str(unknown(name, getattr(grid, name), valid)))
    columns = {name: getattr(grid, name) for name in OF_FILES if getattr(grid, name) is not None}
    if columns and {*map(str, grid.dataset), *([grid.query] if grid.query else [])} <= {*DATASETS}:
        of = listed(map(str, grid.dataset))
        faults.add(f"{listed(columns)} goes with an .h5ad file, and {of} is read as it is; name a file as dataset.")
    named = grid.split if isinstance(grid.split, (list, tuple)) else [grid.split or "random"]
    if not named or not all(isinstance(name, str) for name in named):
        return faults.add(f"split={grid.split!r} should be a name, or a list such as ['random', 'held_out:*'].")
    for name in named:
        with faults.noted():
            check_name(name)
    if grid.query is not None and not isinstance(grid.query, str):
        faults.add(f"query={grid.query!r} should be one name or path; what is trained on may be several.")
    if grid.query is not None and grid.split is not None:
        faults.add(
            f"query={grid.query!r} has all of its cells scored and all of the data set trained on, so that "
            f"split={grid.split!r} has nothing to say; leave one of the two out."
        )


def _lists(grid: Any, faults: Faults) -> None:
    for name, (kind, example) in LISTS.items():
        value = getattr(grid, name)
        if not value or not all(isinstance(item, kind) and not isinstance(item, bool) for item in value):
            faults.add(f"{name}={value!r} should be a list such as {example}.")
        elif name == "fractions" and (bad := [fraction for fraction in value if not 0 < fraction <= 1]):
            faults.add(f"fractions={bad!r} should be above 0 and at most 1; 0.1 is ten per cent of the cells.")
        elif name == "seeds" and (bad := [seed for seed in value if not 0 <= seed < 2**32]):
            faults.add(f"seeds={bad!r} should be whole numbers from 0 on, below 2**32.")


def _overrides(grid: Any, faults: Faults) -> None:
    if not isinstance(grid.overrides, dict) or not all(isinstance(o, dict) for o in grid.overrides.values()):
        return faults.add(f"overrides={grid.overrides!r} should be such as {{'l1_logistic': {{'Cs': [0.1, 1]}}}}.")
    known = {name for model in map(str, grid.models) for name in (model, model.partition("@")[0])}
    for name in sorted(map(str, set(grid.overrides) - known)):
        faults.add(str(unknown("model in overrides", name, known)))
