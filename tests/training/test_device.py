"""Where networks run, and what is said of the precision."""

import json
from contextlib import suppress

import numpy as np
import pytest
import torch
from torch import nn

from bench.protocol.trials import Grid
from bench.training import device
from bench.training.device import WIDE, best, device_of, say_what_bf16_does, threads_for
from bench.training.finetune import finetune, predict
from bench.training.labelled import Cells
from bench.training.schedule import History, Schedule


@pytest.fixture(autouse=True)
def said_again():
    say_what_bf16_does.cache_clear()
    yield
    say_what_bf16_does.cache_clear()


@pytest.mark.parametrize(
    ("has_units", "precision", "where", "expected"),
    [
        (True, "float32", "cpu", "with precision 'bf16' large networks are about twice as fast"),
        (True, "bf16", "cpu", ""),
        (False, "bf16", "cpu", "has no bf16 units: precision 'bf16' is slower here than 'float32'"),
        (False, "float32", "cpu", ""),
        (True, "float32", "cuda", ""),
    ],
)
def test_what_the_other_precision_would_do_is_said_once(has_units, precision, where, expected, monkeypatch, capsys):
    monkeypatch.setattr(device, "has_bf16", lambda: has_units)
    for _ in range(2):
        say_what_bf16_does(precision, where)
    found = capsys.readouterr().err
    assert found.count("\n") == bool(expected)
    assert expected in found


@pytest.mark.parametrize(
    ("flags", "has_units", "has_matrices"),
    [
        ("flags : fpu avx512_bf16 amx_bf16 sse", True, True),
        ("flags : fpu avx512_bf16 sse", True, False),
        ("Features : fp asimd bf16 i8mm", True, False),
        ("flags : fpu avx512f", False, False),
    ],
)
def test_units_are_those_that_the_processor_names(flags, has_units, has_matrices, monkeypatch):
    device._has.cache_clear()
    monkeypatch.setattr(device.Path, "read_text", lambda *_, **__: flags)
    assert (device.has_bf16(), device.has_matrix_units()) == (has_units, has_matrices)
    device._has.cache_clear()


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_precision_is_never_chosen_by_the_machine(precision, tiny_scgpt, monkeypatch):
    overrides = {"scgpt": {"weights": str(tiny_scgpt()), "precision": precision}}
    keys = set()
    for has_units in (True, False):
        monkeypatch.setattr(device, "has_bf16", lambda has_units=has_units: has_units)
        trial = Grid("x", "standin", "hao", ["scgpt"], overrides=overrides).tasks()[0].trial
        assert json.loads(trial.hyperparameters)["precision"] == precision
        keys.add(trial.key)
    assert len(keys) == 1


def test_auto_is_the_gpu_where_there_is_one_and_no_part_of_the_key(monkeypatch):
    auto = {"scbert_head": {"device": "auto"}}
    found = {}
    for there in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        found[there] = Grid("x", "quick", "hao", ["scbert_head"], overrides=auto).tasks()[0]
    assert (found[True].spec.device, found[False].spec.device) == ("cuda", "cpu")
    assert found[True].trial.key == found[False].trial.key
    assert best() == "cpu"
    assert device_of("auto").type == "cpu"


@pytest.fixture
def three_threads():
    usual = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(usual)


@pytest.mark.parametrize(("width", "n_threads"), [(WIDE - 1, 1), (WIDE, 3)])
def test_a_narrow_network_has_one_thread_until_it_is_done_or_fails(width, n_threads, three_threads):
    network = nn.Sequential(nn.Linear(4, width), nn.LayerNorm(width), nn.Linear(width, 2 * WIDE))
    for failing in (False, True):
        with suppress(ArithmeticError), threads_for(network):
            assert torch.get_num_threads() == n_threads
            if failing:
                raise ArithmeticError
        assert torch.get_num_threads() == 3


def test_a_network_whose_width_is_not_known_keeps_its_threads(three_threads):
    with threads_for(nn.Linear(2, 2)):
        assert torch.get_num_threads() == 3


def test_networks_train_and_predict_with_the_threads_they_are_given(three_threads):
    seen = []

    class Noting(nn.Sequential):
        def forward(self, x):
            seen.append((self.training, torch.get_num_threads()))
            return super().forward(x.float())

    cells = Cells(np.eye(8, 4, dtype=int), np.arange(8) % 2)
    network, schedule = Noting(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2)), Schedule(1, 4, lambda _: 0.1)
    finetune(network, cells, cells, schedule, History(), class_weights=None, seed=0)
    predict(network, cells, schedule)
    assert {training for training, _ in seen} == {True, False}
    assert {n_threads for _, n_threads in seen} == {1}
