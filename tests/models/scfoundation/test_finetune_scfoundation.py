"""scFoundation as an annotator: what its recipes and variants see, train and depend on, on real cells."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from bench.core.errors import BenchError
from bench.datasets import load
from bench.models import create, describe
from bench.models.contract import without_labels
from bench.models.counts import counts_of
from bench.preprocess import log1p_cp10k
from bench.training import finetune as loop

QUICK = {"epochs": 2, "batch_size": 16, "accumulation": 2}


@pytest.fixture
def model(tiny_scfoundation):
    """Return an unfitted scFoundation with small weights."""

    def _model(name="scfoundation", **overrides):
        return create(describe(name, {"weights": str(tiny_scfoundation())} | QUICK | overrides))

    return _model


@pytest.mark.slow
def test_published_recipe_trains_one_layer_with_accumulated_gradients_on_eight_of_nine_cells(model, sides, monkeypatch):
    seen, step = [], loop.step_within_memory

    def _step(fit, cells, rows, seed):
        seen.append((len(rows), fit.schedule.accumulate, fit.history.micro_batch))
        return step(fit, cells, rows, seed)

    monkeypatch.setattr(loop, "step_within_memory", _step)
    fitted = model().fit(sides[0], seed=0)
    assert seen[:5] == [(32, 2, 16)] * 4 + [(14, 2, 16)]  # 160 cells less 18 that choose the epoch
    fresh = model()
    fresh.begin(sides[0], 0)
    start, now = fresh.build(8, 0).state_dict(), fitted.network_.state_dict()
    changed = {name for name in start if not torch.equal(start[name], now[name])}
    assert {name.split(".")[2] for name in changed if name.startswith("encoder.tr")} == {"1"}
    assert not {name for name in changed if name.startswith(("token_emb", "pos_emb", "encoder.norm"))}
    assert fitted.audit_.startswith(f"{len(start) - 7} of ")  # all but the head and its statistics
    assert len(fitted.diagnostics_["validation_macro_f1"]) == 2


@pytest.mark.slow
def test_a_prediction_may_depend_on_its_batch_as_published_and_does_not_if_clean(model, sides):
    """Where padding is the largest, as in `test_logits_depend_on_the_batch_by_padding_alone`."""
    cells = without_labels(sides[1])
    assert model().batch_dependent and not model("scfoundation@probe").batch_dependent
    fitted = model(recipe="clean", epochs=1).fit(sides[0], seed=0)
    alone = np.concatenate([fitted.predict_proba(cells[i : i + 1]) for i in range(8)])
    assert not fitted.batch_dependent and not fitted.network_.pads
    np.testing.assert_allclose(alone, fitted.predict_proba(cells)[:8], atol=1e-6)


@pytest.mark.slow
def test_no_scored_cell_is_looked_at(model, sides):
    one = model(epochs=1).fit(sides[0], seed=0).predict_proba(without_labels(sides[1]))
    other = model(epochs=1).fit(sides[0], seed=0, validation=sides[1]).predict_proba(without_labels(sides[1]))
    np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_probes_take_the_embedding_with_depth_and_no_pretraining_loads_nothing(model, sides):
    probe = model("scfoundation@probe", classifier="knn").fit(sides[0], seed=0)
    found = probe.embed(without_labels(sides[1]))
    assert found.shape == (80, 64)
    deeper = model("scfoundation@probe", classifier="knn", resolution="t5").fit(sides[0], seed=0)
    assert np.abs(deeper.embed(without_labels(sides[1])) - found).max() > 1e-4
    fresh = model("scfoundation@no_pretraining").fit(sides[0], seed=0)
    assert fresh.audit_.startswith("0 of ") and all(p.requires_grad for p in fresh.network_.parameters())


def test_counts_come_out_of_logarithms_whose_base_and_total_are_declared(small):
    logs = small.copy()
    logs.X = log1p_cp10k(small.X, base=np.e)
    logs.uns["bench"] = small.uns["bench"] | {"values": "log1p"}
    with pytest.raises(BenchError, match=r"logarithms of an unknown base and total\. This model needs counts"):
        counts_of(logs)
    logs.uns["bench"] |= {"base": "e", "total": "10000"}
    one = small.X.tocsr()
    smallest = np.array([one[i].data.min() for i in range(one.shape[0])])
    assert abs(counts_of(logs)[smallest == 1] - one[smallest == 1]).max() == 0
    logs.uns["bench"] |= {"base": "2"}
    with pytest.raises(BenchError, match=r"are no logarithms of base 2 of scaled counts"):
        counts_of(logs)


def test_a_file_says_base_and_total_of_its_logarithms(small, tmp_path):
    logs = small.copy()
    logs.X = log1p_cp10k(small.X, base=np.e)
    logs.uns = {"bench": {"values": "log1p", "base": "e", "total": 10000}}
    logs.write_h5ad(tmp_path / "logs.h5ad")
    found = load(str(tmp_path / "logs.h5ad"), label="cell_type")
    assert counts_of(found).shape == small.shape
    assert sp.csr_matrix(found.X).nnz == small.X.nnz


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"weights": None}, r"scfoundation needs weights"),
        ({"resolution": "x"}, r"resolution='x' is none"),
        ({"dropout": 1.5}, r"dropout=1\.5 should be at least 0"),
        ({"trainable": "some"}, r"trainable"),
        ({"class_weights": "odd"}, r"class_weights"),
        ({"precision": "half"}, r"precision"),
        ({"accumulation": 0}, r"accumulation=0 should be a whole number of at least 1"),
    ],
)
def test_mistakes_are_sentences(model, sides, overrides, message):
    given = {key: value for key, value in overrides.items() if value is not None}
    with pytest.raises(BenchError, match=message):
        made = create(describe("scfoundation", given)) if "weights" in overrides else model(**given)
        made.fit(sides[0], seed=0)
