"""Pretraining of scFoundation: what is hidden and left out, resumed equally, and fine-tuned from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pretraining import card_of, own_weights, same

from bench.core.errors import BenchError
from bench.models import create, describe
from bench.models.scfoundation.objective import ScFoundationObjective
from bench.models.scfoundation.recipes import QUICK, RECIPES
from bench.training import pretrain as module
from bench.training.counts import Counts
from bench.training.pretrain import pretrain
from bench.training.recipes import named
from bench.weights import read

SMALL = replace(QUICK, steps=12, n_genes=110, dim=8, depth=2, hidden=12, decoder_dim=8, n_features=8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    with own_weights(tmp_path_factory.mktemp("cache")) as folder:
        yield folder


@pytest.fixture(scope="module")
def objective(weights):
    return ScFoundationObjective(SMALL, SMALL.cells(), torch.device("cpu"))


@pytest.mark.slow
def test_cells_are_those_of_the_other_models_and_their_counts_are_kept_whole(objective):
    assert SMALL.selections == named()["scbert_quick"].selections
    assert {n: r.selections for n, r in RECIPES.items()}["scfoundation_standin"] == named()["scgpt_standin"].selections
    quick = named()["scgpt_quick"]
    assert QUICK.steps * QUICK.batch_size == quick.steps * quick.batch_size
    assert objective.cells.sparse(np.arange(len(objective.cells))).data.max() > 255


def test_shares_are_hidden_and_depth_is_told(objective):
    raw = objective.cells.sparse(np.arange(200))
    part = objective._part(np.arange(200), 0, 1)
    given = part.given[:, :110].toarray()
    assert part.mask[given > 0].mean() == pytest.approx(0.3, abs=0.02)
    assert part.mask[given == 0].mean() == pytest.approx(0.03, abs=0.01)
    depth = part.given[:, 110:].toarray()
    assert (depth[:, 0] >= depth[:, 1]).all()
    assert 0.3 < (depth[:, 0] > depth[:, 1]).mean() < 0.7  # half of the cells are shown fewer counts
    np.testing.assert_allclose(np.sort(10 ** depth[:, 0]), np.sort(np.maximum(raw.sum(axis=1).A1, 2)), rtol=1e-5)


def test_a_hidden_gene_does_not_enter_the_encoder(objective):
    network, part = objective.network().eval(), objective._part(np.arange(4), 0, 1)
    hidden = np.argwhere(part.mask & (part.given[:, :110].toarray() > 0))[0]
    with torch.no_grad():
        before = objective._predicted(network, part)[0]
        other = part.given.tolil()
        other[hidden[0], hidden[1]] = 9.0
        after = objective._predicted(network, replace(part, given=other.tocsr()))[0]
    torch.testing.assert_close(before, after)


@pytest.mark.slow
def test_a_run_that_was_stopped_gives_the_same_weights_and_is_fine_tuned_from(weights, monkeypatch, sides):
    whole = pretrain("whole", SMALL)
    step, calls = module.step, []

    def _stop(*args):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return step(*args)

    with monkeypatch.context() as patch:
        patch.setattr(module, "step", _stop)
        with pytest.raises(KeyboardInterrupt):
            pretrain("resumed", SMALL, checkpoint_s=0)
    assert same(whole, pretrain("resumed", SMALL))
    card = card_of(whole)
    assert len(card["losses"]) == SMALL.steps and "of the gene's mean, explained" in ScFoundationObjective.told(
        card["curve"][-1]
    )
    fitted = create(describe("scfoundation", {"weights": str(whole), "epochs": 2})).fit(sides[0], seed=0)
    assert fitted.audit_.split(";")[0].endswith(read(whole).sha256[:16])


def test_logarithms_have_no_depth():
    stream = type("Stream", (), {"values": "log1p", "name": "logs", "genes": []})
    with pytest.raises(BenchError, match=r"'logs' holds logarithms; pretrain on sets of counts"):
        Counts()(None, stream, [], np.empty(0))


@pytest.mark.parametrize("wrong", [{"hidden_values": 0.0}, {"hidden_zeros": 1.5}, {"heads": 3}, {"stabiliser": "none"}])
def test_settings_that_cannot_be_are_sentences(wrong):
    with pytest.raises(BenchError):
        replace(SMALL, **wrong)
