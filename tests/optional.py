"""Models as parameters of tests, those skipped whose optional packages are not installed."""

from collections.abc import Iterable

import pytest

from bench.core.errors import BenchError
from bench.models import find
from bench.models.contract import Annotator


def installed(names: Iterable[str]) -> list:
    """Return the names, each with a skip and its reason where a package is missing."""
    return [
        pytest.param(name, marks=pytest.mark.skip(reason=reason)) if (reason := _absent(name)) else name
        for name in names
    ]


def _absent(name: str) -> str:
    model = find(name)
    try:
        if issubclass(model, Annotator):
            model.check_installed()
    except BenchError as error:
        return str(error)
    return ""
