"""The image is set up as the Makefile and the README set a machine up, and holds what commands need."""

import json
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
LINES = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
SILENT = {"--quiet", "--no-compile"}  # say nothing of what is installed
SHORT = {"-e": "--editable", "-r": "--requirement", "-U": "--upgrade"}
NEEDED = ("bench/cli.py", "chapters/results/few_shot_pbmc.csv", "requirements.lock", "pyproject.toml", "README.md")


def installed(commands: list[str]) -> list[list[str]]:
    """Return what each ``pip install`` among some commands installs, in order."""
    found = (re.search(r"\bpip install (.*?)(?:\s*[#`;&].*)?$", command) for command in commands)
    words = [match[1].split() for match in found if match]
    return [[SHORT.get(word, word) for word in line if word not in SILENT] for line in words]


def instructions(name: str) -> list[str]:
    return [line.partition(" ")[2] for line in LINES if line.startswith(f"{name} ")]


def test_the_image_installs_what_the_makefile_installs_in_the_same_order():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^\$\(READY\):\n((?:\t.*\n)+)", text, re.MULTILINE)[1]
    assert installed(instructions("RUN")) == installed(recipe.splitlines())
    assert len(instructions("RUN")) == len(installed(instructions("RUN")))  # and nothing else is run


def test_its_last_step_is_that_of_the_readme():
    (last,) = re.findall(r"&& (pip install [^`]*)`", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert installed([last]) == installed(instructions("RUN"))[-1:]


def test_its_python_is_one_that_the_project_supports():
    (image,) = instructions("FROM")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert SpecifierSet(project["requires-python"]).contains(re.fullmatch(r"python:(3\.\d+)-slim", image)[1])


def test_files_are_copied_before_they_are_needed_and_none_that_is_needed_is_left_out():
    lock, everything = LINES.index("COPY requirements.lock ."), LINES.index("COPY . .")
    runs = [number for number, line in enumerate(LINES) if line.startswith("RUN ")]
    assert lock < runs[1] < everything < runs[2]
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    for file in NEEDED:
        assert (ROOT / file).is_file()
        assert not any(fnmatch(file, pattern) or file.startswith(f"{pattern}/") for pattern in ignored)


def test_it_starts_with_the_command_and_keeps_results_out_of_the_image():
    assert json.loads(instructions("CMD")[0])[0] == "bench"
    variables = dict(pair.split("=") for pair in instructions("ENV")[0].split())
    assert {"BENCH_CACHE", "BENCH_RESULTS"} <= variables.keys()
    assert not any(folder.startswith("/scfm-bench") for folder in variables.values())
