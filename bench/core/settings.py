"""Values that come as text: read once, as JSON or YAML 1.2 has them, and put into the type of their default.

PyYAML reads YAML 1.1, where ``1e-4`` is a word, ``010`` is 8, ``yes`` is true, ``2024-01-01`` a date and ``1:30`` 90.
"""

import json
import math
import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from bench.core.errors import BenchError

# of plain scalars, as YAML 1.2 has them ("core schema"), and Python's own None
_NULL = r"|~|null|Null|NULL|None"
_SWITCH = r"true|True|TRUE|false|False|FALSE"
_WHOLE = r"[-+]?[0-9]+"
_NUMBER = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
_LIST = "a list is written in quotes, such as '[0, 1]' or '[a, b]'"
_ODD = """names that hold ': ' or ' #' need quotes of their own, such as '["Donor #1", "Donor: 2"]'"""


def parse(name: str, value: Any) -> Any:
    """Return the value of a setting that came as text, read as JSON or YAML 1.2; other values as they are.

    Raises
    ------
    BenchError
        If the text cannot be read, says a name twice in one mapping, or holds a number that is none.
    """
    return _read(name, value, plain=False)


def parse_names(name: str, value: str) -> list[str]:
    """Return a list of names that came as text, each as it stands there: ``[1, 0.80, yes]`` are three names.

    Raises
    ------
    BenchError
        If the text is no list of names.
    """
    found = _read(name, value, plain=True)
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise BenchError(f"Parameter {name}={value!r} should be a list of names, such as [a, b]; {_ODD}.")
    return found


def as_type(name: str, value: Any, default: Any) -> Any:
    """Return the value in the type of its default; JSON and YAML know no tuples and write 1 for 1.0.

    Raises
    ------
    BenchError
        If it is of another type.
    """
    if default is None or value is None:
        return value
    wanted = type(default)
    if wanted is tuple and isinstance(value, (list, tuple)):
        return tuple(as_type(name, item, default[0]) if default else item for item in value)
    number = wanted in (int, float) and isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and math.isfinite(value) and wanted(value) == value:
        return wanted(value)
    if isinstance(value, wanted) and not number and (wanted is bool or not isinstance(value, bool)):
        return value
    kind = {tuple: "a list", bool: "true or false"}.get(wanted, f"of type {wanted.__name__}")
    shown = list(default) if wanted is tuple else default
    raise BenchError(f"{name}={value!r} should be {kind}, as its default {shown!r}.")


def _read(name: str, text: Any, *, plain: bool) -> Any:
    """Read a text; with ``plain`` numbers and words stay as they are written."""
    if not isinstance(text, str):
        return text
    numbers = {"parse_int": str, "parse_float": str, "parse_constant": str} if plain else {"parse_constant": _no_number}
    try:
        found = json.loads(text, object_pairs_hook=_mapping, **numbers)
        if not plain or all(isinstance(item, str) for item in found):
            return found  # else ``true`` and ``null`` are names too, which YAML can leave as they are
    except json.JSONDecodeError:
        pass  # perhaps it is YAML
    except (ValueError, RecursionError) as error:
        raise BenchError(f"Parameter {name}={text[:80]!r} {error}.") from error
    import yaml  # here: most commands read none

    try:
        return yaml.load(text, _reader(plain))  # a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        raise BenchError(f"Parameter {name}={text[:80]!r} cannot be read: {_reason(text, error)}.") from error
    except ValueError as error:
        raise BenchError(f"Parameter {name}={text[:80]!r} {error}.") from error


def _reason(text: str, error: Exception) -> str:
    """Return why a text is no YAML, the usual reasons first: what a shell has taken away, and names with ``#``."""
    if " #" in text or ": " in text.replace("': ", "").replace('": ', ""):
        return _ODD
    for opened, closed in ("[]", "{}"):
        if text.count(opened) > text.count(closed):
            return f"it lacks a closing {closed}; {_LIST}"
    return f"{getattr(error, 'problem', None) or str(error) or type(error).__name__}; {_LIST}"


def _mapping(pairs: Iterable[tuple[Any, Any]]) -> dict:
    found = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"holds {key!r} twice; leave one of the two out")
        found[key] = value
    return found


def _no_number(text: str) -> None:
    raise ValueError(f"holds {text}, which is no number that can be asked for")


@cache
def _reader(plain: bool) -> type:
    """Return a reader of YAML 1.2, of names alone where ``plain``."""
    import yaml

    class _Reader(yaml.SafeLoader):
        """Knows the scalars of YAML 1.2 and refuses a key that stands twice."""

        def construct_mapping(self, node, deep=False):
            pairs = [
                (self.construct_object(key, True), self.construct_object(value, True)) for key, value in node.value
            ]
            if unhashable := [key for key, _ in pairs if isinstance(key, (list, dict))]:
                raise yaml.YAMLError(f"a list cannot be a name: {unhashable[0]}")
            return _mapping(pairs)

    _Reader.yaml_implicit_resolvers = {}  # those of YAML 1.1 go
    if not plain:
        for tag, pattern in (("null", _NULL), ("bool", _SWITCH), ("int", _WHOLE), ("float", _NUMBER)):
            _Reader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), None)
        _Reader.add_constructor("tag:yaml.org,2002:int", lambda reader, node: int(node.value))
        _Reader.add_constructor("tag:yaml.org,2002:float", lambda reader, node: float(node.value))
    return _Reader
