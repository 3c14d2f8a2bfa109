"""What a user of the installed package asks of it, far from any clone, in one process; see ``core/test_wheel.py``."""

import json
import sys

from click.testing import CliRunner

import bench
from bench.cli import main
from bench.protocol import records, runner
from bench.protocol.trials import Grid
from bench.report import figures, tables

MODELS = ["knn", "my_module:NearestCentroid"]


def answer(words: list[str]) -> tuple[int, str]:
    """Return how a command ends, and all that it says; -1 where it raises what nobody is meant to read."""
    done = CliRunner().invoke(main, words, prog_name="bench")
    crashed = done.exception and not isinstance(done.exception, SystemExit)
    return (-1, repr(done.exception)) if crashed else (done.exit_code, done.output)


def answers(asked: list[list[str]]) -> dict[str, tuple[int, str]]:
    """Return the answer to each command."""
    return {" ".join(words): answer(words) for words in asked}


def keys(file: str) -> list[str]:
    """Return the keys of trials on a file, by a model of this project and one of the user's."""
    return [task.trial.key for task in Grid("other_tools", "quick", file, MODELS).tasks()]


def recorded(file: str) -> dict[str, list[str]]:
    """Run a trial, record it, show all records as in a notebook, and return what stands in them."""
    for task in Grid("other_tools", "quick", file, MODELS[:1]).tasks():
        runner.run_task(task).write()
    runs = records.read("other_tools")  # and what bench score has recorded
    figures.few_shot(runs, {}, ["accuracy"]).savefig("few_shot.png")
    figures.pareto(figures.complete_runs(runs))
    tables.show(tables.few_shot(runs, {}, ["accuracy", "macro_f1"]))
    return {name: sorted(runs[name].unique()) for name in ("model", "origin", "commit", "status")}


if __name__ == "__main__":
    first, then = json.load(sys.stdin)
    found = {"bench": bench.__file__, "first": answers(first), "keys": keys("my.h5ad"), "record": recorded("my.h5ad")}
    print(json.dumps(found | {"then": answers(then)}))
