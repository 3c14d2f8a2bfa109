"""Choosing C in two processes against one, alternating in one run: pytest tests/perf/test_perf_l1_logistic.py -s.

Reports only; the goal of 1.4 times holds for two free cores, which no test can count on.
"""

from statistics import median
from time import perf_counter

import numpy as np
import pytest
from joblib import parallel_config

from bench.datasets import load
from bench.datasets.splits import split, subset
from bench.models.baselines.l1_logistic import L1LogisticConfig, cross_validate_C
from bench.models.contract import labels_of
from bench.preprocess import features

ROUNDS = 5
CS = [0.1, 1.0, 10.0]


@pytest.fixture(scope="module")
def cells():
    """Half of the three other donors of Baron: about 835 cells, 20,125 genes."""
    adata = load("baron")
    train = adata[subset(adata, split(adata, "held_out:human1").train, 0.5, 0, "paired", True)]
    return features(train), labels_of(train)


def search(cells, n_jobs: int) -> tuple[np.ndarray, float]:
    start = perf_counter()
    with parallel_config(n_jobs=n_jobs):
        accuracy = cross_validate_C(*cells, CS, L1LogisticConfig(), seed=0)
    return accuracy, perf_counter() - start


@pytest.mark.timeout(1800)
def test_choice_of_C_in_two_processes_and_in_one(cells, benchmark, capsys):
    expected, cold_s = search(cells, 2)  # the workers start here and stay, as in a grid of trials
    serial_s = []

    def before_each_round():
        accuracy, seconds = search(cells, 1)
        np.testing.assert_array_equal(accuracy, expected)
        serial_s.append(seconds)

    benchmark.pedantic(search, args=(cells, 2), setup=before_each_round, rounds=ROUNDS)
    parallel_s = benchmark.stats.stats.median
    ratio = median(serial_s) / parallel_s
    benchmark.extra_info |= {"serial_median_s": median(serial_s), "cold_s": cold_s, "ratio": ratio}
    with capsys.disabled():
        print(
            f"\n{ROUNDS} alternating rounds, {cells[0].shape[0]} cells, {len(CS)} values of C: "
            f"one process {median(serial_s):.2f} s, two {parallel_s:.2f} s (with start-up {cold_s:.2f} s), "
            f"ratio of medians {ratio:.2f}"
        )
