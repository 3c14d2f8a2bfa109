"""The shared cases' models are modules of common names: what a test imports of them is forgotten after it."""

import os
import sys
from pathlib import Path

import pytest

CASES = Path(os.environ.get("BENCH_CASES") or "no cases")
NAMES = {path.stem for path in [*CASES.glob("*.py"), *CASES.glob("models/*.py")]}


@pytest.fixture(autouse=True)
def modules_are_forgotten():
    _forget()
    yield
    _forget()


def _forget() -> None:
    for name in NAMES:
        sys.modules.pop(name, None)
