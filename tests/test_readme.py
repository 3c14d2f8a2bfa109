"""The README says what the records say, and names what exists."""

import re
from pathlib import Path

import pytest

from bench.protocol import records
from bench.published import per_run
from bench.report.prose import mean_of

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_numbers_of_the_first_screen_are_those_of_the_records():
    published, ours = per_run(), records.read("few_shot_pbmc", own=False)
    standin = {"tier": "standin", "dataset": "pbmc_facs", "fraction": 1.0}
    expected = [
        mean_of(published, experiment="table1_lr", fraction=1.0),
        mean_of(published, experiment="table1_table2_finetune", fraction=1.0),
        mean_of(ours, model="l1_logistic", **standin),
        mean_of(ours, model="majority", **standin),
    ]
    assert re.findall(r"\b0\.\d{3}\b", TEXT) == [f"{value:.3f}" for value in expected]


@pytest.mark.parametrize("name", re.findall(r"^\| `(\w+)/`", TEXT, re.MULTILINE))
def test_the_map_names_folders_that_exist(name):
    assert (ROOT / name).is_dir() or name in ("_build", "results")  # made by use


def test_the_map_names_every_folder():
    tracked = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".", "_"))}
    named = set(re.findall(r"^\| `(\w+)/`", TEXT, re.MULTILINE))
    assert tracked - named <= {"scfm_bench.egg-info"}


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#:]+)\)", TEXT) + re.findall(r"(chapters/\w+\.md)", TEXT))
def test_links_and_chapters_exist(path):
    assert (ROOT / path).exists()
