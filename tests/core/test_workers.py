"""Real processes that end in every way: a death belongs to its task, and no process outlives who asked for it."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress

import psutil
import pytest

from bench.core import forked, nursery
from bench.core.workers import Lost, Worker, answers

PID = "__import__('os').getpid()"
SLEEP = "__import__('subprocess').run(['sleep', '100'])"
ENDS = {
    "__import__('signal').raise_signal(9)": "the process was killed by SIGKILL (the system kills so where memory runs",
    "__import__('ctypes').string_at(0)": "the process was killed by SIGSEGV",
    "__import__('os')._exit(3)": "the process ended itself with exit code 3",
    "__import__('sys').exit(4)": "SystemExit: 4",
    "(_ for _ in ()).throw(KeyboardInterrupt)": "KeyboardInterrupt",
    "1 / 0": "ZeroDivisionError: division by zero",
    "(_ for _ in ())": "TypeError: cannot pickle 'generator' object",
}


@pytest.fixture(scope="module")
def address():
    """Return where a nursery of our own is asked, which has imported once what else every process would import."""
    with forked.nursery(["torch", "threadpoolctl", "bench.core.worker"]):
        yield os.environ[forked.ADDRESS]


@pytest.fixture(params=["spawned", "forked"], autouse=True)
def start(request, monkeypatch):
    """How processes are started."""
    if request.param == "forked":
        monkeypatch.setenv(forked.ADDRESS, request.getfixturevalue("address"))
    else:
        monkeypatch.delenv(forked.ADDRESS, raising=False)
    return request.param


def test_a_nursery_inside_another_one_leaves_it_as_it_was(address):
    before = os.environ.get(forked.ADDRESS)
    with forked.nursery([]):
        assert os.environ[forked.ADDRESS] not in (before, address)
    assert os.environ.get(forked.ADDRESS) == before


def started(before: list[psutil.Process]) -> list[psutil.Process]:
    """Return the processes that live now, but for those from before and for trackers of resources."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and process not in before and "tracker" not in "".join(process.cmdline()):
                found.append(process)
    return found


def gone(processes: list[psutil.Process], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while alive := [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]:
        if time.monotonic() > until:
            return not alive
        time.sleep(0.02)
    return True


@pytest.mark.slow
@pytest.mark.parametrize("n_workers", [1, 2])
def test_however_a_process_ends_the_reason_is_that_of_its_task_and_the_others_are_answered(n_workers):
    tasks = [task for n, end in enumerate(ENDS) for task in (str(n), end)]
    found = list(answers(eval, tasks, n_workers))
    assert sorted(task for task, _ in found) == sorted(tasks)
    for task, answer in found:
        if task in ENDS:
            assert isinstance(answer, Lost) and str(answer).startswith(ENDS[task])
        else:
            assert answer == int(task)


@pytest.mark.slow
def test_one_process_does_all_tasks_in_their_order_until_it_dies():
    tasks = [PID, PID, "__import__('os')._exit(0)", PID, PID]
    found = list(answers(eval, tasks, 1))
    assert [task for task, _ in found] == tasks
    first, second, _, third, fourth = (answer for _, answer in found)
    assert first == second != third == fourth
    assert os.getpid() not in (first, third)


def test_what_cannot_be_sent_is_lost_alone():
    found = list(answers(str, ["a", (_ for _ in ()), "b"], 1))
    assert [answer if isinstance(answer, str) else type(answer) for _, answer in found] == ["a", Lost, "b"]
    assert str(found[1][1]) == "cannot be sent to another process: cannot pickle 'generator' object"


def test_where_no_process_can_be_started_the_tasks_say_so(monkeypatch):
    monkeypatch.setenv(forked.ADDRESS, "nobody")  # a nursery that has died

    def full(process):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("joblib.externals.loky.backend.process.LokyProcess.start", full)
    found = dict(answers(abs, [1, 2], 2))
    assert str(found[1]) == str(found[2]) == "no process could be started for it: Resource temporarily unavailable"


def test_modules_on_the_path_of_the_one_who_asks_are_found_and_those_of_a_notebook_are_sent(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "of_a_user.py").write_text("def twice(x):\n    return 2 * x\n")
    import of_a_user

    local = {}
    exec("def thrice(x):\n    return 3 * x\n", {"__name__": "__main__"}, local)
    assert list(answers(of_a_user.twice, [4], 1)) == [(4, 8)]
    assert list(answers(local["thrice"], [4], 1)) == [(4, 12)]


@pytest.mark.slow
def test_one_process_has_all_cores_and_several_share_them(monkeypatch):
    for name in ("OMP_NUM_THREADS", "LOKY_MAX_CPU_COUNT"):  # which the tests' own processes have
        monkeypatch.delenv(name, raising=False)
    n_jobs = "__import__('joblib').effective_n_jobs(None)"
    tasks = ["__import__('os').getenv('OMP_NUM_THREADS')", n_jobs]
    cores = os.cpu_count()
    assert dict(answers(eval, tasks, 1)) == {tasks[0]: None, n_jobs: cores}
    assert dict(answers(eval, tasks, 2)) == {tasks[0]: str(max(1, cores // 2)), n_jobs: 1}
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # the user's own choice
    assert dict(answers(eval, tasks[:1], 2)) == {tasks[0]: "3"}
    monkeypatch.setenv("OMP_NUM_THREADS", "2,1")  # one for each level
    assert dict(answers(eval, tasks[:1], 2)) == {tasks[0]: "2,1"}


def test_nothing_is_left_when_the_answers_are_left_early():
    ours = psutil.Process().children(recursive=True)  # of tests that ran before this one
    with closing(answers(eval, [PID, SLEEP, SLEEP], 2)) as ended:
        next(ended)
        children = started(ours)
        assert len(children) >= 2  # and what they have started by now
        before = time.monotonic()
    assert time.monotonic() - before < 2
    assert gone(children, 2)


def test_a_ctrl_c_while_a_process_starts_is_for_the_one_who_asks_alone(start):
    if start == "forked":
        pytest.skip("a forked process has a group of its own from the first")
    worker = Worker(n_workers=2)
    worker.ask(eval, "6 * 7")
    os.kill(worker._process.pid, signal.SIGINT)  # as a terminal sends it to all of its group
    assert worker.answer() == 42
    worker.end(at_once=False)


@pytest.mark.slow
def test_a_process_whose_answer_nobody_waits_for_ends_without_a_word(start, capfd):
    worker = Worker(n_workers=2)
    worker.ask(eval, "__import__('time').sleep(0.2)")
    worker.connection.close()
    assert worker._process.wait(30) == 0
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
def test_processes_and_what_they_have_started_go_when_the_one_who_asked_is_killed():
    code = f"from bench.core.workers import answers; list(answers(eval, [{SLEEP!r}] * 2, 2))"
    ours = psutil.Process().children(recursive=True)
    asking, until = subprocess.Popen([sys.executable, "-c", code]), time.monotonic() + 60
    family = []  # of this process: what is forked is a child of the nursery, not of the one who asks
    while sum("sleep" in p.name() for p in family) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)
        family = started(ours)
    os.kill(asking.pid, signal.SIGKILL)
    asking.wait()
    assert len(family) >= 5 and gone(family, 10)


def test_a_process_ends_with_who_asked_for_it_where_the_connection_is_reset(monkeypatch):
    held, other = socket.socketpair()
    held.sendall(b"never read")
    other.close()  # the kernel tells the rest by a reset
    ended = []
    monkeypatch.setattr(nursery.os, "killpg", lambda *what: ended.append(what))
    nursery._end_with(held)
    assert ended == [(0, signal.SIGKILL)]
