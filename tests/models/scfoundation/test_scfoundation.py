"""scFoundation's network and inputs: what depends on what, and what each part costs the others."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from conftest import folder_of

from bench.core.errors import BenchError
from bench.models.scfoundation.architecture import Architecture
from bench.models.scfoundation.classifier import ScFoundationClassifier, class_weights
from bench.models.scfoundation.inputs import Expressed, Tokens, depth_tokens, normalised, with_depth
from bench.models.scfoundation.network import ScFoundationNetwork
from bench.models.scfoundation.vocabulary import N_GENES, published_genes
from bench.preprocess import align

A = Architecture(120, 16, 3, 2, 24, 12, 2, 2, 8, 16, 8, dropout=0.0)


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(0)
    X = rng.poisson(rng.gamma(0.3, 3, (6, 1)) * rng.gamma(0.5, 2, (1, 120))) + np.eye(6, 120)
    return sp.csr_matrix(X)


@pytest.fixture(scope="module")
def network():
    return ScFoundationNetwork(A, seed=3).eval()


def values_of(counts, resolution="t4"):
    values, totals = normalised(counts)
    return with_depth(values, depth_tokens(totals, resolution))


def embedded(network, values):
    with torch.no_grad():
        return network.embed(Tokens.of(values, A.pad_id))


def nothing():
    return torch.zeros(0, dtype=torch.long), torch.zeros(0)


# Inputs


def test_columns_in_another_order_and_unknown_genes_change_nothing(counts):
    genes = [f"G{i}" for i in range(120)]
    order = np.random.default_rng(1).permutation(130)
    wider = sp.csr_matrix(sp.hstack([counts, sp.csr_matrix(np.full((6, 10), 7.0))]))
    names = [*genes, *(f"X{i}" for i in range(10))]
    found = align(wider[:, order], [names[i] for i in order], genes)
    assert (values_of(found) != values_of(align(counts, genes, genes))).nnz == 0


@pytest.mark.parametrize(("resolution", "t"), [("t4", 4.0), ("t3.5", 3.5), ("f2", np.log10(200)), ("a1", 3.0)])
def test_t_is_a_depth_and_s_that_of_the_cell(resolution, t):
    np.testing.assert_allclose(depth_tokens(np.array([100.0]), resolution), [[t, 2.0]])


def test_a_cell_of_one_count_or_none_keeps_both_tokens_of_depth():
    found = depth_tokens(np.array([0.0, 1.0]), "f1")
    assert (found > 0).all()
    assert np.isneginf(depth_tokens(np.zeros(1), "f1", literal=True)).all()


def test_a_depth_that_is_none_is_a_sentence():
    with pytest.raises(BenchError, match=r"resolution='4' is none; expected t and a logarithm"):
        depth_tokens(np.ones(1), "4")


def test_the_published_list_is_in_its_own_order(monkeypatch):
    folder_of("scfoundation_preprocess")  # skipped where its list cannot be had
    genes = published_genes()
    assert len(genes) == len(set(genes)) == N_GENES
    assert genes.index("AMDHD2") < genes.index("AMD1")
    assert genes[102:104] == ["ABL2", "ABLIM1"]


# Network


def test_an_embedding_depends_on_its_cell_alone(network, counts):
    together, alone = embedded(network, values_of(counts)), []
    alone = torch.cat([embedded(network, values_of(counts[i])) for i in range(6)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_both_tokens_of_depth_matter(network, counts):
    first = embedded(network, values_of(counts))
    deeper = embedded(network, values_of(counts, "t5"))
    assert ((first - deeper).abs().amax(1) > 1e-3).all()
    more = embedded(network, values_of(3 * counts))  # the same values, another S
    assert ((first - more).abs().amax(1) > 1e-3).all()


def test_the_decoder_sees_genes_that_are_not_expressed(network, counts):
    tokens = Tokens.of(values_of(counts), A.pad_id)
    with torch.no_grad():
        found = network(tokens, *nothing())
        network.pos_emb.weight[60] += 1.0  # of a gene, wherever it is not expressed
        changed = network(tokens, *nothing())
        network.pos_emb.weight[60] -= 1.0
    silent = torch.from_numpy(counts[:, 60].toarray()[:, 0] == 0)
    assert silent.any()
    assert ((found - changed)[silent, 60].abs() > 1e-4).all()


def test_long_cells_are_computed_again_for_the_gradient_with_the_same_result(network, counts, monkeypatch):
    tokens, found = Tokens.of(values_of(counts), A.pad_id), []
    for limit in (10**6, 10):
        monkeypatch.setattr("bench.models.scfoundation.network.LONG", limit)
        network.zero_grad()
        network(tokens, *nothing()).square().mean().backward()
        found.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_padding_is_that_of_a_padded_transformer_of_torch(network, counts):
    """What stands at padded positions, as in the published batch: read by none, with the row of an ordinary gene."""
    tokens = Tokens.of(values_of(counts), A.pad_id)
    longest = max(tokens.lengths)
    there = torch.arange(longest) < torch.tensor(tokens.lengths)[:, None]
    x = (network.token_emb.emb_pad.weight + network.pos_emb.weight[A.pad_id]).expand(6, longest, -1).clone()
    x[there] = network.token_emb(tokens.bins) + network.pos_emb(tokens.genes)
    with torch.no_grad():
        for ours in network.encoder["transformer_encoder"]:
            layer = torch.nn.TransformerEncoderLayer(16, 2, 24, 0.0, batch_first=True).train()
            layer.load_state_dict(ours.state_dict())
            x = layer(x, src_key_padding_mask=~there)
        x = network.encoder["norm"](x)
        found = network.encode(tokens, A.pad_id)
    torch.testing.assert_close(found[: len(tokens.genes)], x[there], atol=1e-5, rtol=1e-5)
    shorter = ~there[:, -1]
    torch.testing.assert_close(found[len(tokens.genes) :][shorter], x[shorter, -1], atol=1e-5, rtol=1e-5)


# Classifier


def test_logits_depend_on_the_batch_by_padding_alone(counts):
    cells = Expressed(with_depth(normalised(counts)[0]), np.zeros(6, int), A.pad_id)
    for pads in (True, False):
        network = ScFoundationClassifier(A, 3, seed=1, pads=pads).eval()
        with torch.no_grad():
            together = network(cells.inputs(np.arange(6), torch.device("cpu")))
            alone = torch.cat([network(cells.inputs(np.array([i]), torch.device("cpu"))) for i in range(6)])
        assert ((together - alone).abs().max() < 1e-5) == (not pads)


def test_one_layer_and_the_head_are_trained_and_quiet_layers_drop_nothing():
    network = ScFoundationClassifier(A, 3)
    network.train_only("one_layer", quiet=True)
    trained = {
        name.split(".")[2]
        for name, p in network.named_parameters()
        if (p.requires_grad and "layer" in name) or (p.requires_grad and name.startswith("encoder"))
    }
    assert trained == {"1"}
    network.train()
    assert [layer.training for layer in network.encoder["transformer_encoder"]] == [False, True, False]
    assert network.fc1.training and network.norm.training


def test_a_batch_of_one_cell_is_normalised_by_what_was_seen(counts):
    cells = Expressed(with_depth(normalised(counts)[0]), np.zeros(6, int), A.pad_id)
    network = ScFoundationClassifier(A, 3)
    one = cells.inputs(np.array([2]), torch.device("cpu"))
    torch.testing.assert_close(network.train()(one), network.eval()(one))


def test_class_weights_as_printed_lift_the_rarest_alone():
    found = class_weights(np.array([1000, 100, 10]), "as_printed")
    np.testing.assert_allclose(found, np.array([50, 50, 100]) / 200)
    np.testing.assert_allclose(class_weights(np.array([1000, 100, 10]), "capped"), np.array([1, 10, 50]) / 61)
    assert class_weights(np.array([1, 2]), "none") is None
    with pytest.raises(BenchError, match="class_weights"):
        class_weights(np.array([1, 2]), "other")
