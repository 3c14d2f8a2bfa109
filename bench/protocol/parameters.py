"""Parameters of chapters by name: of what kind each is, and how the text of a command line becomes it, once.

Names (of columns, layers, data sets, splits, models) are taken as they stand and never read as a number, a date or
``yes``; several of them are a list, in brackets.  Everything else is read as JSON or YAML 1.2.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError, Faults, unknown
from bench.core.settings import parse, parse_names

TIERS = ("quick", "standin", "paper")


def name(parameter: str, value: Any) -> str:
    """Return one name; numbers, which papermill's own command line makes of text, become text again."""
    if isinstance(value, str) and not value.strip():
        raise BenchError(f"{parameter}={value!r} is empty; leave it out, or give a name.")
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not isinstance(value, str) and not number:
        raise BenchError(f"{parameter}={value!r} should be one name.")
    return str(value)


def file(parameter: str, value: Any) -> str:
    """Return the name of data or weights, or the path of a file, without ``~``."""
    return os.path.expanduser(name(parameter, value))


def names(parameter: str, value: Any) -> str | list[str]:
    """Return one name or a list of them: what begins with a bracket and is no file is a list."""
    if isinstance(value, str) and value.lstrip().startswith("[") and not Path(value).exists():
        value = parse_names(parameter, value)
    return [name(parameter, item) for item in value] if isinstance(value, (list, tuple)) else name(parameter, value)


def files(parameter: str, value: Any) -> str | list[str]:
    """Return names of data or paths of files, one or a list, without ``~``."""
    found = names(parameter, value)
    return file(parameter, found) if isinstance(found, str) else [file(parameter, item) for item in found]


def weights(parameter: str, value: Any) -> str | dict[str, str]:
    """Return weights, one name or path, or a mapping of them."""
    if isinstance(value, str) and not value.lstrip().startswith("{"):
        return file(parameter, value)
    found = parse(parameter, value)
    return {key: file(parameter, item) for key, item in found.items()} if isinstance(found, dict) else found


def switch(parameter: str, value: Any) -> bool:
    """Return true or false."""
    found = parse(parameter, value)
    if not isinstance(found, bool):
        raise BenchError(f"{parameter}={value!r} should be true or false.")
    return found


def number(parameter: str, value: Any) -> int:
    """Return a whole number."""
    found = parse(parameter, value)
    if not isinstance(found, int) or isinstance(found, bool):
        raise BenchError(f"{parameter}={value!r} should be a whole number.")
    return found


def numbers(parameter: str, value: Any) -> Any:
    """Return a number or a list of them."""
    found = parse(parameter, value)
    items = found if isinstance(found, list | tuple) else [found]
    if not all(isinstance(item, int | float) and not isinstance(item, bool) for item in items):
        raise BenchError(f"{parameter}={value!r} should be a list of numbers, such as '[0, 1]'.")
    return found


def tier(parameter: str, value: Any) -> str:
    """Return the name of a tier."""
    if (found := name(parameter, value)) not in TIERS:
        raise unknown("tier", found, TIERS)
    return found


KINDS: dict[str, Callable[[str, Any], Any]] = {
    "tier": tier,
    **dict.fromkeys(("label", "batch", "layer", "symbols", "subset", "device"), name),
    "query": file,
    "dataset": files,
    **dict.fromkeys(("models", "split", "drop"), names),
    **dict.fromkeys(("fractions", "seeds"), numbers),
    **dict.fromkeys(("jobs", "max_cells", "batch_size"), number),
    **dict.fromkeys(("compute", "baselines_only"), switch),
    "weights": weights,
}  # what is not here, overrides among them, is read as JSON or YAML 1.2
NAMES = (name, file, names, files, weights, tier)  # of these kinds, no text stands for "as the chapter has it"


def given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is asked for in the kinds that chapters take, without what is None.

    Parameters
    ----------
    parameters
        By name; values may be text, as on a command line, and then ``null`` is None where no name is asked for.

    Raises
    ------
    BenchError
        If some are of another kind, each in a sentence of its own.
    """
    faults, found = Faults(), {}
    for parameter, value in parameters.items():
        kind = KINDS.get(parameter, parse)
        with faults.noted():
            value = value if kind in NAMES else parse(parameter, value)
            found |= {parameter: kind(parameter, value)} if value is not None else {}
    faults.raised()
    return found
