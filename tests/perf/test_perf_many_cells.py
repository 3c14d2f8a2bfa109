"""Memory of few_shot_pbmc on a hundred thousand and on half a million cells; run by name, about half an hour.

    python -m pytest -s tests/perf/test_perf_many_cells.py

Cells are resampled blood cells, so that their scores say nothing; the file is written block by block.  Needs 4 GB of
disk and, for the larger file, 8 GB of memory that nothing else takes.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from anndata.experimental import concat_on_disk

from bench.datasets import load
from bench.protocol import records
from bench.report.growth import resampled

BLOCK = SCORED = 10_000
ALL = {"genes": "all"}  # the neighbours' components too
OPTIMUM = ALL | {"recipe": "optimum", "Cs": [0.1]}
SMALL = {"majority": {}, "knn": ALL, "l1_logistic": OPTIMUM}
LARGE = {"streaming_logistic": {"passes": 1}, "knn": ALL}


def written(n_cells: int, folder: Path) -> Path:
    """Write resampled cells, the first block of which is to be scored, and return the file."""
    cells, blocks = load("kang"), []
    for number in range(n_cells // BLOCK):
        block = resampled(cells, BLOCK, seed=number)
        block.obs["batch"] = "other" if number else "scored"
        block.uns.clear()
        blocks.append(folder / f"{number}.h5ad")
        block.write_h5ad(blocks[-1])
    concat_on_disk(blocks, folder / "cells.h5ad", index_unique=" of ")
    for block in blocks:
        block.unlink()
    return folder / "cells.h5ad"


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("n_cells", "models", "most_gib"), [(100_000, SMALL, 6), (500_000, LARGE, 16)])
def test_what_fits(n_cells, models, most_gib, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "results"))
    asked = {"tier": "standin", "dataset": str(written(n_cells, tmp_path)), "batch": "batch"}
    asked |= {"split": "held_out:scored", "models": [*models], "fractions": [1.0], "seeds": [0], "overrides": models}
    options = [part for name, value in asked.items() for part in ("-p", name, as_text(value))]
    command = [sys.executable, "-m", "bench", "run", "few_shot_pbmc", *options, "--records-only"]
    subprocess.run(command, check=True)
    found = records.read("few_shot_pbmc", committed=False).drop_duplicates("key").set_index("model")
    with capsys.disabled():
        print("", found[["n_train", "n_test", "seconds", "peak_memory_mb"]], sep="\n")
    assert set(found.index) == set(models) and (found["n_train"] == n_cells - SCORED).all()
    assert np.all(found["peak_memory_mb"] * 1e6 < most_gib * 2**30)


def as_text(value) -> str:
    return value if isinstance(value, str) else json.dumps(value)
