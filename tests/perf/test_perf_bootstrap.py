"""A paired bootstrap of 14,000 cells: pytest tests/perf/test_perf_bootstrap.py -o addopts= -s.

Reports only; a reader of a chapter should wait for about a second, two at most.
"""

import numpy as np
import pytest
from two_models import HARD, two_models

from bench.statistics.bootstrap import FAST, paired_bootstrap


@pytest.mark.parametrize("metric", FAST)
def test_2000_resamples_of_14000_cells(metric, benchmark):
    a, b = two_models(11, n_cells=14_000, n_types=11)
    found = benchmark.pedantic(paired_bootstrap, args=(a, b, metric), kwargs={"hard_pair": HARD}, rounds=3)
    assert found.low <= found.estimate <= found.high and np.isfinite(found.draws).all()
