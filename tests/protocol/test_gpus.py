"""Which GPUs are dealt out to trials: those of this machine, or what the workers of a cluster announce."""

import pytest
import torch

from bench.core.errors import BenchError, Faults
from bench.core.told import told
from bench.models import describe
from bench.protocol import cluster, engine, gpus, possible
from bench.protocol.trials import Grid

ADDRESS = "tcp://127.0.0.1:9"


def task(device: str):
    return type("Task", (), {"known": {"device": device}})


@pytest.fixture
def three_gpus(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)


def test_those_of_this_machine_are_dealt_out_to_trials_on_any(three_gpus, monkeypatch):
    assert gpus.to_deal([task("cpu"), task("cuda")]) == ["0", "1", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-f00")
    assert gpus.to_deal([task("cuda")]) == ["2", "GPU-f00"]


def test_nothing_is_dealt_where_no_trial_needs_one_or_one_has_its_own(three_gpus):
    assert gpus.to_deal([task("cpu")]) == gpus.to_deal([task("cuda"), task("cuda:1")]) == []


@pytest.mark.parametrize(("devices", "jobs", "n_workers"), [(["cuda"] * 8, 8, 3), (["cuda", "cpu"] * 4, 8, 8)])
def test_a_grid_on_gpus_alone_has_a_process_for_each_of_them(devices, jobs, n_workers, three_gpus, monkeypatch):
    asked = []
    monkeypatch.setattr(engine, "answers", lambda *arguments: asked.append(arguments))
    monkeypatch.setattr(engine, "_in_order", lambda missing, n_workers: missing)
    engine._answers([task(device) for device in devices], len, jobs)
    ((_, _, n, _, dealt, needs),) = asked
    assert n == n_workers and dealt == ["0", "1", "2"] and needs is gpus.is_needed


def test_one_process_alone_sees_all_of_them(three_gpus, monkeypatch):
    asked = []
    monkeypatch.setattr(engine, "answers", lambda *arguments: asked.append(arguments))
    monkeypatch.setattr(engine, "_in_order", lambda missing, n_workers: missing)
    engine._answers([task("cuda")] * 2, len, 1)
    assert asked[0][4] == []


def test_a_command_names_the_device_of_all_networks_and_of_nothing_else():
    asked = {"scgpt": {"device": "cpu"}}
    with told(gpus.VARIABLE, "auto"):
        grid = Grid("few_shot", "quick", "hao", ["l1_logistic", "scgpt", "scbert_head"], overrides=asked)
        assert [spec.device for spec in grid._specs(Faults())] == ["cpu", "auto", "auto"]
    assert [spec.device for spec in grid._specs(Faults())] == ["cpu", "cpu", "cpu"]


def test_on_a_cluster_a_device_is_one_that_its_workers_announce(monkeypatch):
    monkeypatch.setattr(cluster, "has_gpus", lambda address: address == "with")
    spec = describe("knn", {"device": "cuda"})
    with told(cluster.VARIABLE, "with"):
        possible.check_model(spec)
        assert gpus.best() == "cuda"
    with told(cluster.VARIABLE, ADDRESS):
        assert gpus.best() == "cpu"
        with pytest.raises(BenchError, match=f"no worker at {ADDRESS} announces a GPU; start them with: dask worker"):
            possible.check_model(spec)
