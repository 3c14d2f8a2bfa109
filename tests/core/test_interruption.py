"""Kill a run at any moment: what is recorded stays, nothing runs twice, the same command ends as if undisturbed."""

import fcntl
import gc
import os
import pty
import secrets
import signal
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.core.forked import ADDRESS
from bench.core.interrupts import interrupts_delivered
from bench.protocol import records
from bench.statistics.predictions import Predictions

GRID = """
from bench.protocol.experiments import run_grid

grid = dict(dataset="hao", models=["majority", "random", "knn", "l1_logistic"], fractions=[0.02, 0.05, 0.1, 0.2])
grid |= dict(seeds=list(range({n_seeds})), overrides={{"l1_logistic": {{"Cs": [0.1]}}}})
run_grid("resumed", {{"quick": grid}}, tier="quick", compute=True, jobs={jobs})
"""
N_TRIALS = 16  # of each seed
CHAPTER = """---
kernelspec: {display_name: Python 3, language: python, name: python3}
---

```{code-cell} ipython3
:tags: [parameters]

jobs = 1
n_seeds = 4
```

```{code-cell} ipython3
"""
BENCH = [sys.executable, "-c", "from bench.cli import main; main()", "run"]
NOT_THE_SAME = ["seconds", "peak_memory_mb", "commit", "versions", "device"]
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")

pytestmark = pytest.mark.usefixtures("warm")  # what is not to be ended need not import everything again


@pytest.fixture(autouse=True)
def no_committed_records(monkeypatch, tmp_path):
    monkeypatch.setattr("bench.protocol.place.committed_folder", lambda: tmp_path / "committed")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Let every run have as many threads as one beside another has: it stands in the records that are compared."""
    for name in ONE_THREAD:
        monkeypatch.setenv(name, "1")


@pytest.fixture
def chapter(tmp_path) -> str:
    path = tmp_path / "resumed.md"
    path.write_text(CHAPTER + GRID.format(jobs="jobs", n_seeds="n_seeds") + "```\n")
    return str(path)


def command(how: str, chapter: str, n_seeds: int) -> list[str]:
    if how == "bench run":
        return [*BENCH, chapter, "-p", "n_seeds", str(n_seeds)]
    return [sys.executable, "-c", GRID.format(jobs=how[-1], n_seeds=n_seeds)]


def as_users_have_it() -> dict[str, str]:
    """Return an environment in which kernels and trials' processes are started, not forked from a warm one."""
    return {name: value for name, value in os.environ.items() if name != ADDRESS}


def start(how: str, chapter: str, n_seeds: int, output: Path) -> subprocess.Popen:
    """Start a run in a process group of its own, its messages in a file; trials of a plain one are forked."""
    environment = dict(os.environ) if how == "jobs=1" else as_users_have_it()
    with open(output, "wb") as file:
        options = {"stdout": file, "stderr": subprocess.STDOUT, "env": environment, "start_new_session": True}
        return subprocess.Popen(command(how, chapter, n_seeds), **options)


def to_the_end(*arguments: str) -> str:
    """Run the chapter without disturbing it, and return what is said."""
    result = CliRunner().invoke(main, ["run", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def recorded() -> dict[str, tuple[int, int, bytes]]:
    """Return inode, time and content of every record and its predictions."""
    csv = sorted(records.own_folder().rglob("*.csv"))
    found = [p for p in csv + [c.with_suffix(".npz") for c in csv] if p.exists()]
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns, p.read_bytes()) for p in found}


def n_recorded() -> int:
    return len(list(records.own_folder().rglob("*.csv")))


