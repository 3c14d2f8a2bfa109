"""What the checks say of models: one that keeps its promises, and others that break them."""

import inspect
from types import ModuleType

import pandas as pd


def promises(spec: str, cells: tuple, name: str) -> pd.DataFrame:
    """Return what is checked, rows checks: the promise, what would be wrong without it, and the verdict on a model.

    Parameters
    ----------
    spec
        Import path of the model, such as ``my_module:MyModel``.
    cells
        Training cells and scored cells, as `bench.datasets.sample.sides` returns them.
    name
        Heading of the last column.
    """
    from bench.models.conformance import CHECKS, check, specified

    said = dict(check(specified(spec, {}), *cells))
    rows = {key: (entry.promise, entry.why, said.get(key) or "kept") for key, entry in CHECKS.items()}
    return pd.DataFrame.from_dict(rows, "index", columns=["promise", "without it", name])


def refusals(module: ModuleType, cells: tuple) -> pd.DataFrame:
    """Return the first check that each class of a module fails, and what is said; empty text where it keeps them all.

    Parameters
    ----------
    module
        Its own classes are taken as models, those that it imports are not.
    cells
        Training cells and scored cells.
    """
    from bench.models.conformance import refusal

    rows = {}
    for name, model in vars(module).items():
        if inspect.isclass(model) and model.__module__ == module.__name__:
            rows[name] = (model.__doc__, *refusal(f"{module.__name__}:{name}", *cells))
    return pd.DataFrame.from_dict(rows, "index", columns=["what it does", "check", "what is said"])
