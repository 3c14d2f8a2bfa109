"""``bench run --cluster``: real processes on loopback; what dies there costs no trial, and what is wrong is said."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise

import pandas as pd
import psutil
import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.core.errors import BenchError
from bench.core.told import told
from bench.protocol import cluster, records
from bench.protocol.cluster import handing_out, workers
from bench.protocol.runner import run
from bench.protocol.trials import Grid

ABSENT = "dask.distributed is not installed: pip install -e '.[cluster]'"
GRID = Grid("few_shot", "quick", "hao", ["majority", "random", "knn"], [0.1, 0.2, 0.5], [0, 1])
KILLER = """
import os, signal

class Killer:
    def fit(self, train, *, seed, validation=None):
        os.kill(os.getpid(), signal.SIGKILL)
    def predict_proba(self, cells):
        raise AssertionError("never asked")
"""
COSTS = ["seconds", "peak_memory_mb", "threads"]


@pytest.fixture(autouse=True)
def no_committed_records(monkeypatch, tmp_path):
    monkeypatch.setattr("bench.protocol.place.committed_folder", lambda: tmp_path / "committed")


@pytest.fixture(scope="module")
def address():
    """Two processes of this machine behind a scheduler."""
    pytest.importorskip("distributed", reason=ABSENT)
    with cluster.started("local:2") as address:
        yield address


def pids(address: str) -> list[int]:
    client = cluster.client_of(address)
    try:
        return list(client.run(os.getpid).values())
    finally:
        client.close()


@pytest.mark.slow
def test_local_workers_are_as_many_as_asked_for_and_keep_what_is_freed():
    pytest.importorskip("distributed", reason=ABSENT)
    with cluster.started("local:3") as address:
        client = cluster.client_of(address)
        kept = client.run(os.environ.get, "MALLOC_TRIM_THRESHOLD_")
        client.close()
    assert list(kept.values()) == [None] * 3


def without_costs(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns=COSTS).sort_values(["key", "metric", "class"], ignore_index=True)


@pytest.mark.slow
def test_records_of_a_cluster_that_loses_a_worker_are_those_of_this_machine(address, monkeypatch, tmp_path):
    killed, before = [], pids(address)
    write = records.write

    def kill_one(*arguments):
        if not killed:
            killed.append(before[0])
            os.kill(before[0], signal.SIGKILL)
        write(*arguments)

    with told(cluster.VARIABLE, address), monkeypatch.context() as patched:
        patched.setattr(records, "write", kill_one)
        run(GRID)
    there = records.read(committed=False)
    assert killed and killed[0] not in pids(address)
    assert set(there["key"]) == {task.trial.key for task in GRID.tasks()} and (there["status"] == "ok").all()
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "here"))
    run(GRID)
    pd.testing.assert_frame_equal(without_costs(there), without_costs(records.read(committed=False)))


@pytest.mark.slow
def test_what_workers_have_installed_otherwise_is_said_before_anything_runs(address, monkeypatch, capsys):
    monkeypatch.setattr(workers, "versions", lambda: "python 2.7")
    answers = cluster.answers(address, lambda number: number, [1])
    assert next(answers) == (1, 1)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and all("this process python 2.7: their records may differ." in line for line in said)
    answers.close()


@pytest.mark.slow
def test_a_scheduler_that_goes_away_is_a_sentence_and_what_has_ended_is_kept(tmp_path):
    dask = pytest.importorskip("dask", reason=ABSENT)
    pytest.importorskip("distributed", reason=ABSENT)
    there = tmp_path / "scheduler.json"
    scheduler = _started("dask_scheduler", "--port", "0", "--scheduler-file", there)
    worker = _started("dask_worker", "--nthreads", "1", "--no-nanny", "--scheduler-file", there)
    try:
        address = _address(there)
        with dask.config.set({"distributed.comm.timeouts.connect": "3s"}):
            found = cluster.answers(address, lambda seconds: time.sleep(seconds), [0.01, 60])
            assert next(found) == (0.01, None)
            threading.Timer(0.2, scheduler.kill).start()
            with pytest.raises(
                BenchError, match=r"The scheduler at tcp://.* has gone away; finished trials are recorded"
            ):
                next(found)
    finally:
        _ended([worker, scheduler])


def _ended(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        process.kill()
        process.wait()


def _started(module: str, *options) -> subprocess.Popen:
    command = [sys.executable, "-m", f"distributed.cli.{module}", "--no-dashboard", *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def _address(file) -> str:
    for _ in range(600):
        if file.exists() and file.read_text().strip():
            return json.loads(file.read_text())["address"]
        time.sleep(0.1)
    pytest.fail("the scheduler did not start")


@pytest.mark.slow
def test_one_trial_has_a_gpu_that_workers_announce_and_what_needs_none_runs_elsewhere(tmp_path):
    pytest.importorskip("distributed", reason=ABSENT)
    there = tmp_path / "scheduler.json"
    processes = [_started("dask_scheduler", "--port", "0", "--scheduler-file", there)]
    options = ("--nthreads", "1", "--no-nanny", "--scheduler-file", there)
    processes += [_started("dask_worker", *options), _started("dask_worker", "--resources", "GPU=1", *options)]
    try:
        address = _address(there)
        client = cluster.client_of(address)
        client.wait_for_workers(2, timeout=60)
        client.close()
        assert cluster.has_gpus(address)
        tasks = ["gpu 0", "gpu 1", "cpu 0", "cpu 1"]
        pid = lambda task: (time.sleep(0.5), os.getpid())[1]  # noqa: E731
        found = dict(cluster.answers(address, pid, tasks, lambda task: task.startswith("gpu")))
        assert found["gpu 0"] == found["gpu 1"] == processes[2].pid and processes[1].pid in found.values()
    finally:
        _ended(processes)


@pytest.mark.slow
def test_a_worker_of_several_threads_runs_one_trial_at_a_time_and_is_named(tmp_path, capsys):
    pytest.importorskip("distributed", reason=ABSENT)
    there = tmp_path / "scheduler.json"
    processes = [_started("dask_scheduler", "--port", "0", "--scheduler-file", there)]
    processes += [_started("dask_worker", "--nthreads", "4", "--no-nanny", "--scheduler-file", there)]
    try:
        address = _address(there)
        client = cluster.client_of(address)
        client.wait_for_workers(1, timeout=60)
        together = lambda number: (time.monotonic(), time.sleep(0.3), time.monotonic())  # noqa: E731
        futures = [client.submit(handing_out._work, together, number, [], pure=False) for number in range(4)]
        spans = sorted((begun, ended) for begun, _, ended in client.gather(futures))
        assert all(ended <= begun for (_, ended), (begun, _) in pairwise(spans))
        (said,) = workers.differences(client)
        assert "has 4 threads and runs one trial at a time all the same; start it with --nthreads 1." in said
        client.close()
    finally:
        _ended(processes)


@pytest.mark.slow
def test_a_trial_that_every_worker_dies_of_is_a_failed_record_and_the_others_end(tmp_path, monkeypatch, capsys):
    pytest.importorskip("distributed", reason=ABSENT)
    dask = pytest.importorskip("dask", reason=ABSENT)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_killer.py").write_text(KILLER)
    one_death = dask.config.set({"distributed.scheduler.allowed-failures": 0})  # in the place of four
    with one_death, cluster.started("local:2") as address, told(cluster.VARIABLE, address):
        run(Grid("few_shot", "quick", "hao", ["majority", "my_killer:Killer", "knn"], [0.1], [0]))
    table = records.read(committed=False).drop_duplicates("key")
    killed = table[table["status"] != "ok"]
    assert len(table) == 3 and list(killed["model"]) == ["my_killer:Killer"]
    assert killed["status"].str.fullmatch("failed: every worker that tried it died, as where memory .* runs out").all()
    said = "1 of 3 trials failed, e.g. my_killer:Killer on hao, 10 %, seed 0, failed: every worker"
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_sigterm_ends_a_run_on_a_cluster_and_all_its_processes(tmp_path, own_results):
    pytest.importorskip("distributed", reason=ABSENT)
    asked = ["-p", "models", "[knn]", "-p", "fractions", "[0.1]", "-p", "seeds", str(list(range(200)))]
    said = tmp_path / "said"
    command = [sys.executable, "-m", "bench", "run", "few_shot_pbmc", "--records-only", "--cluster", "local:2", *asked]
    with open(said, "wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    until = time.monotonic() + 120
    while len(list(own_results.glob("*/*/*.csv"))) < 3:
        assert process.poll() is None and time.monotonic() < until, said.read_text()
        time.sleep(0.05)
    family = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    assert process.wait(60) == 143, said.read_text()
    assert "bench: ended by SIGTERM, as where the time of a job is up; what was finished is kept" in said.read_text()
    assert "Traceback" not in said.read_text()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []
    assert 3 <= len(list(own_results.glob("*/*/*.csv"))) < 200


@pytest.mark.slow
def test_a_chapter_is_run_by_two_processes_that_end_with_it():
    pytest.importorskip("distributed", reason=ABSENT)
    asked = ["-p", "models", "[majority]", "-p", "fractions", "[0.1]", "--records-only", "--cluster", "local:2"]
    result = CliRunner().invoke(main, ["run", "few_shot_pbmc", *asked])
    assert result.exit_code == 0, result.output
    assert records.read(committed=False)["key"].nunique() == 2
    assert cluster.VARIABLE not in os.environ


def test_without_dask_the_sentence_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    result = CliRunner().invoke(main, ["run", "few_shot_pbmc", "--cluster", "local:2"])
    assert result.exit_code == 2 and result.stderr == f"bench: {cluster.NEEDS}\n"


@pytest.mark.parametrize("where", ["local:0", "local:two", "somewhere", "slurm", "slurm:"])
def test_what_is_no_address_is_a_sentence(where):
    pytest.importorskip("distributed", reason=ABSENT)
    with pytest.raises(BenchError, match=f"cluster '{where}' should"), cluster.started(where):
        pass


@pytest.mark.slow
def test_an_address_where_nobody_answers_is_a_sentence(monkeypatch):
    pytest.importorskip("distributed", reason=ABSENT)
    monkeypatch.setattr(workers, "CONNECT_S", 1)
    with pytest.raises(BenchError, match="No scheduler answers at tcp"):
        next(cluster.answers("tcp://127.0.0.1:9", len, ["task"]))
