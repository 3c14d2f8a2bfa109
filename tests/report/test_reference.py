"""The reference pages say what the code says: functions, formats, command line, glossary."""

import importlib
import inspect
import re
from pathlib import Path
from typing import ClassVar

import click
import nbformat
import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.datasets.contract import CONTRACT
from bench.protocol import notebooks, records
from bench.protocol.elsewhere.split_table import COLUMNS as OF_SPLITS
from bench.protocol.trial import Trial
from bench.protocol.trials import Grid
from bench.report.book.reference import fields

CHAPTERS = Path(__file__).parents[2] / "chapters"
API = (CHAPTERS / "api.md").read_text(encoding="utf-8")
GLOSSARY = (CHAPTERS / "glossary.md").read_text(encoding="utf-8")
WORDS = """cell, gene, counts, CP10K, donor, held out, few-shot, fraction, tier, recipe, variant, record, trial, key,
macro F1, hard pair, pretraining, fine-tuning, gene2vec, binning, token, collapse, calibration, ECE, Brier score,
published interval, t interval, bootstrap interval, Holm's method, equivalence, TOST, leakage, provenance, committed,
published, reproduced"""


def documented() -> dict[str, object]:
    """Return what the page on functions shows, by dotted name."""
    found, module = {}, ""
    for kind, name in re.findall(
        r"^\.\. (currentmodule|automodule|autofunction|autoclass):: (\S+)$", API, re.MULTILINE
    ):
        if kind == "currentmodule":
            module = name
        elif kind == "automodule":
            own = importlib.import_module(name)
            public = {n: o for n, o in vars(own).items() if not n.startswith("_") and inspect.getmodule(o) is own}
            found |= {f"{name}.{n}": o for n, o in public.items() if inspect.isfunction(o) or inspect.isclass(o)}
        else:
            found[f"{module}.{name}"] = getattr(importlib.import_module(module), name)
    return found


DOCUMENTED = documented()


def test_the_page_on_functions_has_what_a_re_executor_or_auditor_calls():
    assert len(DOCUMENTED) > 60
    expected = [
        "protocol.experiments.run_grid",
        "protocol.records.read",
        "protocol.trials.Grid",
        "datasets.splits.split",
    ]
    expected += [
        "models.contract.Model",
        "models.conformance.check",
        "datasets.load",
        "datasets.find",
        "datasets.check",
    ]
    expected += ["statistics.intervals.holm", "statistics.metrics.score", "statistics.bootstrap.per_donor"]
    expected += ["published.per_run", "weights.resolve", "verify.verify", "core.families.Family"]
    expected += ["statistics.effects.Effect"]
    assert {f"bench.{name}" for name in expected} <= set(DOCUMENTED)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_docstring_names_the_parameters_that_there_are(name):
    thing = DOCUMENTED[name]
    text = inspect.getdoc(thing)
    assert text, f"{name} has no docstring"
    section = re.search(r"^Parameters\n-+\n(.*?)(?:\n\n\w+\n-+\n|\Z)", text, re.MULTILINE | re.DOTALL)
    if section:
        told = {word for line in re.findall(r"^(\S.*)$", section[1], re.MULTILINE) for word in line.split(", ")}
        assert told <= set(inspect.signature(thing).parameters), f"{name} has no such parameters"
    raised = text.partition("\nRaises\n------\n")[2].splitlines()
    assert all(not line or line.startswith(" ") or line.isidentifier() for line in raised), f"{name}: text after Raises"


def test_the_comment_beside_a_field_is_its_description():
    assert fields(Grid)["models"] == "names, name@variant, or import paths"
    assert fields(Trial)["weights_hash"] == "empty without weights"

    class Local:
        plain = 1  # a number
        Config: ClassVar[dict] = {}  # of "something"
        silent: int = 2

        def method(self):
            pass  # no field

    assert fields(Local) == {"plain": "a number", "Config": 'of "something"'}
    assert fields(int) == {}


def outputs(chapter: str) -> list[str]:
    """Return what the cells of a page print or show, executed now; a kernel may send one print in several messages."""
    found = []
    for cell in nbformat.read(notebooks.run(chapter), 4).cells:
        sent = cell.get("outputs", [])
        printed = "".join(output["text"] for output in sent if output["output_type"] == "stream")
        found += [printed] if printed else []
        found += [output["data"].get("text/html") or "" for output in sent if output["output_type"] != "stream"]
    return found


@pytest.mark.slow
def test_the_page_on_formats_shows_every_column_and_every_promise_and_refuses_what_is_spoilt():
    shown = outputs("formats")
    contract, refusals, trial, columns, predictions, splits = shown
    for name in CONTRACT:
        assert f"<td>{name}</td>" in contract
    assert "accepted" not in refusals
    assert refusals.count("Data set 'mine.h5ad'") == 5
    for field in Trial.__dataclass_fields__:
        assert f"<td>{field}</td>" in trial
    for name, meaning in records.COLUMNS.items():
        assert f"<td>{name}</td>" in columns
        assert meaning.split(",")[0].replace("'", "") in columns.replace("'", "")
    for name, example in {"label": "cell_type", "sees_scored_cells": "no", "processor": "–", "query": "–"}.items():
        assert re.search(rf"<td>{name}</td>\s*<td>[^<]*</td>\s*<td>{example}</td>", columns), name
    assert predictions.count("float16") == 1
    assert all(f"<td>{name}</td>" in splits for name in OF_SPLITS)


@pytest.mark.slow
def test_the_page_on_the_command_line_prints_the_help_of_every_command():
    shown = outputs("command_line")
    page = (CHAPTERS / "command_line.md").read_text(encoding="utf-8")
    commands = re.findall(r"^### bench (\S+)$", page, re.MULTILINE)
    assert sorted(commands) == main.list_commands(click.Context(main))
    asked = [["--help"], *([command, "--help"] for command in commands)]
    helps = [CliRunner().invoke(main, words, prog_name="bench", terminal_width=76) for words in asked]
    assert [text.strip() for text in shown] == [result.output.strip() for result in helps]
    assert shown[1].startswith(f"Usage: bench {commands[0]} ")


def defined() -> list[str]:
    blocks = re.findall(r"```\{glossary\}\n(.*?)```", GLOSSARY, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line and not line.startswith(" ")]


def test_the_glossary_defines_its_words_once():
    assert len(set(defined())) == len(defined())
    assert {word.strip() for word in WORDS.replace("\n", " ").split(",")} <= set(defined())


def test_a_term_that_a_page_uses_is_defined():
    known = {word.lower() for word in defined()}
    for path in CHAPTERS.glob("*.md"):
        for term in re.findall(r"\{term\}`([^`]+)`", path.read_text(encoding="utf-8")):
            target = re.search(r"<(.+)>$", term)
            assert (target[1] if target else term).lower() in known, f"{path.name}: {term}"
