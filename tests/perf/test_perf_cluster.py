"""A grid on one worker of one thread and on two of them; run by name, on a machine with two cores that are idle.

    OMP_NUM_THREADS=1 python -m pytest -s tests/perf/test_perf_cluster.py

Aim: two take at most 0.56 of the time of one, with 24 or more trials of three seconds or more.
"""

import time

import pandas as pd
import pytest

from bench.core.told import told
from bench.protocol import cluster, records
from bench.protocol.runner import run
from bench.protocol.trials import Grid

GRID = Grid(
    "scaling", "quick", "hao", ["l1_logistic"], [0.6], list(range(48)), overrides={"l1_logistic": {"Cs": [0.1, 1, 10]}}
)
WARMING = Grid("warming", "quick", "hao", ["knn"], [0.1], [0, 1, 2, 3])  # imports and data, on each worker


def timed(n_workers: int) -> float:
    """Return the seconds of the grid, without starting and warming the workers."""
    with cluster.started(f"local:{n_workers}") as address, told(cluster.VARIABLE, address):
        run(WARMING)
        start = time.perf_counter()
        run(GRID)
        return time.perf_counter() - start


def test_two_workers_share_a_grid(monkeypatch, tmp_path):
    pytest.importorskip("distributed", reason="dask is not installed: pip install -e '.[cluster]'")
    seconds, tables = {}, {}
    for n_workers in (1, 2):
        monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / str(n_workers)))
        seconds[n_workers] = timed(n_workers)
        table = records.read("scaling", committed=False)
        tables[n_workers] = table[["key", "metric", "class", "value"]].sort_values(["key", "metric", "class"])
        shortest = table.drop_duplicates("key")["seconds"].min()
        print(f"\n{n_workers} worker(s): {seconds[n_workers]:.1f} s, shortest trial {shortest:.1f} s")
    print(f"two of one: {seconds[2] / seconds[1]:.3f}")
    assert tables[1]["key"].nunique() == len(GRID.tasks()) == 48
    pd.testing.assert_frame_equal(*(table.reset_index(drop=True) for table in tables.values()))
