"""What tests of golden cases share: private copies that may be harmed, verdicts on them, and mistakes to be noticed."""

import json
from collections.abc import Iterator
from importlib import import_module
from itertools import takewhile
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from bench.verify import Verdict, cases, verify
from bench.verify.case import Case
from bench.verify.verdict import Compared


def verdicts(where: Path, name: str) -> Iterator[Verdict]:
    """Yield what comes of a case on each backend; longer names that begin so come after it and are not computed."""
    return takewhile(lambda verdict: verdict.case == name, verify(where, name))


def on_cpu(where: Path, name: str) -> Verdict:
    """Return what comes of a case on the first backend, without computing on the others."""
    return next(verdicts(where, name))


def compared(where: Path, name: str) -> dict[str, Compared]:
    """Return how far every output is and may be, from the function that compares."""
    module, _, function = cases()[name].partition(":")
    case = Case(where, name)
    getattr(import_module(module), function)(case)
    return case.compared


def change(where: Path, name: str, **changes) -> None:
    """Write a case again with some tensors replaced, added, or with None left out; __ stands for a dot."""
    file = where / f"{name}.safetensors"
    tensors = load_file(file) | {key.replace("__", "."): value for key, value in changes.items()}
    save_file({key: value.contiguous() for key, value in tensors.items() if value is not None}, file)


def tell(where: Path, name: str, **changes) -> None:
    """Write the description of a case again with some entries replaced."""
    file = where / f"{name}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def patched(target, name, make):
    """Return a mistake: replace an attribute by what ``make`` makes of it."""
    return lambda monkeypatch: monkeypatch.setattr(target, name, make(getattr(target, name)))


def misses_as_said(where: Path, name: str, output: str, mistake: str) -> None:
    """Check that a mistake, which was made before, moves an output as far as the golden set says that it does."""
    said = json.loads((where / f"{name}.json").read_text())["sensitivity"]
    assert f"{output} " in said["meaning"]
    found = compared(where, name)[output]
    assert found.share > 1
    assert found.error == pytest.approx(said[mistake], rel=0.02)
