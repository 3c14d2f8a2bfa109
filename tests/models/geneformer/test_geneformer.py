"""Geneformer as an annotator: names of genes, logarithms, settings; each cell by itself."""

from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from bench.core.errors import BenchError
from bench.models.contract import without_labels
from bench.models.geneformer.annotator import Geneformer, GeneformerConfig
from bench.models.geneformer.ranks import laid_out, ordered
from bench.models.geneformer.vocabulary import Vocabulary

QUICK = {"epochs": 1, "warmup_steps": 1, "lr": 1e-2}


@pytest.fixture
def made(tiny_geneformer):
    def _made(variant="pretrained", recipe="clean", version="V1", **more) -> Geneformer:
        config = GeneformerConfig(**QUICK | more)
        return Geneformer(config, weights=str(tiny_geneformer(version=version)), variant=variant, recipe=recipe)

    return _made


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_order_company_and_columns_do_not_matter(made, sides, version):
    model = made(version=version, max_tokens=6).fit(sides[0], seed=0)
    with torch.no_grad():  # a network that was hardly trained says nearly the same of all cells
        for layer in model.network_.bert["encoder"]["layer"]:
            layer.attention["self"]["query"].weight /= 40  # attends to all genes, not to one that all cells have
            layer.attention["output"]["dense"].weight *= 20
        model.network_.classifier.weight *= 20
    cells = without_labels(sides[1])[:24].copy()
    together = model.predict_proba(cells)
    assert together.std(axis=0).max() > 1e-3
    near = partial(np.testing.assert_allclose, rtol=0, atol=0.01 * together.std(axis=0).max())
    order = np.random.default_rng(0).permutation(cells.n_obs)
    near(model.predict_proba(cells[order].copy()), together[order])
    near(np.vstack([model.predict_proba(cells[i : i + 1].copy()) for i in range(4)]), together[:4])
    near(model.predict_proba(cells[:, np.random.default_rng(1).permutation(cells.n_vars)].copy()), together)


def test_shuffled_genes_keep_their_ranks_and_change_their_tokens(made, sides):
    plain, shuffled = made(), made("shuffled_genes")
    for model in (plain, shuffled):
        model.begin(sides[0], 0)
    one, other = plain.tokens(sides[0]), shuffled.tokens(sides[0])
    np.testing.assert_array_equal(one.indptr, other.indptr)
    pairs = {*zip(one.data.tolist(), other.data.tolist(), strict=True)}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    assert (one.data != other.data).mean() > 0.9 and other.data.min() >= 2


def test_a_cell_without_a_gene_is_one_hidden_gene_or_none(made, sides):
    cells = without_labels(sides[1])[:3].copy()
    X = cells.X.tolil()
    X[1] = 0
    cells.X = sp.csr_matrix(X)
    for version, tokens in (("V1", [1]), ("V2", [2, 3])):
        model = made(version=version).fit(sides[0], seed=0)
        assert model.tokens(cells)[1].data.tolist() == tokens
        assert np.isfinite(model.predict_proba(cells)).all()
        assert np.isfinite(model.embed(cells)).all()


def test_ranks_of_logarithms_are_those_of_the_counts_behind_them(made, sides):
    logs = sides[0].copy()
    total = np.asarray(logs.X.sum(axis=1))
    logs.X = sp.csr_matrix(logs.X.multiply(10_000 / total))
    logs.X.data = np.log2(1 + logs.X.data)
    logs.uns["bench"] = logs.uns["bench"] | {"values": "log1p"}
    with pytest.raises(BenchError, match="logarithms of an unknown base and total"):
        made().fit(logs, seed=0)
    logs.uns["bench"] |= {"base": 2, "total": 10_000}
    model, other = made(), made()
    model.begin(sides[0], 0), other.begin(logs, 0)
    found, expected = other.tokens(logs), model.tokens(sides[0])
    assert (found.data == expected.data).mean() > 0.999


