"""`pyproject.toml` says what is needed, `requirements.lock` and `environment.yml` say the same exact versions."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
UNLOCKED = {"scvi"}  # extras whose packages no command of the book and no test needs
LOCKED = [group for extra, group in PROJECT["optional-dependencies"].items() if extra not in UNLOCKED]
DIRECT = {
    canonicalize_name(requirement.name): requirement
    for group in [PROJECT["dependencies"], *LOCKED]
    for requirement in map(Requirement, group)
}
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}  # conda-forge's name: the package index's name


@pytest.fixture(scope="module")
def lock():
    """Version pinned for each package."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [re.fullmatch(r"([\w.\-]+)==([\w.!+]+)(\s*[;#\\].*)?", line.strip()) for line in lines]
    return {canonicalize_name(pin[1]): Version(pin[2]) for pin in pins if pin}


@pytest.fixture(scope="module")
def conda():
    """Version that `environment.yml` pins for each package, under the package index's name."""
    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    pip = next((entry["pip"] for entry in listed if isinstance(entry, dict)), [])
    pins = [re.fullmatch(r"([\w.\-]+)==?([\w.]+)", text) for text in [*filter(_is_text, listed), *pip]]
    assert all(pins), "every line of environment.yml is NAME=VERSION, or NAME==VERSION under pip"
    return {canonicalize_name(CONDA_NAMES.get(pin[1], pin[1])): Version(pin[2]) for pin in pins}


def _is_text(entry):
    return isinstance(entry, str) and not re.match(r"pip\b", entry)


@pytest.mark.parametrize("name", DIRECT)
def test_lock_pins_a_version_in_range(lock, name):
    assert name in lock, f"{name} is not in requirements.lock: install it and freeze again"
    assert DIRECT[name].specifier.contains(lock[name], prereleases=True)


@pytest.mark.parametrize("name", DIRECT)
def test_conda_pins_what_the_lock_pins(lock, conda, name):
    assert conda.get(name) == Version(lock[name].public)


def test_conda_adds_nothing_of_its_own(conda):
    assert set(conda) - set(DIRECT) <= {"python"}


def test_python_version_fits(conda):
    assert SpecifierSet(PROJECT["requires-python"]).contains(conda["python"])


def test_lock_has_no_machine_specific_lines():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert not re.search(r"file://|^-e |--(extra-)?index-url|@ git\+|\+cpu|\+cu\d", text, re.MULTILINE)
