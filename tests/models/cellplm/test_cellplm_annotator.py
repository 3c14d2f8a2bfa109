"""CellPLM as an annotator: what a cell's company does, what a recipe may see, and what is declared of it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.core.errors import BenchError
from bench.models import create, describe
from bench.models.cellplm import annotator, inputs
from bench.models.conformance import CHECKS, check
from bench.models.contract import labels_of, without_labels

FEW = {"epochs": 8, "variable_genes": 0, "lr": 5e-3, "dropout": 0.0, "warmup_epochs": 1}
COMPANIES = ("published", "reference", "alone")


@pytest.fixture
def made(tiny_cellplm):
    """Return a maker of models that are not fitted yet."""

    def _made(variant: str = "pretrained", *, file: dict | None = None, **overrides):
        weights = str(tiny_cellplm(**(file or {})))
        return create(describe(f"cellplm@{variant}", FEW | {"weights": weights} | overrides))

    return _made


def accuracy(model, cells) -> float:
    return float((model.predict(without_labels(cells)) == labels_of(cells)).mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "company"), [("published", "published"), ("clean", "reference"), ("clean", "alone")]
)
def test_promises_are_kept_or_the_dependence_is_declared(company, recipe, sides, tiny_cellplm):
    given = FEW | {"weights": str(tiny_cellplm()), "company": company, "recipe": recipe, "epochs": 2}
    found = dict(check(describe("cellplm", given), *sides))
    assert found == dict.fromkeys(CHECKS, "")


@pytest.mark.slow
@pytest.mark.parametrize("company", COMPANIES)
def test_it_learns(company, made, sides):
    train, scored = sides
    model = made(company=company, epochs=60, recipe="clean").fit(train, seed=0)
    assert accuracy(model, scored) > 0.3  # an eighth by chance
    assert 1 <= model.diagnostics_["best_epoch"] <= model.diagnostics_["epochs"] <= 60
    assert "best_validation_macro_recall" in model.diagnostics_  # what the authors call accuracy
    assert model.embed(without_labels(scored)).shape == (scored.n_obs, 8)


def test_company_is_what_a_prediction_depends_on_and_nothing_else(made, sides):
    train, scored = sides
    cells = without_labels(scored)
    some = np.flatnonzero(labels_of(scored) == labels_of(scored)[0])[:4]  # of one type only
    moved = {}
    for company in COMPANIES:
        model = made(company=company, recipe="clean").fit(train, seed=0)
        assert model.batch_dependent == (company == "published")
        whole, part = model.predict_proba(cells)[some], model.predict_proba(cells[some].copy())
        moved[company] = float(np.abs(whole - part).max())
    assert moved["published"] > 1e-3
    assert max(moved["reference"], moved["alone"]) < 1e-5


def test_a_cell_of_the_reference_is_given_what_the_pass_of_the_reference_gives_it(made, sides):
    train = sides[0]
    model = made("probe").with_network(train, 0)
    pass_ = model._reference.inputs(np.arange(train.n_obs), torch.device("cpu"))
    with torch.no_grad():
        expected = model.network_.eval().embed(pass_)
    np.testing.assert_allclose(model.embed(without_labels(train)), expected, atol=1e-5)


def test_published_passes_hold_the_training_cells_and_the_scored_ones_without_labels(made, sides, monkeypatch):
    train, scored = sides
    seen = []
    finetune = annotator.finetune
    monkeypatch.setattr(
        annotator, "finetune", lambda t, passes, *a, **m: seen.append(passes) or finetune(t, passes, *a, **m)
    )
    made().fit(train, seed=0, validation=scored)
    (whole,) = seen[-1]
    assert len(whole.cells) == train.n_obs + scored.n_obs
    assert not whole.trains[train.n_obs :].any()
    assert whole.trains.sum() == train.n_obs - 16  # a tenth chooses the epoch
    exchanged = scored.copy()
    exchanged.obs["cell_type"] = scored.obs["cell_type"].to_numpy()[::-1]
    first = made().fit(train, seed=0, validation=scored).predict_proba(without_labels(scored))
    np.testing.assert_array_equal(
        first, made().fit(train, seed=0, validation=exchanged).predict_proba(without_labels(scored))
    )
    made(recipe="clean").fit(train, seed=0)
    assert len(seen[-1][0].cells) == train.n_obs


def with_batches(cells, names):
    cells = cells.copy()
    cells.obs["batch"] = np.resize(names, cells.n_obs)
    return cells


@pytest.mark.slow
def test_passes_are_batches_unless_one_has_no_training_cell(made, sides, monkeypatch):
    train, scored = with_batches(sides[0], ["a", "b", "10"]), with_batches(sides[1], ["a", "b"])
    seen = []
    finetune = annotator.finetune
    monkeypatch.setattr(
        annotator, "finetune", lambda t, passes, *a, **m: seen.append(passes) or finetune(t, passes, *a, **m)
    )
    model = made().fit(train, seed=0, validation=scored)
    assert [len(batch.cells) for batch in seen[-1]] == [53, 54 + 40, 53 + 40]  # 10, a, b
    found = model.predict_proba(without_labels(scored))
    b = scored.obs["batch"].to_numpy() == "b"
    np.testing.assert_allclose(model.predict_proba(without_labels(scored[b].copy())), found[b], atol=1e-5)
    made().fit(train, seed=0, validation=with_batches(sides[1], ["a", "c"]))
    assert [len(batch.cells) for batch in seen[-1]] == [160 + 80]
    made(by_batch=False).fit(train, seed=0, validation=scored)
    assert len(seen[-1]) == 1


def test_the_most_variable_genes_are_those_of_all_cells_or_of_the_training_cells(made, sides):
    train, scored = sides
    published = made(variable_genes=100).fit(train, seed=0, validation=scored)
    clean = made(variable_genes=100, recipe="clean").fit(train, seed=0)
    assert len(published._chosen) == len(clean._chosen) == 100
    assert published._chosen != clean._chosen
    counts = clean.cells(without_labels(scored)).tokens
    assert len(np.unique(counts.indices)) <= 100


def test_variants_begin_with_what_they_say(made, sides):
    train, scored = sides
    found = {}
    for variant in ("pretrained", "no_pretraining", "shuffled_genes", "probe", "random_probe"):
        model = made(variant, n_neighbors=3, classifier="knn").fit(train, seed=0)
        found[variant] = model.predict_proba(without_labels(scored))
        loaded = model.audit_.startswith("0 of")
        assert loaded == (variant in ("no_pretraining", "random_probe")), variant
    assert len({values.tobytes() for values in found.values()}) == 5
    assert accuracy(made("probe", classifier="knn").fit(train, seed=0), scored) > 0.3


def test_a_probe_in_published_company_is_refused_with_what_to_do(made, sides):
    with pytest.raises(BenchError, match="needs company='reference', its default, or company='alone'"):
        made("probe", company="published").fit(sides[0], seed=0)


def test_the_mixtures_embedding_is_seeded_by_the_cells_own_counts(made, sides):
    cells = without_labels(sides[1])
    model = made("probe", file={"name": "mixture", "kind": "gmvae"}).with_network(sides[0], 0)
    found = model.embed(cells)
    order = np.random.default_rng(0).permutation(cells.n_obs)
    np.testing.assert_allclose(model.embed(cells[order].copy()), found[order], atol=1e-5)
    drawn = inputs._drawn(model.cells(cells).tokens, 4)
    assert len(np.unique(drawn.round(6), axis=0)) == cells.n_obs


def test_identifiers_are_used_where_a_data_set_has_them(made, sides, tiny_cellplm):
    train = sides[0].copy()
    genes = json.loads(describe_genes(tiny_cellplm()))
    identifiers = {gene: f"ENSG{number:011d}" for number, gene in enumerate(genes)}
    file = {"name": "named", "ensembl": json.dumps([*identifiers.values()])}
    plain = made(file=file).fit(train, seed=0)
    renamed = train.copy()
    renamed.var["ensembl_id"] = [identifiers.get(name, "none") for name in train.var_names]
    renamed.var_names = [f"alias {name}" for name in train.var_names]
    other = made(file=file).fit(renamed, seed=0)
    assert len(other.genes_.used) == len(plain.genes_.used) == 400
    assert set(other.genes_.used) <= set(renamed.var_names)
    np.testing.assert_array_equal(other.cells(renamed).tokens.toarray(), plain.cells(train).tokens.toarray())


def describe_genes(path) -> str:
    from bench.weights.card import metadata

    return metadata(path)["genes"]


def test_log_values_are_refused(made, sides):
    train = sides[0].copy()
    train.uns["bench"] = train.uns["bench"] | {"values": "log1p"}
    with pytest.raises(BenchError, match="'small' holds logarithms of an unknown base and total"):
        made().fit(train, seed=0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"company": "none"}, "company 'none'"),
        ({"drop_cells": 1.0}, "drop_cells=1.0 should be at least 0 and below 1"),
        ({"epochs": 0}, "epochs=0 should be a whole number of at least 1"),
        ({"precision": "int8"}, "precision 'int8'"),
    ],
)
def test_wrong_settings_are_sentences(wrong, said, made, sides):
    with pytest.raises(BenchError, match=said):
        made(**wrong).fit(sides[0], seed=0)


def test_weights_of_another_model_are_refused(made, sides, tiny_scgpt):
    with pytest.raises(BenchError, match="holds weights of scgpt; set the override 'weights' to some of cellplm"):
        made(weights=str(tiny_scgpt())).fit(sides[0], seed=0)
    with pytest.raises(BenchError, match="cellplm needs weights"):
        create(replace(describe("cellplm"), weights=None)).fit(sides[0], seed=0)


def test_an_interruption_leaves_the_best_epoch(made, sides, monkeypatch):
    model = made(epochs=50, recipe="clean")
    epoch = annotator.Trainer.epoch

    def _stop(self, number, batches):
        if number == 5:
            raise KeyboardInterrupt
        return epoch(self, number, batches)

    monkeypatch.setattr(annotator.Trainer, "epoch", _stop)
    with pytest.raises(KeyboardInterrupt):
        model.fit(sides[0], seed=0)
    assert model.predict_proba(without_labels(sides[1])).shape == (80, 8)
    assert model.diagnostics_["best_epoch"] <= 5
