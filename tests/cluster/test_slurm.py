"""Real jobs of a real Slurm on this machine: what the page on scale shows is submitted as it stands there.

Part of ``make faults``; skipped where Slurm is not installed.
"""

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import slurm_here

from bench.core.places import ROOT
from bench.protocol import cluster, records
from bench.protocol.runner import run
from bench.protocol.trials import Grid

pytestmark = [
    pytest.mark.campaign,
    pytest.mark.skipif(not slurm_here.is_installed(), reason=slurm_here.ABSENT),
]

COSTS = ["seconds", "peak_memory_mb", "threads"]
GRID = Grid("few_shot_pbmc", "quick", "hao", ["majority", "random", "knn"], [0.1, 0.2, 0.5], [0, 1])
ENOUGH_S = 900


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A Slurm of its own; gives the environment of those who submit."""
    with slurm_here.started(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture(autouse=True)
def no_committed_records(monkeypatch, tmp_path):
    monkeypatch.setattr("bench.protocol.place.committed_folder", lambda: tmp_path / "committed")


@pytest.fixture
def user(slurm, tmp_path, own_results) -> dict[str, str]:
    """The environment of a user whose ``bench`` is this one."""
    command = tmp_path / "bin" / "bench"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m bench "$@"\n')
    command.chmod(0o755)
    path, modules = (os.environ.get(name, "") for name in ("PATH", "PYTHONPATH"))
    told = {"PATH": f"{command.parent}:{path}", "PYTHONPATH": f"{ROOT}:{modules}", "BENCH_RESULTS": str(own_results)}
    return slurm | told | {"OMP_NUM_THREADS": "1"}


def shown(name: str) -> str:
    """Return a file that the page on scale shows, by the name in its first comment."""
    text = (ROOT / "chapters" / "scale.md").read_text(encoding="utf-8")
    return re.search(rf"^```\w+\n((?:#![^\n]*\n)?# {re.escape(name)}\b.*?)^```", text, re.MULTILINE | re.DOTALL)[1]


def left_by(user: dict[str, str]) -> str:
    """Return the jobs that Slurm still has."""
    return subprocess.run(["squeue", "-h"], env=user, capture_output=True, text=True, check=True).stdout


def wait_until(condition, why, seconds: float = 300) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, why()
        time.sleep(0.1)


def asked(grid: Grid) -> list[str]:
    """Return what asks ``bench run`` for a grid."""
    lists = {name: str(getattr(grid, name)) for name in ("models", "fractions", "seeds")}
    return ["few_shot_pbmc", "--records-only", *(word for pair in lists.items() for word in ("-p", *pair))]


def command_on_slurm(folder: Path, *arguments: str, file: bool = True) -> list[str]:
    """Return the command that runs trials in jobs; with ``file`` what they ask for is what the page shows."""
    if file:
        (folder / "jobs.yml").write_text(shown("jobs.yml"))
    return [sys.executable, "-m", "bench", "run", *arguments, "--cluster", "slurm:jobs.yml"]


def on_slurm(user: dict[str, str], folder: Path, *arguments: str, file: bool = True) -> subprocess.CompletedProcess:
    command = command_on_slurm(folder, *arguments, file=file)
    return subprocess.run(command, env=user, cwd=folder, capture_output=True, text=True, timeout=ENOUGH_S, check=False)


def result_of_a_local_run(monkeypatch, folder: Path) -> pd.DataFrame:
    monkeypatch.setenv("BENCH_RESULTS", str(folder))
    run(GRID)
    return recorded()


def recorded() -> pd.DataFrame:
    table = records.read(GRID.experiment, committed=False).drop(columns=COSTS)
    return table.sort_values(["key", "metric", "class"], ignore_index=True)


def test_an_array_job_as_the_page_shows_it_makes_the_records_of_a_local_run(user, monkeypatch, tmp_path):
    script = tmp_path / "array.sh"
    script.write_text(shown("array.sh"))
    said = tmp_path / "said.%a"
    command = ["sbatch", "--wait", "--chdir", str(tmp_path), "--output", str(said), str(script)]
    done = subprocess.run(command, env=user, capture_output=True, text=True, timeout=ENOUGH_S, check=False)
    outputs = [path.read_text() for path in sorted(tmp_path.glob("said.*"))]
    assert done.returncode == 0 and len(outputs) == 4, (done.stderr, outputs)
    n_run = [int(re.search(r", (\d+) to run", output)[1]) for output in outputs]
    assert sum(n_run) == len(GRID.tasks()) and max(n_run) < sum(n_run)  # no trial twice, and several did some
    there = recorded()
    pd.testing.assert_frame_equal(there, result_of_a_local_run(monkeypatch, tmp_path / "here"))


def test_jobs_as_workers_make_the_records_of_a_local_run_and_end_with_it(user, own_results, monkeypatch, tmp_path):
    done = on_slurm(user, tmp_path, *asked(GRID))
    assert done.returncode == 0, done.stderr
    logs = [path.read_text() for path in own_results.glob("slurm/bench-*.err")]
    assert len(logs) == 2 and all("Worker" in log for log in logs)
    wait_until(lambda: left_by(user) == "", lambda: left_by(user))
    there = recorded()
    pd.testing.assert_frame_equal(there, result_of_a_local_run(monkeypatch, tmp_path / "here"))


def test_a_job_whose_time_is_up_keeps_what_has_ended_and_the_same_job_goes_on(user, own_results, tmp_path):
    many = Grid(GRID.experiment, "quick", "hao", ["knn"], [0.1], list(range(300)))
    command = ["bench", "run", *asked(many)]
    script, said = tmp_path / "job.sh", tmp_path / "said"
    script.write_text(f"#!/bin/sh\nexec {shlex.join(command)}\n")
    submit = ["sbatch", "--parsable", "--open-mode=append", "--output", str(said), str(script)]
    job = subprocess.run(submit, env=user, capture_output=True, text=True, check=True).stdout.strip()
    wait_until(lambda: len(list(own_results.glob("*/*/*.csv"))) >= 3, said.read_text)
    subprocess.run(["scancel", "--full", "--signal=TERM", job], env=user, check=True)  # what Slurm does at a time limit
    wait_until(lambda: left_by(user) == "", lambda: left_by(user))
    assert "bench: ended by SIGTERM, as where the time of a job is up; what was finished is kept" in said.read_text()
    n_ended = len(list(own_results.glob("*/*/*.csv")))
    assert 3 <= n_ended < 300
    subprocess.run(submit, env=user, capture_output=True, check=True)
    wait_until(lambda: f"{n_ended} of 300 trials recorded, {300 - n_ended} to run" in said.read_text(), said.read_text)


def test_a_job_that_ends_is_submitted_again_and_costs_no_trial(user, own_results, tmp_path):
    many = Grid(GRID.experiment, "quick", "hao", ["knn"], [0.1], list(range(60)))
    process = subprocess.Popen(command_on_slurm(tmp_path, *asked(many)), env=user, cwd=tmp_path)
    wait_until(lambda: len(list(own_results.glob("*/*/*.csv"))) >= 3 or process.poll() is not None, lambda: "")
    first = left_by(user).split()[0]
    subprocess.run(["scancel", first], env=user, check=True)
    assert process.wait(ENOUGH_S) == 0
    table = recorded().drop_duplicates("key")
    assert len(table) == 60 and (table["status"] == "ok").all()
    wait_until(lambda: left_by(user) == "", lambda: left_by(user))


def test_jobs_that_end_before_a_worker_starts_are_a_sentence_with_what_they_said(user, tmp_path):
    (tmp_path / "jobs.yml").write_text(f"{shown('jobs.yml')}before: ['echo no such module >&2', 'exit 1']\n")
    done = on_slurm(user, tmp_path, *asked(GRID), file=False)
    assert done.returncode == 2
    assert "bench: All Slurm jobs have ended before a worker has started." in done.stderr
    assert done.stderr.endswith("no such module\n") and "Traceback" not in done.stderr


def test_what_slurm_refuses_is_a_sentence_before_anything_is_submitted(user, tmp_path):
    (tmp_path / "jobs.yml").write_text(f"{shown('jobs.yml')}partition: elsewhere\n")
    done = on_slurm(user, tmp_path, *asked(GRID), file=False)
    assert done.returncode == 2 and "bench: Slurm takes no such job as jobs.yml asks for: " in done.stderr
    assert "invalid partition" in done.stderr.lower() and left_by(user) == ""


def test_jobs_with_gpus_have_a_device_each_and_announce_it(user, tmp_path, monkeypatch):
    """Slurm's GPUs are made up here, and nothing computes on them: workers say what they were given."""
    (tmp_path / "jobs.yml").write_text(f"{shown('jobs.yml')}gpus: 1\n")
    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, user[name])
    device = lambda task: (time.sleep(1), os.environ["CUDA_VISIBLE_DEVICES"])[1]  # noqa: E731
    with cluster.started(f"slurm:{tmp_path / 'jobs.yml'}") as address:
        client = cluster.client_of(address)
        client.wait_for_workers(2, timeout=120)
        client.close()
        assert cluster.has_gpus(address)
        answers = dict(cluster.answers(address, device, ["a", "b", "c", "d"], lambda task: True))
    assert set(answers.values()) == {"0", "1"}
