"""Kill -9 at twenty random moments: a pretraining and a fine-tuning end as if nothing had been; see `make faults`."""

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from forked import Script
from pretraining import own_weights, same

from bench.protocol import records

pytestmark = pytest.mark.campaign

N_KILLS = 20
SETTINGS = {"selections": [["hao", ["random"]]], "steps": 1500, "n_genes": 60, "max_seq_len": 65, "dim": 32, "depth": 2}
SETTINGS |= {"heads": 2, "hidden": 32}
PRETRAINING = """
import json, sys
from bench.training.choice import chosen
from bench.training.pretrain import pretrain

print(pretrain(sys.argv[1], chosen("scgpt", "quick", json.loads(sys.argv[2]))[1], checkpoint_s=0.1))
"""
FINE_TUNING = """
import sys
from bench.protocol.experiments import run_grid
from bench.training import kept

kept.EVERY_S = 0.1
settings = {"weights": sys.argv[1], "epochs": 12, "lr": 0.001}
grid = dict(dataset="hao", models=["scgpt"], fractions=[0.5], seeds=[0, 1], overrides={"scgpt": settings})
run_grid("campaign", {"quick": grid}, tier="quick", compute=True)
"""
COST = ["seconds", "peak_memory_mb"]


def killed(script: str, *arguments, **environment) -> int:
    """Run a script again and again and kill it at a random moment each time; return how often that met it alive."""
    rng, met = np.random.default_rng(2022), 0
    for _ in range(N_KILLS):
        process = Script(script, *arguments, **environment)
        done = process.wait(rng.uniform(0.3, 3))  # who takes longer is killed
        met += done.returncode != 0
        if done.returncode == 0:
            break
        time.sleep(0.6)  # what it had started sees that it is alone
    print(f"killed {met} times")
    return met


def test_a_pretraining_that_is_killed_again_and_again_gives_the_same_weights(tmp_path, warm):
    with own_weights(tmp_path):
        paths = []
        for name in ("alone", "killed"):
            if name == "killed":
                assert killed(PRETRAINING, name, json.dumps(SETTINGS)) >= 10
            done = Script(PRETRAINING, name, json.dumps(SETTINGS)).wait(900)
            assert done.returncode == 0, done.stderr
            paths.append(Path(done.stdout.split()[-1]))
        assert same(*paths)


def test_a_fine_tuning_that_is_killed_again_and_again_gives_the_same_record(tmp_path, tiny_scgpt, warm, monkeypatch):
    tables = []
    for name in ("alone", "killed"):
        place = {"BENCH_RESULTS": str(tmp_path / name)}
        if name == "killed":
            assert killed(FINE_TUNING, tiny_scgpt(), **place) >= 10
        done = Script(FINE_TUNING, tiny_scgpt(), **place).wait(900)
        assert done.returncode == 0, done.stderr
        monkeypatch.setenv("BENCH_RESULTS", place["BENCH_RESULTS"])
        found = records.read("campaign", committed=False).drop(columns=COST)
        tables.append(found.sort_values(["key", "metric", "class", "epoch"]).reset_index(drop=True))
    assert tables[0]["key"].nunique() == 2 and (tables[0]["status"] == "ok").all()
    pd.testing.assert_frame_equal(*tables)
