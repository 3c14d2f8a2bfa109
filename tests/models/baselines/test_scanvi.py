"""scANVI where scvi-tools is installed, and the sentence where it is not."""

import sys
from importlib import metadata

import numpy as np
import pytest
import scipy.sparse as sp

from bench.core.errors import BenchError
from bench.models import create, describe
from bench.models.baselines.scanvi import ScANVI, ScANVIConfig, check_importable
from bench.models.contract import labels_of, without_labels
from bench.protocol.possible import check_model
from bench.protocol.trials import Grid

QUICK = {"epochs": 30, "epochs_labelled": 20, "n_genes": 300}
installed = pytest.mark.skipif(
    not next(metadata.distributions(name="scvi-tools"), None), reason="scvi-tools is not installed (extra scvi)"
)


@pytest.fixture
def absent(monkeypatch):
    monkeypatch.setattr(metadata, "distributions", lambda **_: iter(()))


def test_without_scvi_tools_a_sentence_names_the_command(absent, sides):
    said = r'ScANVI needs scvi-tools, which is not installed: pip install "scfm-bench\[scvi\]"'
    for do in (lambda: create(describe("scanvi")).fit(sides[0], seed=0), lambda: check_model(describe("scanvi"))):
        with pytest.raises(BenchError, match=said):
            do()


def test_without_scvi_tools_the_other_models_of_a_request_run(absent, capsys):
    tasks = Grid("audit", "quick", "hao", ["scanvi", "majority"]).tasks()
    assert [task.spec.name for task in tasks] == ["majority"]
    assert 'scanvi: ScANVI needs scvi-tools, which is not installed: pip install "scfm-bench[scvi]"' in (
        capsys.readouterr().err
    )


def test_an_installation_that_cannot_be_imported_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "scvi", None)
    with pytest.raises(BenchError, match=r"scvi-tools cannot be imported \(.*\); install it anew: pip install"):
        check_importable()


def fitted(train, **more) -> ScANVI:
    return create(describe("scanvi", QUICK | more)).fit(train, seed=0)


@installed
@pytest.mark.slow
def test_scanvi_learns_types_and_a_batch_changes_no_prediction(sides):
    train, scored = sides
    for cells in (train, scored):
        cells.obs["batch"] = np.where(np.arange(cells.n_obs) % 2, "donor 1", "donor 2")
    model, cells = fitted(train), without_labels(scored)
    found = model.predict_proba(cells)
    assert (model.classes_[found.argmax(axis=1)] == labels_of(scored)).mean() > 0.42
    cells.obs["batch"] = "never seen"
    np.testing.assert_array_equal(model.predict_proba(cells), found)
    np.testing.assert_array_equal(fitted(train).predict_proba(cells), found)


@installed
@pytest.mark.slow
@pytest.mark.parametrize("n_cells", [[1, 1], [127, 1, 1], [1]])
def test_few_cells_and_a_last_batch_of_one_are_learnt(n_cells, small):
    rows, labels = np.arange(sum(n_cells)), np.repeat([f"type {i}" for i in range(len(n_cells))], n_cells)
    train = small[rows].copy()
    train.obs["cell_type"] = labels
    found = fitted(train, epochs=2, epochs_labelled=2).predict_proba(without_labels(small))
    assert found.shape == (small.n_obs, len(n_cells))
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


@installed
@pytest.mark.slow
def test_a_training_cell_without_counts_is_left_out(sides):
    train, scored = sides
    first = sp.diags((np.arange(train.n_obs) > 0).astype(np.float32))
    train.X = sp.csr_matrix(first @ train.X, dtype=np.float32)
    assert np.isfinite(fitted(train, epochs=2, epochs_labelled=2).predict_proba(without_labels(scored))).all()


@installed
def test_log_values_are_refused_with_the_reason(sides):
    train, _ = sides
    train.uns["bench"] = train.uns["bench"] | {"values": "log1p"}
    with pytest.raises(BenchError, match=r"scanvi models counts, and these data are declared as log1p; name a layer"):
        fitted(train)


def test_what_is_trained_is_published_and_declared():
    assert ScANVIConfig().n_samples_per_label == 100
    assert not ScANVI.leaking_recipes and not ScANVI.batch_dependent