def wait_until(condition, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "what was waited for did not happen"
        time.sleep(0.01)


def family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def left(processes: list[psutil.Process]) -> list[psutil.Process]:
    alive = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
    return alive


def table(folder: Path, monkeypatch) -> pd.DataFrame:
    monkeypatch.setenv("BENCH_RESULTS", str(folder))
    rows = records.read("resumed").drop(columns=NOT_THE_SAME)
    return rows.sort_values(["key", "metric", "class"]).reset_index(drop=True)


@pytest.mark.slow
@pytest.mark.parametrize(("n_kills", "n_seeds"), [(5, 2), pytest.param(20, 4, marks=pytest.mark.campaign)])
def test_kills_at_random_moments_lose_nothing_and_run_nothing_twice(
    n_kills, n_seeds, chapter, tmp_path, own_results, monkeypatch
):
    alone, asked = tmp_path / "alone", [chapter, "-p", "n_seeds", str(n_seeds)]
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("BENCH_RESULTS", str(alone))
        to_the_end(*asked)
    rng = np.random.default_rng(2022)
    runs = list(rng.permutation((["jobs=1"] * 3 + ["jobs=2", "bench run"]) * (n_kills // 5)))
    interrupted, progressed, before = 0, 0, {}
    for n, how in enumerate(runs):
        output = tmp_path / f"output-{n}"
        process = start(how, chapter, n_seeds, output)
        wait_until(lambda p=process, o=output: b"to run" in o.read_bytes() or p.poll() is not None)
        enough = n_recorded() + rng.integers(3)
        wait_until(lambda p=process, n=enough: n_recorded() >= n or p.poll() is not None)
        time.sleep(rng.uniform(0, 0.2))
        members = family(process.pid) if process.poll() is None else []
        interrupted += bool(members)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # a kernel has a group of its own and sees that its parent is gone
        process.wait()
        wait_until(lambda m=members: not left(m), 30)
        n_before = sum(name.endswith(".csv") for name in before)
        assert f"{n_before} of {N_TRIALS * n_seeds} trials recorded" in output.read_text()
        after = recorded()
        assert {name: after.get(name) for name in before} == before  # not even written again
        progressed += len(after) > len(before)
        before = after
    assert interrupted >= 0.75 * n_kills
    assert progressed >= 0.25 * n_kills
    to_the_end(*asked)
    done = recorded()
    assert {name: done.get(name) for name in before} == before
    killed, expected = table(own_results, monkeypatch), table(alone, monkeypatch)
    assert killed["key"].nunique() == N_TRIALS * n_seeds
    assert (killed["status"] == "ok").all()
    pd.testing.assert_frame_equal(killed, expected)


STEPS = [("secrets.token_hex", n) for n in (1, 2)] + [("os.fsync", n) for n in (1, 2)]
STEPS += [("os.link", 1), ("os.replace", 1), ("pathlib.Path.unlink", 1), ("pathlib.Path.unlink", 2)]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step[0]}-{step[1]}")
@pytest.mark.slow
def test_a_kill_at_each_step_of_writing_leaves_a_whole_record_or_none(step, moment, monkeypatch):
    name, n = step
    row = dict.fromkeys(records.COLUMNS, "") | {"experiment": "resumed", "tier": "quick", "key": "k", "status": "ok"}
    row |= dict.fromkeys(["fraction", "seed", "value"], 1.0)
    cells, said = np.array(["a", "b"]), Predictions(["T", "B"], np.eye(2), ["B", "T"])
    pid = os.fork()
    if pid == 0:
        calls, real = [], _resolve(name)

        def killing(*arguments, **options):
            calls.append(1)
            if moment == "before" and len(calls) == n:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*arguments, **options)
            if moment == "after" and len(calls) == n:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        monkeypatch.setattr(name, killing)
        with suppress(BaseException):
            records.write([row], cells, said)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    if records.is_done("resumed", "quick", "k"):
        assert len(records.read("resumed")) == 1
        assert records.read_predictions("resumed", "quick", "k")[0].tolist() == ["a", "b"]
    else:
        assert len(records.read("resumed")) == 0
    before = recorded()
    records.write([row], cells, said)
    assert records.is_done("resumed", "quick", "k")
    assert records.read_predictions("resumed", "quick", "k")[0].tolist() == ["a", "b"]
    assert {name: recorded()[name] for name in before} == before


def _resolve(name: str):
    return {
        "secrets.token_hex": secrets.token_hex,
        "os.fsync": os.fsync,
        "os.link": os.link,
        "os.replace": os.replace,
        "pathlib.Path.unlink": Path.unlink,
    }[name]


def in_a_terminal(arguments: list[str]) -> tuple[subprocess.Popen, int]:
    """Start a command as the foreground process group of a terminal; return it with the user's side of the terminal."""
    user, terminal = pty.openpty()
    options = {"stdin": terminal, "stdout": terminal, "stderr": terminal, "start_new_session": True}
    take = lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # noqa: E731
    process = subprocess.Popen(arguments, env=as_users_have_it(), preexec_fn=take, **options)
    os.close(terminal)
    os.set_blocking(user, False)
    return process, user


def read_terminal(user: int) -> str:
    said = b""
    with suppress(OSError):  # nothing to read now, or the command has gone
        while more := os.read(user, 65536):
            said += more
    return said.decode(errors="replace")


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_records_what_is_finished_leaves_no_process_and_the_same_command_resumes(chapter, tmp_path, jobs):
    asked = [chapter, "--jobs", jobs, "-p", "n_seeds", "1"]
    process, user = in_a_terminal([*BENCH, *asked])
    wait_until(lambda: n_recorded() >= 3)
    members = family(process.pid)
    os.write(user, b"\x03")
    said = ""
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        said += read_terminal(user)  # a full terminal would hold the command up
        time.sleep(0.02)
    said += read_terminal(user)
    assert process.returncode == 130, said
    assert "bench: interrupted; what was finished is kept, the same command goes on from there." in said
    assert "Traceback" not in said
    wait_until(lambda: not left(members), 30)
    before = recorded()
    n_before = n_recorded()
    assert 3 <= n_before < N_TRIALS
    assert f"{n_before} of {N_TRIALS} trials recorded" in to_the_end(*asked)
    assert n_recorded() == N_TRIALS
    assert {name: recorded()[name] for name in before} == before


@pytest.mark.slow
def test_sigterm_records_what_is_finished_and_leaves_no_process(chapter, tmp_path):
    output = tmp_path / "output"
    with open(output, "wb") as said:
        process = subprocess.Popen(
            [*BENCH, chapter, "--jobs", "2"], env=as_users_have_it(), stdout=said, stderr=said, start_new_session=True
        )
    wait_until(lambda: n_recorded() >= 3 or process.poll() is not None)
    members = family(process.pid)
    process.terminate()
    assert process.wait(60) == 143, output.read_text()
    assert "bench: ended by SIGTERM, as where the time of a job is up; what was finished is kept" in output.read_text()
    assert "Traceback" not in output.read_text()
    wait_until(lambda: not left(members), 30)
    assert 3 <= n_recorded() < 4 * N_TRIALS


@pytest.mark.slow
def test_an_interrupt_that_falls_into_garbage_collection_is_not_lost():
    def collected(phase, info):
        gc.callbacks.remove(collected)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), interrupts_delivered():
        gc.callbacks.append(collected)
        gc.collect()
        until = time.monotonic() + 5
        while time.monotonic() < until:
            time.sleep(0.01)  # a longer one is not cut short by an interrupt that another thread delivers
        pytest.fail("the interrupt was forgotten")
