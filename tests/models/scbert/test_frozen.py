"""What frozen layers give is kept once for all trainings on the same weights, and changes no loss."""

import os
import shutil

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from bench.cli import main
from bench.models import create, describe
from bench.models.contract import without_labels
from bench.training import rows
from bench.training.rows import Store, stores

TUNED = {"epochs": 3, "lr": 0.01, "batch_size": 16, "stabiliser": "per_cell", "redraw": False}
ROW = 61 * 16 * 4  # bytes of a cell of 60 genes in float32


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def model(tiny_scbert):
    """Return an unfitted scBERT whose frozen layers are kept, unless overrides say otherwise."""

    def _model(name="scbert", *, weights=None, **overrides):
        return create(describe(name, {"weights": str(weights or tiny_scbert())} | TUNED | overrides))

    return _model


def tuned(model, sides, *, seed=0):
    train, scored = sides
    model.fit(train, seed=seed, validation=scored)
    return model.diagnostics_, model.predict_proba(without_labels(scored))


def n_kept() -> list[int]:
    """Return how many cells each store holds, in either precision."""
    return [round(size / ROW, 1) for size in sizes()]


def sizes() -> list[int]:
    return [(folder / "values").stat().st_size for folder in stores()]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("trainable", ["last_layer", "head"])
def test_losses_are_those_of_layers_computed_each_time(precision, trainable, model, sides, cache, monkeypatch, capsys):
    options = {"precision": precision, "trainable": trainable}
    kept, probabilities = tuned(model(**options), sides)
    assert sizes() == [240 * ROW // (2 if precision == "bf16" else 1)]
    assert ("differs from float32 by" in capsys.readouterr().err) == (precision == "bf16")
    shutil.rmtree(cache)
    monkeypatch.setattr(rows, "LIMIT", 0)
    each_time, expected = tuned(model(**options), sides)
    assert "it is computed each time" in capsys.readouterr().err
    for name in ("train_loss", "validation_loss"):
        np.testing.assert_allclose(kept[name], each_time[name], rtol=0, atol=1e-5)
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_each_cell_is_computed_once_for_all_epochs_seeds_and_shares(model, sides, monkeypatch):
    computed = []
    original = Store.add
    monkeypatch.setattr(
        Store, "add", lambda self, names, parts: computed.append(len(names)) or original(self, names, parts)
    )
    train, scored = sides
    tuned(model(), (train[:50].copy(), scored))
    tuned(model(), sides, seed=1)
    tuned(model(lr=0.001), sides, seed=2)
    assert computed == [50, 80, 110]  # the first training cells, the scored ones, the other training cells
    assert n_kept() == [240]


@pytest.mark.slow
def test_other_weights_have_stores_of_their_own(model, tiny_scbert, sides):
    tuned(model(), sides)
    tuned(model("scbert@no_pretraining"), sides, seed=2)
    tuned(model("scbert@no_pretraining"), sides, seed=3)
    tuned(model("scbert@no_gene2vec", weights=tiny_scbert("without", gene2vec=False)), sides)
    tuned(model("scbert@no_pretraining"), sides, seed=2)
    assert n_kept() == [240] * 4


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"redraw": True}, {"stabiliser": "batch"}, {"trainable": "all"}])
def test_nothing_is_kept_where_it_would_change(options, model, sides):
    tuned(model(**options), sides)
    assert not stores()


@pytest.mark.slow
@pytest.mark.parametrize("left", ["values", "names"])
def test_what_a_killed_process_left_is_never_read(left, model, sides):
    expected = tuned(model(), sides)
    (folder,) = stores()
    for name, size in (("values", ROW), ("names", rows.NAME)):
        cut = (folder / name).stat().st_size - (40 * size if name != left else 30 * size + size // 2)
        os.truncate(folder / name, cut)
    again = tuned(model(), sides)
    assert n_kept() == [240]
    np.testing.assert_allclose(again[0]["train_loss"], expected[0]["train_loss"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(again[1], expected[1], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_the_store_that_was_not_used_for_longest_goes_first(model, sides, monkeypatch, capsys):
    monkeypatch.setattr(rows, "LIMIT", 2 * 240 * (ROW + rows.NAME))
    for seed in (1, 2):
        tuned(model("scbert@no_pretraining"), sides, seed=seed)
    first, second = stores()
    os.utime(first, (2e9, 2e9))  # used since
    tuned(model("scbert@no_pretraining"), sides, seed=3)
    assert f"Removed, as not used for longest: {second}" in capsys.readouterr().err
    assert len(stores()) == 2
    assert first in stores()


def test_a_full_disk_is_said_and_training_goes_on(model, sides, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "add", full)
    tuned(model(epochs=1), sides)
    assert (
        "What frozen layers give cannot be kept (No space left on device): it is computed each time."
        in capsys.readouterr().err
    )


def test_the_command_shows_and_cleans_it(model, sides):
    tuned(model(epochs=1), sides)
    shown = CliRunner().invoke(main, ["cache"])
    assert shown.exit_code == 0
    assert f"{sum(sizes()) / 1e6:,.1f} MB  what frozen layers give" in shown.output
    assert CliRunner().invoke(main, ["cache", "--clean", "frozen"]).exit_code == 0
    assert not stores()


def test_cells_with_the_same_tokens_share_a_row(model, sides):
    train, scored = sides
    twice = train[[*range(40), *range(40)]].copy()
    twice.obs_names_make_unique()
    tuned(model(), (twice, scored))
    assert n_kept() == [120]


def test_rows_read_are_those_written():
    store = Store("0" * 16, (3, 2), torch.bfloat16)
    written = torch.randn(5, 3, 2).bfloat16()
    store.add([bytes([i]) * rows.NAME for i in range(5)], [written[:2], written[2:]])
    store.opened()
    shutil.rmtree(store.folder)  # by another process that needs room
    assert torch.equal(store.read(np.array([4, 0, 0])), written[[4, 0, 0]])
