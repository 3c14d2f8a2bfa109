"""A fine-tuning that was killed goes on after its last whole epoch and gives what an uninterrupted one gives."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import Script
from in_process import run_task
from torch import nn

from bench.core import unfinished
from bench.core.errors import BenchError
from bench.protocol.trials import Grid
from bench.training import kept
from bench.training.finetune import History, Schedule, finetune
from bench.training.labelled import Cells

# fine-tunes a small network, and dies at the n-th batch
FINE_TUNING = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_kept import kept, tuned
kept.EVERY_S = 0.0
tuned(Path(sys.argv[2]), int(sys.argv[3]))
"""


class Net(nn.Module):
    """A linear classifier with dropout and a buffer that counts passes; it may kill its process."""

    def __init__(self, die_at=0):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.dropout, self.die_at = nn.Linear(12, 3), nn.Dropout(0.3), die_at
        self.frozen = nn.Linear(12, 12).requires_grad_(False)
        self.register_buffer("passes", torch.tensor(0))

    def forward(self, tokens):
        if self.training:
            self.passes += 1
            if self.passes == self.die_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.linear(self.dropout(self.frozen(tokens.float())))


def cells(seed: int) -> Cells:
    rng = np.random.default_rng(seed)
    return Cells(rng.integers(0, 6, (30, 12)).astype(np.uint8), rng.integers(0, 3, 30))


def tune(network: Net, history: History) -> None:
    schedule = Schedule(6, 8, lambda epoch: 0.05 * 0.9**epoch, choose="loss")
    finetune(network, cells(0), cells(1), schedule, history, class_weights=None, seed=3)


def tuned(path, die_at=0) -> tuple[dict[str, list], dict]:
    """Return the network and the history of a fine-tuning of four batches an epoch whose state is kept there."""
    network, history = Net(die_at), History()
    with unfinished.kept_in(path):
        tune(network, history)
    return {name: tensor.tolist() for name, tensor in network.state_dict().items()}, vars(history)


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "EVERY_S", 0.0)
    return tmp_path / "state.pt"


@pytest.mark.slow
@pytest.mark.parametrize("batches", [[1], [7], [6, 12, 23]])
def test_killed_at_any_batch_it_goes_on_as_if_nothing_had_been(batches, path, tmp_path, warm):
    whole = tuned(tmp_path / "other.pt")
    for die_at in batches:
        done = Script(FINE_TUNING, Path(__file__).parent, path, die_at).wait()
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert path.is_file() == (die_at > 4)  # after the first epoch
    assert json.dumps(tuned(path)) == json.dumps(whole)
    assert not path.exists()


def test_a_short_training_keeps_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(kept.atomic, "write", None)
    tuned(tmp_path / "state.pt")


def test_time_before_an_interruption_counts(path):
    class Stopped(Net):
        def forward(self, tokens):
            if self.passes == 9:
                raise KeyboardInterrupt
            return super().forward(tokens)

    with pytest.raises(KeyboardInterrupt), unfinished.kept_in(path):
        tune(Stopped(), History())
    state = torch.load(path, weights_only=True)
    assert 0 < state["seconds"] < 100
    torch.save(state | {"seconds": 1000.0}, path)
    with unfinished.kept_in(path) as place:
        tune(Net(), History())
        assert place.earlier_s == 1000
        assert 1000 < place.seconds < 1100


@pytest.mark.parametrize("damage", ["cut short", "of another network"])
def test_a_state_that_does_not_fit_is_a_sentence_and_goes(damage, path):
    torch.save({"network": {"other": torch.zeros(1)}}, path)
    if damage == "cut short":
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BenchError, match=r"state\.pt is not the state of this fine-tuning .* begins anew"):
        tuned(path)
    assert not path.exists()
    tuned(path)


def test_a_full_disk_does_not_end_a_training(path, monkeypatch, capsys):
    def full(*_, **__):
        raise BenchError("Results cannot be written: No space left on device.")

    monkeypatch.setattr(kept.atomic, "write", full)
    assert len(tuned(path)[1]["train_loss"]) == 6
    assert "The state after this epoch was not kept. The cache cannot be used" in capsys.readouterr().err


def test_a_trial_keeps_its_state_by_key_and_weights(tmp_path, monkeypatch):
    """So that neither other settings nor weights made anew go on from it."""
    seen = []
    monkeypatch.setattr("bench.protocol.runner.kept_in", lambda path: seen.append(path) or unfinished.kept_in(path))
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path))
    task = Grid("kept", "quick", "hao", ["majority"]).tasks()[0]
    assert not run_task(task)
    assert [path.name for path in seen] == [f"{task.trial.key}-.pt"]
