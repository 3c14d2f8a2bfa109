"""Tasks that need a GPU go to processes that have one, one GPU to each; the others take what needs none."""

import os
from itertools import count, islice

import pytest

from bench.core.dealing import Dealing
from bench.core.workers import Worker, answers

TASKS = ["gpu 0", "cpu 0", "gpu 1", "cpu 1", "cpu 2"]


def on_gpu(task: str) -> bool:
    return task.startswith("gpu")


def taken(dealing: Dealing, gpu: str) -> list[str]:
    return list(iter(lambda: dealing.next(gpu), None))


def test_without_gpus_tasks_keep_their_order():
    assert taken(Dealing(TASKS, (), on_gpu), "") == TASKS


def test_without_gpus_tasks_may_be_made_as_they_are_asked_for():
    dealing = Dealing(count())
    assert list(islice(iter(lambda: dealing.next(""), None), 3)) == [0, 1, 2]


def test_who_has_a_gpu_begins_with_what_needs_one():
    assert taken(Dealing(TASKS, ["0"], on_gpu), "0") == ["gpu 0", "gpu 1", "cpu 0", "cpu 1", "cpu 2"]


def test_who_has_none_leaves_what_needs_one():
    dealing = Dealing(TASKS, ["0"], on_gpu)
    assert taken(dealing, "") == ["cpu 0", "cpu 1", "cpu 2"] and taken(dealing, "0") == ["gpu 0", "gpu 1"]


def test_each_process_has_a_gpu_of_its_own_as_far_as_there_are_some():
    assert [Dealing([], ["2", "GPU-f00"]).gpu_of(number) for number in range(3)] == ["2", "GPU-f00", ""]


def test_processes_see_the_gpu_that_they_were_dealt(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    visible = [Worker(3, (), gpu)._environment.get("CUDA_VISIBLE_DEVICES") for gpu in ("5", "6", "")]
    assert visible == ["5", "6", None]  # the last one sees what this process does, and is given nothing that needs it


@pytest.mark.slow
def test_real_processes_run_what_needs_a_gpu_where_they_have_one(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    seen = lambda task: (task, os.environ.get("CUDA_VISIBLE_DEVICES", ""))  # noqa: E731
    found = dict(answer for _, answer in answers(seen, TASKS, 3, (), ["7", "8"], on_gpu))
    assert set(found) == set(TASKS)
    assert {found["gpu 0"], found["gpu 1"]} <= {"7", "8"}
