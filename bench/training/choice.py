"""A recipe as a user asks for it: a named one, settings by name, cells of one's own."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from os.path import expanduser
from typing import Any

from bench.core.errors import BenchError, unknown
from bench.core.families import family_of
from bench.core.settings import as_type, parse
from bench.training.blocks import Selection
from bench.training.recipes import Pretraining, named


def chosen(
    model: str,
    recipe: str,
    settings: Mapping[str, Any],
    data: Sequence[str] = (),
    **columns: Any,
) -> tuple[str, Pretraining]:
    """Return a name for the weights' file, and a named recipe with some of its settings changed.

    Parameters
    ----------
    model, recipe
        Such as ``scbert`` and ``quick``: a family, and what follows its name in that of a recipe.
    settings
        Fields of the model's recipe; values may be text, as on a command line.
    data
        Cells to train on in the place of the recipe's, each as in `selection`.
    columns
        How ``.h5ad`` files are read: label, batch, layer, symbols, drop, see `bench.datasets.request`.

    Returns
    -------
    The recipe's own name if nothing differs from it, else ``MODEL_own``; and the recipe.

    Raises
    ------
    BenchError
        If there is no such model, recipe or setting, or a value is of another type than the recipe's.
    """
    found = _named(model, recipe)
    known, given = _settings(found), {}
    for name, value in settings.items():
        if name not in known:
            raise _foreign(model, name, known)
        default = getattr(found, name)
        value = value if isinstance(default, str) else parse(name, value)  # text stays as it is
        given[name] = _selections(value) if name == "selections" else as_type(name, value, default)
    if data:
        given["selections"] = tuple(selection(text, **columns) for text in data)
    elif asked := [name for name, value in columns.items() if value]:
        raise BenchError(f"{', '.join(asked)}: these go with cells of your own; name their .h5ad file as data.")
    found = replace(found, **given)
    return next((name for name, other in named().items() if other == found), f"{model}_own"), found


def selection(text: str, label: str | None = None, batch: str | None = None, **more: Any) -> Selection:
    """Return the cells that a text such as ``baron:held_out:human1`` or ``my.h5ad:random`` means.

    Parameters
    ----------
    text
        A data set or an ``.h5ad`` file, and after a colon, with commas between, the splits whose scored cells are left
        out.
    label, batch, more
        How a file is read: columns that its splits need, layer, symbols, drop.
    """
    dataset, splits = re.match(r"(.+\.(?i:h5ad)(?=:|$)|[^:]*):?(.*)", text).groups()
    own = {"label": label, "batch": batch} | more if dataset.lower().endswith(".h5ad") else {}
    names = re.split(r",(?=random|authors|held_out:)", splits)  # a group's name may hold a comma
    return Selection(expanduser(dataset), tuple(name for name in names if name), **own)


def _named(model: str, recipe: str) -> Pretraining:
    of_model = family_of(model, "recipes", "model that is pretrained here").load("recipes")
    recipes = {name.removeprefix(f"{model}_"): found for name, found in of_model.items()}
    if recipe not in recipes:
        raise unknown(f"recipe of {model}", recipe, recipes)
    return recipes[recipe]


def _settings(recipe: Pretraining) -> list[str]:
    return [field.name for field in fields(recipe)]


def _foreign(model: str, name: str, known: list[str]) -> BenchError:
    """Return the error for a setting that the model has not, though another one may have it."""
    others = sorted({other.model for other in named().values() if name in _settings(other)})
    if not others:
        return unknown(f"setting of pretraining {model}", name, known)
    return BenchError(
        f"{name} is a setting of pretraining {' and '.join(others)}, {model} has none; leave it out. Settings of "
        f"{model}: {', '.join(sorted(known))}."
    )


def _selections(value: Any) -> tuple[Selection, ...]:
    """Return what lists mean: data set, then, where given, the splits left out, label column, batch column."""
    items = value if isinstance(value, (list, tuple)) else []
    parts = [[item] if isinstance(item, str) else [*item] if isinstance(item, (list, tuple)) else [] for item in items]
    if not parts or not all(_is_selection(*part) for part in parts):
        raise BenchError(
            f"selections={value!r} should be a list of data sets, each with the splits left out, such as "
            '[["hao", ["random"]], ["my.h5ad", ["random"], "label column"]].'
        )
    return tuple(Selection(part[0], *part[1:]) for part in parts)


def _is_selection(dataset: Any = None, excluded: Any = (), *columns: Any) -> bool:
    texts = [dataset, *(excluded if isinstance(excluded, (list, tuple)) else [None])]
    texts += [column for column in columns if column is not None]
    return len(columns) <= 2 and all(isinstance(text, str) for text in texts)
