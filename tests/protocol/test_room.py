"""What does not fit into the memory is said before it starts, and a file is read once, a block at a time."""

from collections import Counter
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from in_process import run_task

from bench.core import memory
from bench.core.errors import BenchError
from bench.core.memory import Free
from bench.datasets import load, matrix
from bench.datasets.loading import forget
from bench.models import describe
from bench.protocol import engine, room, runner
from bench.protocol.trials import Grid

LITTLE = Free(1e9, "of the machine")


def tasks(*sizes: float) -> list[SimpleNamespace]:
    return [SimpleNamespace(needed=size) for size in sizes]


@pytest.fixture
def mine(small, tmp_path) -> str:
    """A file of the tests' cells, in whose counts no block of the reader is the whole."""
    path = tmp_path / "mine.h5ad"
    small.write_h5ad(path)
    return str(path)


def test_all_that_fits_runs_as_asked():
    given = tasks(1e8, 4e8)
    assert room.fitting(given, 2, LITTLE) == (given, 2, "")
    assert room.fitting([object()], 4, LITTLE)[1:] == (4, "")  # of which nobody knows what it needs


def test_fewer_run_at_a_time_where_all_together_do_not_fit():
    given = tasks(*[3e8] * 8)
    found, at_once, sentence = room.fitting(given, 8, LITTLE)
    assert (found, at_once) == (given, 3)
    assert sentence == "3 at a time, not 8: a trial needs about 300 MB, and 1.0 GB of the machine are free."


def test_one_that_does_not_fit_is_left_out_and_said():
    small, large = tasks(5e8, 2.5e9)
    found, at_once, sentence = room.fitting([small, large], 1, LITTLE)
    assert (found, at_once) == ([small], 1)
    assert "left out: 1 of 2 trials do not fit" in sentence
    assert "about 2.5 GB or more, and 1.0 GB of the machine are free" in sentence
    with pytest.raises(room.DoesNotFit, match=r"1 of 1 trials.*Take fewer cells"):
        room.fitting([large], 1, LITTLE)


def test_a_model_that_takes_more_needs_more_and_fewer_cells_need_less(small):
    sizes = {name: room.needed(describe(name), small, small.n_obs) for name in ("majority", "knn", "l1_logistic")}
    assert sizes["majority"] < sizes["knn"] < sizes["l1_logistic"]
    assert room.needed(describe("knn"), small, small.n_obs // 10) < sizes["knn"]


def test_a_grid_that_does_not_fit_runs_nothing(mine, monkeypatch):
    monkeypatch.setattr(engine, "free", lambda: Free(1e8, "of the container or job (control group)"))
    monkeypatch.setattr(engine, "answers", lambda *_: pytest.fail("it was started"))
    with pytest.raises(BenchError, match=r"need about 4\d\d MB or more, and 100 MB of the container.*fewer cells"):
        runner.run(Grid("room", "quick", mine, ["knn"]))


def test_a_file_that_does_not_fit_is_not_read(mine, monkeypatch):
    monkeypatch.setattr("bench.datasets.h5ad.free", lambda: Free(100, "of this process (ulimit -v)"))
    monkeypatch.setattr("bench.datasets.h5ad.rows", lambda *_: pytest.fail("it was read"))
    with pytest.raises(BenchError, match=r"mine.h5ad holds [\d,]+ values in .*X, which .* 0 MB of this process"):
        load(mine)


def test_a_large_data_set_is_let_go_before_others_read_it(mine, monkeypatch):
    monkeypatch.setattr(room, "LARGE", 1)
    monkeypatch.setattr(runner, "LARGE", 1)
    monkeypatch.setattr(runner, "complete", lambda *_: seen.append(load(mine)))
    seen = [load(mine)]
    runner.run(Grid("room", "quick", mine, ["majority"]))
    assert seen[0] is not seen[1]


@pytest.mark.slow
def test_each_value_of_a_file_is_read_once_in_a_pass(mine, monkeypatch, capsys):
    """Whatever reads it: the plan is one pass, and all trials of a process are another."""
    monkeypatch.setattr(matrix, "BLOCK_VALUES", 2000)
    monkeypatch.setattr(matrix, "MOST_ROWS", 4)  # that are looked at to recognise counts
    read, get = Counter(), h5py.Dataset.__getitem__

    def counted(dataset, key, *more):
        if dataset.name == "/X/data" and isinstance(key, slice):
            assert key.stop - key.start <= 4000  # a block, not the whole
            read.update(range(key.start, key.stop))
        return get(dataset, key, *more)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", counted)
    forget()
    planned = Grid("once", "quick", mine, ["streaming_logistic", "knn"]).tasks()
    n_values = load(mine).X.nnz
    assert len(read) == n_values
    looked_at = sum(n > 1 for n in read.values())
    assert max(read.values()) == 2 and looked_at < 0.05 * n_values
    read.clear()
    forget()
    for task in planned:
        assert run_task(task) == ""
    assert set(read.values()) == {1} and len(read) == n_values


def test_what_is_free_is_a_size_and_a_reason():
    size, limit = memory.free()
    assert np.isfinite(size) and size > 0 and limit
