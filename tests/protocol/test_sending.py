"""A worker that sees nothing of the client's disk: a process for which an empty file system lies over the folder."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from bench.core.told import told
from bench.datasets import load
from bench.protocol import cluster, records
from bench.protocol.runner import run
from bench.protocol.trials import Grid
from bench.weights import save

HELPER = "def nearest(X, Y): return (X @ Y.T).argmax(axis=1)"
MODEL = """
import numpy as np
from my_helper import nearest

class Model:
    def fit(self, train, *, seed, validation=None):
        self.X, self.y = train.X.toarray(), train.obs["cell_type"].to_numpy(dtype=str)
        self.classes_ = np.unique(self.y)
        return self
    def predict_proba(self, cells):
        said = self.y[nearest(cells.X.toarray(), self.X)]
        return (said[:, None] == self.classes_).astype(float)
"""
HIDDEN = """
size=$(stat -c %s "$0/mine.safetensors")
mount -t tmpfs none "$0" && head -c "$size" /dev/zero > "$0/mine.safetensors" && exec "$@"
"""  # of the weights the worker has a file of the same path and size, which is another one
OVERLAID = ["unshare", "--map-root-user", "--mount", "sh", "-c", HIDDEN]
COSTS = ["seconds", "peak_memory_mb", "threads"]


@pytest.fixture
def clients(tmp_path, monkeypatch):
    """A folder with all that the client has: cells, vectors, weights, modules, a cache."""
    folder = tmp_path / "clients"
    folder.mkdir()
    monkeypatch.setattr("bench.protocol.place.committed_folder", lambda: tmp_path / "committed")
    cells = load("hao")[::4].copy()
    monkeypatch.setenv("BENCH_CACHE", str(folder / "cache"))
    genes = cells.var_names[:2000].tolist()
    save(folder / "mine.safetensors", {"w": torch.ones(2)}, {"genes": str(genes).replace("'", '"')})
    vectors = np.log1p(cells.X[:, :50].toarray())
    pd.DataFrame(vectors, index=cells.obs_names).add_prefix("v").to_csv(folder / "vectors.csv")
    del cells.uns["bench"]
    cells.write_h5ad(folder / "cells.h5ad")
    (folder / "my_helper.py").write_text(HELPER)
    (folder / "my_model.py").write_text(MODEL)
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def address(clients, tmp_path):
    """A scheduler with one worker that has a cache of its own and does not see that folder."""
    distributed = pytest.importorskip("distributed", reason="dask is not installed: pip install -e '.[cluster]'")
    if subprocess.run([*OVERLAID, str(clients), "true"], capture_output=True, check=False).returncode:
        pytest.skip("a process of its own view of the disk cannot be had here (unshare, tmpfs)")
    with distributed.LocalCluster(n_workers=0, dashboard_address=None, silence_logs=50) as scheduler:
        started = [sys.executable, "-m", "distributed.cli.dask_worker", scheduler.scheduler_address, "--nthreads", "1"]
        options = ["--no-dashboard", "--memory-limit", "0", "--local-directory", str(tmp_path / "spill")]
        environment = os.environ | {"BENCH_CACHE": str(tmp_path / "theirs")}
        with (
            open(tmp_path / "said", "wb") as out,
            subprocess.Popen([*OVERLAID, str(clients), *started, *options], stderr=out, env=environment) as worker,
        ):
            client = distributed.Client(scheduler.scheduler_address)
            client.wait_for_workers(1, timeout=60)
            client.close()
            yield scheduler.scheduler_address
            worker.terminate()


def grid(folder) -> Grid:
    overrides = {
        "knn": {"genes": "all"},
        "l1_logistic": {"Cs": [1.0]},
        "l1_logistic@genes_of_weights": {"weights": str(folder / "mine.safetensors")},
        "embedding": {"seen": "no", "classifier": "knn"},
    }
    models = ["knn", "l1_logistic@genes_of_weights", "my_model:Model", f"embedding@{folder / 'vectors.csv'}"]
    return Grid("sent", "quick", str(folder / "cells.h5ad"), models, [0.5], [0], overrides=overrides)


def run_named(address: str) -> None:
    with told(cluster.VARIABLE, address):
        run(Grid("named", "quick", "hao", ["majority"], [0.1], [0]))
    assert (records.read("named", committed=False)["status"] == "ok").all()


@pytest.mark.slow
def test_a_worker_that_sees_no_file_of_the_clients_is_sent_each_of_them_once(
    clients, address, tmp_path, monkeypatch, capsys
):
    tables = {}
    for where, asked in (("there", address), ("there again", address), ("here", None)):
        monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / where))
        with told(cluster.VARIABLE, asked):
            run(grid(clients))
        (tmp_path / where / "errors").write_text(capsys.readouterr().err)
        tables[where] = records.read("sent", committed=False).drop(columns=COSTS)
    assert (tables["there"]["status"] == "ok").all() and tables["there"]["key"].nunique() == 4
    for where in ("there", "there again"):
        pd.testing.assert_frame_equal(
            *(tables[name].sort_values(["key", "metric", "class"], ignore_index=True) for name in (where, "here"))
        )
    first, second = ((tmp_path / where / "errors").read_text() for where in ("there", "there again"))
    sent = {"cells.h5ad", "vectors.csv", "mine.safetensors", "my_model.py", "my_helper.py"}
    run_named(address)
    assert "hao-1.h5ad" in capsys.readouterr().err
    assert (tmp_path / "theirs" / "datasets" / "hao-1.h5ad").is_file()
    assert "Sending what 1 worker(s) do not have: " in first and "Sending" not in second
    assert sent == {file.name for file in (tmp_path / "theirs" / "sent").glob("*/*") if file.is_file()}
