"""Settings that come as text or from a file: read as YAML, and put into the type of their default."""

from typing import Any

from bench.core.errors import BenchError


def parse(name: str, value: Any) -> Any:
    """Return the value of a parameter that came as text, read as YAML; other values as they are."""
    import yaml  # here: most commands read none

    try:
        return yaml.safe_load(value) if isinstance(value, str) else value
    except yaml.YAMLError as error:
        raise BenchError(
            f"Parameter {name}={value!r} cannot be read; write lists as [0, 1] or [a, b], in quotes."
        ) from error


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
    if number and wanted(value) == value:
        return wanted(value)
    if isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool)):
        return value
    raise BenchError(f"{name}={value!r} should be of type {wanted.__name__}, as its default {default!r}.")
