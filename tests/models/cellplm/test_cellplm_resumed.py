"""A fine-tuning of CellPLM that was stopped goes on after its last whole epoch and gives what it would have given."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from anndata import read_h5ad
from forked import Script

from bench.core import unfinished
from bench.models import create, describe
from bench.models.cellplm.finetuning import Trainer
from bench.models.contract import without_labels
from bench.training import kept

SETTINGS = {"epochs": 12, "patience": 6, "warmup_epochs": 3, "variable_genes": 0}

# fine-tunes on cells of a file, keeps its state after every epoch, and dies before the n-th step
FINE_TUNING = """
import sys
sys.path.insert(0, sys.argv[1])
from test_cellplm_resumed import killed
killed(*sys.argv[2:])
"""


def fitted(state: Path, weights: str, recipe: str, train):
    model = create(describe("cellplm", SETTINGS | {"weights": weights, "recipe": recipe}))
    with unfinished.kept_in(state):
        return model.fit(train.copy(), seed=3)


def killed(cells: str, weights: str, state: str, step: str) -> None:
    kept.EVERY_S, make, n_steps = 0.0, Trainer.step, []

    def dying(trainer, batch):
        n_steps.append(1)
        if len(n_steps) == int(step):
            os.kill(os.getpid(), signal.SIGKILL)
        return make(trainer, batch)

    Trainer.step = dying
    fitted(Path(state), weights, "published", read_h5ad(cells))


@pytest.fixture
def state(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(kept, "EVERY_S", 0.0)
    return tmp_path / "state.pt"


def same(found, expected, cells) -> None:
    assert found.diagnostics_ == expected.diagnostics_
    tensors = expected.network_.state_dict()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in found.network_.state_dict().items())
    np.testing.assert_array_equal(found.predict_proba(cells), expected.predict_proba(cells))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["published", "clean"])
def test_stopped_at_any_epoch_it_goes_on_as_if_nothing_had_been(
    recipe, state, tmp_path, sides, tiny_cellplm, monkeypatch
):
    """So does what the published recipe never clears: the gradient of a norm that no optimiser has."""
    train, cells, weights = sides[0], without_labels(sides[1]), str(tiny_cellplm())
    whole = fitted(tmp_path / "other.pt", weights, recipe, train)
    step, steps_left = Trainer.step, [1]

    def stopping(trainer, batch):
        if not steps_left[0]:
            raise KeyboardInterrupt
        steps_left[0] -= 1
        return step(trainer, batch)

    monkeypatch.setattr(Trainer, "step", stopping)
    for n_steps in (1, 2, 3):  # 1 epoch, 3, 6: in the warm-up and after it
        steps_left[0] = n_steps
        with pytest.raises(KeyboardInterrupt):
            fitted(state, weights, recipe, train)
    assert len(torch.load(state, weights_only=True)["history"]["train_loss"]) == 6
    steps_left[0] = 100
    same(fitted(state, weights, recipe, train), whole, cells)
    assert not state.exists()
    assert 100 - steps_left[0] == whole.diagnostics_["epochs"] - 6


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_its_last_epoch(state, tmp_path, sides, tiny_cellplm, warm):
    train, weights = sides[0], str(tiny_cellplm())
    train.write_h5ad(tmp_path / "train.h5ad")
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}  # as many add up in the same order
    given = (Path(__file__).parent, tmp_path / "train.h5ad", weights, state, 6)
    done = Script(FINE_TUNING, *given, **threads).wait()
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(torch.load(state, weights_only=True)["history"]["train_loss"]) == 5
    whole = fitted(tmp_path / "other.pt", weights, "published", train)
    same(fitted(state, weights, "published", train), whole, without_labels(sides[1]))