def test_genes_are_known_by_identifier_first_and_by_any_name(sides):
    names = {"ALIAS": 3, "Gene4": 4}
    vocabulary = Vocabulary(["<pad>", "<mask>", "ENSG1", "ENSG2", "ENSG3"], np.ones(5), names)
    assert vocabulary.columns(["ENSG1", "ensg1", "alias", "Gene4", "ENSG1.2", "X"]).tolist() == [2, 2, 3, 4, -1, -1]
    cells = sides[0][:, :3].copy()
    cells.var_names = ["ALIAS", "ALIAS2", "Gene4"]
    assert vocabulary.columns_of(cells).tolist() == [3, -1, 4]
    assert vocabulary.genes(cells, np.array([3, -1, 4])) == (["ENSG1", "ALIAS", "Gene4"], ["ALIAS", "Gene4"])
    cells.var["ensembl_id"] = ["ENSG1", "ENSG2", "nothing"]
    assert vocabulary.columns_of(cells).tolist() == [2, 3, 4]


def test_genes_that_look_like_those_of_mice_are_refused(made, sides):
    mouse = sides[0].copy()
    mouse.var_names = mouse.var_names.str.capitalize()
    with pytest.raises(BenchError, match="look mouse"):
        made().fit(mouse, seed=0)


def test_ties_keep_the_order_of_tokens_and_columns_of_a_gene_are_added_up():
    X = sp.csr_matrix(np.array([[2.0, 1, 1, 4, 0], [0, 0, 0, 0, 0]]))
    found = ordered(X, np.array([8, 1]), np.array([4, 2, 2, 3, 5]), np.array([np.nan, np.nan, 1, 2, 1, 1]))
    assert found.tokens.tolist() == [2, 3, 4] and found.ends.tolist() == [0, 3, 3]
    assert laid_out(found.tokens, found.ends, 4, (0, 1)).toarray().tolist() == [[0, 2, 3, 1], [0, 1, 0, 0]]
    assert laid_out(found.tokens, found.ends, 2, empty=1).data.tolist() == [2, 3, 1]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_tokens": 65}, "max_tokens=65 should be from 1 to the 64 positions"),
        ({"frozen_layers": 4}, "frozen_layers=4 should be from 0 to 3"),
        ({"dropout": 1.0}, "dropout=1.0 should be"),
        ({"shape": "square"}, "Unknown shape 'square'"),
        ({"precision": "fp8"}, "Unknown precision 'fp8'"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0 should be at least 0"),
    ],
)
def test_settings_that_make_no_sense_are_said(made, sides, settings, said):
    with pytest.raises(BenchError, match=said):
        made(**settings).fit(sides[0], seed=0)


def test_other_layers_and_modes_give_other_embeddings(made, sides):
    cells = without_labels(sides[1])[:8].copy()
    ways = [{}, {"emb_layer": 0}, {"emb_mode": "cell"}]
    found = [made("probe", version="V2", **way).with_network(sides[0], 0).embed(cells) for way in ways]
    assert min(np.abs(a - b).max() for i, a in enumerate(found) for b in found[:i]) > 1e-3
    with pytest.raises(BenchError, match="emb_layer '2'"):
        made("probe", emb_layer=2).with_network(sides[0], 0).embed(cells)
    with pytest.raises(BenchError, match="emb_mode 'mean'"):
        made("probe", version="V2", emb_mode="mean").with_network(sides[0], 0).embed(cells)


def test_weights_of_another_model_are_named_with_what_to_do(sides, tiny_cellplm):
    with pytest.raises(BenchError, match=r"holds weights of cellplm; set the override 'weights' to some of geneformer"):
        Geneformer(weights=str(tiny_cellplm())).fit(sides[0], seed=0)


def test_without_weights_it_says_which_there_are(sides):
    with pytest.raises(BenchError, match=r"geneformer needs weights.*geneformer_quick"):
        Geneformer().fit(sides[0], seed=0)
