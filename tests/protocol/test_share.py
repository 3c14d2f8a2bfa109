"""``bench run --share``: shares of a grid are disjoint, complete and stable, and each runs its own trials alone."""

import os
from collections import Counter

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.core.errors import BenchError
from bench.core.keys import digest
from bench.core.told import told
from bench.protocol import records
from bench.protocol.place import notebooks_folder
from bench.protocol.runner import run
from bench.protocol.share import VARIABLE, Share, chosen, share_of
from bench.protocol.trials import Grid

pytestmark = pytest.mark.usefixtures("warm")

KEYS = [digest(number) for number in range(2000)]
ASKED = ("-p", "models", "[majority]", "-p", "fractions", "[0.1, 0.5, 1.0]", "-p", "seeds", "[0, 1]")


@pytest.fixture(autouse=True)
def no_committed_records(monkeypatch, tmp_path):
    monkeypatch.setattr("bench.protocol.place.committed_folder", lambda: tmp_path / "committed")


@pytest.mark.parametrize("n_shares", [1, 3, 16])
def test_every_trial_is_in_one_share_and_shares_are_of_a_size(n_shares):
    shares = [Share(number, n_shares) for number in range(1, n_shares + 1)]
    members = [[share for share in shares if share.holds(key)] for key in KEYS]
    assert all(len(of_key) == 1 for of_key in members)
    sizes = Counter(of_key[0].number for of_key in members)
    assert min(sizes.values()) > 0.6 * len(KEYS) / n_shares


def test_a_trial_stays_in_its_share_for_ever():
    assert Share(2, 3).holds("000000000000000a")  # ten divided by three leaves one: the second
    assert [share_of("3/16").holds(f"{number:016x}") for number in (2, 3, 18)] == [True, False, True]


@pytest.mark.parametrize("text", ["", "3", "0/16", "17/16", "3/0", "a/b", "-1/4", "1/2/3"])
def test_what_is_no_share_is_a_sentence(text):
    with pytest.raises(BenchError, match="should be such as 3/16"):
        share_of(text)


def test_a_share_is_chosen_for_a_while():
    assert chosen() is None
    with told(VARIABLE, str(Share(2, 3))):
        assert chosen() == Share(2, 3)
        with told(VARIABLE, None):
            assert chosen() == Share(2, 3)
        assert os.environ[VARIABLE] == "2/3"
    assert chosen() is None


@pytest.mark.slow
def test_shares_of_a_grid_run_apart_are_the_grid():
    grid = Grid("few_shot", "quick", "hao", ["majority"], [0.1, 0.5, 1.0], [0, 1])
    keys, found = {task.trial.key for task in grid.tasks()}, []
    for number in (1, 2, 3):
        before = set(records.read(committed=False)["key"])
        with told(VARIABLE, str(Share(number, 3))):
            run(grid)
        found.append(set(records.read(committed=False)["key"]) - before)
    assert sum(map(len, found)) == len(keys) and set.union(*found) == keys


@pytest.mark.slow
def test_a_chapter_takes_its_share_and_shows_nothing_although_the_share_may_be_empty():
    result = CliRunner().invoke(main, ["run", "few_shot_pbmc", *ASKED, "--share", "2/3"])
    assert result.exit_code == 0, result.output
    keys = set(records.read(committed=False)["key"])
    assert all(Share(2, 3).holds(key) for key in keys)
    assert (notebooks_folder() / "few_shot_pbmc-quick-2-of-3.ipynb").is_file()  # others write theirs at the same time
    empty = next(number for number in range(1, 100) if not any(Share(number, 99).holds(key) for key in keys))
    assert CliRunner().invoke(main, ["run", "few_shot_pbmc", *ASKED, "--share", f"{empty}/99"]).exit_code == 0
    assert VARIABLE not in os.environ


def test_a_wrong_share_is_said_before_anything_runs():
    result = CliRunner().invoke(main, ["run", "few_shot_pbmc", "--share", "0/3"])
    assert result.exit_code == 2
    assert result.stderr == "bench: share '0/3' should be such as 3/16, the third of sixteen; the last one is 16/16.\n"
