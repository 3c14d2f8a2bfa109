"""``bench fetch``: what a grid needs lies in the cache, and its trials then run without network."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import bench
from bench.cli import main
from bench.core.errors import BenchError
from bench.datasets import hao, panglao, sources
from bench.datasets.command import KINDS
from bench.protocol import fetching
from bench.protocol.cluster.sending import SENT
from bench.protocol.notebooks import trials_of
from bench.training.rows import KINDS as OF_ROWS

LISTED = {"models": ["l1_logistic"], "overrides": {"l1_logistic": {"genes": "panglao", "Cs": [0.1]}}}
ASKED = ("-p", "fractions", "[0.1]", "-p", "seeds", "[0]", "-p", "models", "[l1_logistic]", "-p", "overrides")


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """An empty cache beside a mirror of two files, and no network; return how to take the mirror away."""
    files = [sources.fetch(source) for source in (hao.RECTANGLE, panglao.GENE_ORDER)]
    (tmp_path / "mirror").mkdir()
    for file in files:
        (tmp_path / "mirror" / file.name).symlink_to(file)
    monkeypatch.setenv("BENCH_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    refused = BenchError("there is no network")
    monkeypatch.setattr(sources, "_download", lambda *_: (_ for _ in ()).throw(refused))
    return lambda: monkeypatch.delenv("BENCH_MIRROR")


@pytest.mark.slow
def test_trials_run_without_network_and_mirror_after_a_fetch(offline):
    result = CliRunner().invoke(main, ["fetch", "few_shot_pbmc", *ASKED, '{"l1_logistic": {"genes": "panglao"}}'])
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.output.splitlines()]
    assert [line[:2] for line in lines[:-1]] == [["data", "hao"], ["genes", "panglao"]]
    offline()
    ((task, run),) = trials_of("few_shot_pbmc", LISTED | {"fractions": [0.1], "seeds": [0]})
    assert run(task).failure == ""


def test_what_cannot_be_had_is_said_and_the_rest_is_brought(monkeypatch, tiny_scbert):
    names = {"there": tiny_scbert(library="panglao")}

    def resolve(name):
        if name not in names:
            raise BenchError(f"{name} cannot be had")
        return names[name]

    spec = [type("Spec", (), {"weights": name}) for name in ("gone", "there", "there", None)]
    trial = type("Trial", (), {"dataset": "hao", "hyperparameters": "{}"})
    tasks = [type("Task", (), {"spec": one, "trial": trial, "query": None}) for one in spec]
    monkeypatch.setattr(fetching, "trials_of", lambda *_: [(task, None) for task in tasks])
    monkeypatch.setattr(fetching, "resolve", resolve)
    result = CliRunner().invoke(main, ["fetch", "few_shot_pbmc"])
    assert result.exit_code == 2 and result.stderr == "bench: not there: gone cannot be had\n"
    kinds = [line.split()[:2] for line in result.stdout.splitlines()[:-1]]
    assert kinds == [["data", "hao"], ["weights", "gone"], ["weights", "there"], ["genes", "panglao"]]


@pytest.mark.slow
def test_a_data_set_that_cannot_be_had_costs_the_others_nothing(offline):
    asked = ["-p", "dataset", "[kang, hao]", "-p", "models", "[majority]", "-p", "fractions", "[0.1]"]
    result = CliRunner().invoke(main, ["fetch", "few_shot_pbmc", *asked])
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [line[:2] for line in lines[:-1]] == [["data", "hao"], ["data", "-"]]
    assert result.exit_code == 2
    (said,) = result.stderr.splitlines()
    assert said.startswith("bench: not there: kang: ") and "there is no network" in said


def test_a_page_without_trials_needs_nothing():
    result = CliRunner().invoke(main, ["fetch", "glossary"])
    assert result.exit_code == 2 and result.stderr == "bench: glossary runs no trials, so that it needs nothing.\n"


def test_the_command_that_shows_the_cache_knows_all_that_lies_in_it():
    texts = [path.read_text(encoding="utf-8") for path in Path(bench.__file__).parent.rglob("*.py")]
    folders = {name for text in texts for name in re.findall(r'cache_folder\(\) / "(\w+)"', text)}
    assert folders | {*OF_ROWS, SENT} == {*KINDS}
