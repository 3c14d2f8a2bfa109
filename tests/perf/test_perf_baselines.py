"""Seconds and memory of each baseline at 20,000 cells x 14,000 genes; run by name, in a process each."""

import json
import subprocess
import sys

import pytest
from optional import installed

from bench.models.registry import BASELINES

MOST_GIB = 6
CODE = """
import json, resource, sys, time
import numpy as np
from bench.datasets import load
from bench.models import create, describe
from bench.models.contract import without_labels

kang = load("kang")
cells = np.random.default_rng(0).choice(kang.n_obs, 20_000)
train = kang[cells, :14_000].copy()
train.obs_names_make_unique()
model = create(describe(sys.argv[1]))
start = time.perf_counter()
model.fit(train, seed=0)
fitted = time.perf_counter()
model.predict_proba(without_labels(train))
figures = {"fit_s": fitted - start, "predict_s": time.perf_counter() - fitted}
figures["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps(figures | getattr(model, "diagnostics_", {})))
"""


@pytest.mark.parametrize("name", installed(name for name in BASELINES if name != "l1_logistic"))  # it takes hours here
def test_twenty_thousand_cells_fit_into_six_gib(name):
    process = subprocess.run([sys.executable, "-c", CODE, name], capture_output=True, text=True, check=True)
    figures = json.loads(process.stdout.splitlines()[-1])
    print(name, {key: round(value, 3) for key, value in figures.items()})
    assert figures["peak_gib"] < MOST_GIB
