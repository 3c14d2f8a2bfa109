"""The network has the published names and sizes, and its short cuts change nothing."""

import os

import pytest
import torch

from bench.core.errors import BenchError
from bench.models.layers import favor_sums
from bench.models.layers.performer import REDRAW_INTERVAL
from bench.models.scbert.network import MASK, Architecture, ScBERTNetwork

SMALL = Architecture(n_genes=40, dim=24, depth=2, heads=3, dim_head=8, n_features=16)
LAYER = ["0.norm.weight", "0.norm.bias", "0.fn.fast_attention.projection_matrix", "0.fn.to_q.weight"]
LAYER += ["0.fn.to_k.weight", "0.fn.to_v.weight", "0.fn.to_out.weight", "0.fn.to_out.bias"]
LAYER += ["1.norm.weight", "1.norm.bias"] + [f"1.fn.fn.{w}.{part}" for w in ("w1", "w2") for part in ("weight", "bias")]
PUBLISHED = ["token_emb.weight", "pos_emb.emb.weight", "performer.calls_since_last_redraw"]
PUBLISHED += [f"performer.net.layers.{i}.{name}" for i in range(6) for name in LAYER]
PUBLISHED += ["norm.weight", "norm.bias", "to_out.weight", "to_out.bias"]
COUNTER = "performer.calls_since_last_redraw"


def ids(n_cells=5, n_genes=40, seed=0) -> torch.Tensor:
    """Return token ids with the appended 0, some of them masked."""
    found = torch.randint(0, MASK + 1, (n_cells, n_genes + 1), generator=torch.Generator().manual_seed(seed))
    found[:, -1] = 0
    return found


def made(architecture=SMALL, **options) -> ScBERTNetwork:
    """Return a network in whose every tensor there is something."""
    network = ScBERTNetwork(architecture, **options)
    rng = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1 or parameter.dtype == torch.float64:
                parameter += torch.randn(parameter.shape, generator=rng) * 0.3
        for layer in network.layers:  # queries and keys of some length, so that stabilisers matter
            layer[0]["fn"].to_q.weight *= 4
            layer[0]["fn"].to_k.weight *= 4
    return network.eval()


def n_weights(parameters) -> int:
    return sum(p.numel() for p in parameters)


@pytest.fixture(scope="module")
def true_size() -> ScBERTNetwork:
    return ScBERTNetwork(Architecture())


# Names and sizes


def test_names_are_the_91_of_the_published_checkpoint(true_size):
    assert len(PUBLISHED) == 91
    assert list(true_size.state_dict()) == PUBLISHED
    assert true_size.state_dict()["pos_emb.emb.weight"].dtype == torch.float64
    assert true_size.state_dict()[COUNTER].shape == ()
    assert true_size.state_dict()[COUNTER].dtype == torch.int64


def test_without_gene2vec_one_name_is_missing():
    assert PUBLISHED[1] == "pos_emb.emb.weight"
    names = list(ScBERTNetwork(Architecture(n_genes=3, dim=8, gene2vec=False)).state_dict())
    assert names == PUBLISHED[:1] + PUBLISHED[2:]


def test_numbers_of_weights_are_the_published_ones(true_size):
    assert n_weights(p for p in true_size.parameters() if p.requires_grad) == 5_007_207
    assert n_weights(true_size.pos_emb.parameters()) == 3_381_400
    assert not any(p.requires_grad for p in true_size.pos_emb.parameters())
    assert n_weights(true_size.layers[0].parameters()) == 834_000
    tuned = ScBERTNetwork(Architecture())
    tuned.classify_into(11, seed=0)
    assert n_weights(tuned.to_out.parameters()) == 8_724_180
    tuned.requires_grad_(False)
    for module in (tuned.layers[-1], tuned.norm, tuned.to_out):
        module.requires_grad_(True)
    assert n_weights(p for p in tuned.parameters() if p.requires_grad) == 9_558_580


def test_sizes_are_read_from_a_checkpoint(true_size):
    assert Architecture.of(true_size.state_dict()) == Architecture()
    assert Architecture.of(ScBERTNetwork(SMALL).state_dict()) == SMALL
    tuned = ScBERTNetwork(SMALL)
    tuned.classify_into(3, seed=0)
    assert Architecture.of(tuned.state_dict()) == SMALL
    without = ScBERTNetwork(Architecture(40, 24, 2, 3, 8, 16, gene2vec=False))
    assert not Architecture.of(without.state_dict()).gene2vec
    without.classify_into(3, seed=0)
    assert Architecture.of(without.state_dict()).n_genes == 40


@pytest.mark.parametrize("name", ["token_emb.weight", "performer.net.layers.0.0.fn.to_q.weight"])
def test_tensors_of_another_model_are_refused(name):
    tensors = ScBERTNetwork(SMALL).state_dict()
    left = {key: tensor for key, tensor in tensors.items() if key != name}
    with pytest.raises(BenchError, match=rf"no scBERT checkpoint: no usable .*{name}.*among its tensors"):
        Architecture.of(left)
    with pytest.raises(BenchError, match="no scBERT checkpoint"):
        Architecture.of({})
    with pytest.raises(BenchError, match="no scBERT checkpoint"):
        Architecture.of(
            tensors | {name: torch.zeros(3)} if name == "token_emb.weight" else {"norm.weight": tensors[name]}
        )


def test_unknown_stabiliser_is_refused_with_the_right_ones():
    with pytest.raises(BenchError, match=r"Unknown stabiliser 'per_row'\. .*batch, per_cell"):
        ScBERTNetwork(SMALL, stabiliser="per_row")


# Random numbers


def test_equal_seeds_make_equal_networks_and_nobody_elses_numbers_change():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, again, other = (ScBERTNetwork(SMALL, seed=seed) for seed in (1, 1, 2))
    for network in (one, again, other):
        network.classify_into(3, seed=7)
    one.count_pass(3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)  # what was drawn elsewhere does not matter
    late = ScBERTNetwork(SMALL, seed=1)
    late.classify_into(3, seed=7)
    for name, tensor in one.state_dict().items():
        if name != COUNTER:
            assert torch.equal(tensor, again.state_dict()[name]), name
            assert torch.equal(tensor, late.state_dict()[name]), name
    differ = {name for name, tensor in one.state_dict().items() if not torch.equal(tensor, other.state_dict()[name])}
    assert {"token_emb.weight", *(f"performer.net.layers.{i}.{LAYER[2]}" for i in (0, 1))} <= differ


def test_random_features_differ_from_layer_to_layer_and_heads_from_seed_to_seed():
    network = ScBERTNetwork(SMALL)
    first, second = (layer[0]["fn"].projection for layer in network.layers)
    assert not torch.equal(first, second)
    heads = []
    for seed in (0, 1):
        network.classify_into(3, seed=seed)
        heads.append(network.to_out.fc1.weight)
    assert not torch.equal(*heads)


# What a position sees


def test_shapes_of_all_outputs():
    network = made()
    with torch.inference_mode():
        assert network.embed(ids()).shape == network.encode(ids()).shape == (5, 41, 24)
        assert network(ids()).shape == (5, 41, 7)
        network.classify_into(3, seed=0)
        assert network(ids()).shape == (5, 3)


def test_appended_position_has_no_gene_vector_and_the_sum_is_rounded_once():
    network = ScBERTNetwork(SMALL)
    network.pos_emb["emb"].weight[:-1] = torch.rand(40, 24, dtype=torch.float64)
    tokens, vectors = network.token_emb.weight.double(), network.pos_emb["emb"].weight
    expected = (tokens[ids()] + vectors).float()
    assert torch.equal(network.embed(ids()), expected)
    assert torch.equal(network.embed(ids())[:, -1], network.token_emb.weight[0].expand(5, 24))
    without = ScBERTNetwork(Architecture(40, 24, 2, 3, 8, 16, gene2vec=False))
    assert torch.equal(without.embed(ids()), without.token_emb.weight[ids()])


def test_without_gene2vec_positions_with_equal_tokens_are_the_same():
    network = made(Architecture(40, 24, 2, 3, 8, 16, gene2vec=False))
    with torch.inference_mode():
        encodings = network.encode(ids(1))[0]
    for token in range(MASK + 1):
        alike = encodings[ids(1)[0] == token]
        torch.testing.assert_close(alike, alike[:1].expand_as(alike), rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_classes", [None, 3])
def test_per_cell_does_not_depend_on_the_batch_and_the_published_stabiliser_does(n_classes):
    difference = {}
    for stabiliser in ("batch", "per_cell"):
        network = made(stabiliser=stabiliser)
        if n_classes:
            network.classify_into(n_classes, seed=0)
        for trained in (False, True):
            with torch.set_grad_enabled(trained):
                alone = torch.cat([network(cell) for cell in ids().split(1)])
                difference[stabiliser, trained] = (network(ids()) - alone).abs().max().item()
    assert max(difference["per_cell", trained] for trained in (False, True)) < 2e-6
    assert min(difference["batch", trained] for trained in (False, True)) > 1e-4


def test_order_of_the_cells_in_a_batch_does_not_matter():
    network, order = made(), torch.tensor([3, 0, 4, 1, 2])
    with torch.inference_mode():
        torch.testing.assert_close(network(ids()[order]), network(ids())[order], rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [1, 3000, favor_sums.CPU_BLOCK])
@pytest.mark.parametrize("stabiliser", ["batch", "per_cell"])
def test_the_path_in_blocks_is_the_path_with_a_gradient(stabiliser, size, monkeypatch):
    monkeypatch.setattr(favor_sums, "CPU_BLOCK", size)
    architecture = Architecture(n_genes=200, dim=24, depth=2, heads=3, dim_head=8, n_features=16)
    network, tokens = made(architecture, stabiliser=stabiliser), ids(5, 200)
    with torch.no_grad():
        by_blocks = network(tokens)
    trained = network(tokens)
    assert trained.requires_grad
    assert not by_blocks.requires_grad
    torch.testing.assert_close(by_blocks, trained.detach(), rtol=0, atol=5e-6)


def test_frozen_layers_below_a_trained_one_keep_nothing_for_a_gradient_and_give_the_same():
    network = made()
    expected = network(ids()).detach()
    network.requires_grad_(False)
    for module in (network.layers[-1], network.norm, network.to_out):
        module.requires_grad_(True)
    out = network(ids())
    torch.testing.assert_close(out.detach(), expected, rtol=0, atol=5e-6)
    out.sum().backward()
    names = {name for name, p in network.named_parameters() if p.grad is not None}
    assert names == {
        n for n, _ in network.named_parameters() if n.startswith(("performer.net.layers.1", "norm", "to_"))
    }


# The short cut through the first layer


@pytest.fixture
def shortcut(monkeypatch):
    """Return a network with and one without the short cut, and their outputs for some token ids."""
    architecture = Architecture(n_genes=200, dim=24, depth=2, heads=3, dim_head=8, n_features=16)

    def _shortcut(stabiliser="batch", size=3000):
        monkeypatch.setattr(favor_sums, "CPU_BLOCK", size)
        networks = [made(architecture, stabiliser=stabiliser) for _ in range(2)]
        networks[0].shortcut, networks[1].shortcut = True, False
        return networks

    return _shortcut


def sparse(n_cells=4, n_genes=200, share=0.1, seed=0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return ids(n_cells, n_genes, seed) * (torch.rand(n_cells, n_genes + 1, generator=rng) < share)


def assert_equal_outputs(networks, tokens, tolerance=5e-6):
    with torch.inference_mode():
        with_shortcut, without = (network(tokens) for network in networks)
    torch.testing.assert_close(with_shortcut, without, rtol=0, atol=tolerance)
    return with_shortcut


@pytest.mark.parametrize("stabiliser", ["batch", "per_cell"])
@pytest.mark.parametrize("size", [1, favor_sums.CPU_BLOCK])
@pytest.mark.parametrize("share", [0, 0.02, 0.1, 1])
def test_short_cut_changes_nothing(share, size, stabiliser, shortcut):
    assert_equal_outputs(shortcut(stabiliser, size), sparse(share=share))


def test_short_cut_is_used_for_many_genes_alone():
    assert ScBERTNetwork(Architecture(n_genes=16_906, dim=8, depth=1)).shortcut
    assert not ScBERTNetwork(SMALL).shortcut


@pytest.mark.slow
def test_short_cut_follows_every_change_of_weights(shortcut):
    networks = shortcut()
    seen = [assert_equal_outputs(networks, sparse())]
    names = ("token_emb", "pos_emb", "0.norm", "to_k", "to_v", "to_q")
    for name in names:
        for network in networks:
            for key, parameter in network.named_parameters():
                if name in key:
                    with torch.no_grad():
                        parameter *= 1.2
        seen.append(assert_equal_outputs(networks, sparse()))
        assert not torch.allclose(seen[-1], seen[-2], rtol=0, atol=1e-6), name
    for network in networks:
        network.performer.calls_since_last_redraw.fill_(REDRAW_INTERVAL)
        assert network.count_pass(3)
    seen.append(assert_equal_outputs(networks, sparse()))
    assert not torch.allclose(seen[-1], seen[-2], rtol=0, atol=1e-6)
    other = made(networks[0].architecture)
    for network in networks:
        network.load_state_dict(other.state_dict())
    assert_equal_outputs(networks, sparse())


@pytest.mark.skipif(
    "ATEN_CPU_CAPABILITY" in os.environ and "ONEDNN_MAX_CPU_ISA" not in os.environ,
    reason="kernels and oneDNN are told of different processors, which PyTorch 2.13 refuses in half precision",
)
def test_what_the_short_cut_keeps_is_as_exact_as_it_would_be_without_half_precision_before(shortcut):
    networks = shortcut()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        half = networks[0](sparse()).float()  # the first to need the sums
    exact = assert_equal_outputs(networks, sparse())
    assert not torch.equal(half, exact)
    torch.testing.assert_close(half, exact, rtol=0, atol=0.05)


def test_short_cut_follows_steps_of_an_optimiser(shortcut):
    networks = shortcut()
    assert_equal_outputs(networks, sparse())
    for network in networks:
        optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-2)
        network(sparse()).square().sum().backward()
        optimizer.step()
    assert_equal_outputs(networks, sparse(seed=1), 2e-4)  # steps differ by rounding


def test_short_cut_where_the_largest_key_belongs_to_a_gene_that_is_expressed(shortcut):
    """Its key of token 0 is taken out of the sums, and must not count in the maximum either."""
    networks = shortcut()
    for network in networks:
        network.pos_emb["emb"].weight[7] *= 30
        with torch.no_grad():
            network.token_emb.weight[1:] -= 10 * network.pos_emb["emb"].weight[7].float().sign()
    tokens = sparse()
    for token in (0, 3):
        tokens[:, 7] = token
        assert_equal_outputs(networks, tokens, 2e-5)


def test_short_cut_of_a_network_with_another_number_of_positions_than_it_says(shortcut):
    """Without gene2vec the weights do not say how many genes there are, and any number may be asked for."""
    architecture = Architecture(n_genes=200, dim=24, depth=2, heads=3, dim_head=8, n_features=16, gene2vec=False)
    networks = [made(architecture) for _ in range(2)]
    networks[0].shortcut, networks[1].shortcut = True, False
    for n_genes in (200, 150, 260):
        assert_equal_outputs(networks, sparse(n_genes=n_genes))


# Random features are redrawn


def test_features_are_redrawn_on_every_1001st_pass():
    network = ScBERTNetwork(SMALL)
    kept = [layer[0]["fn"].projection.clone() for layer in network.layers]
    redrawn = [number for number in range(2, 2005) if network.count_pass(seed=number)]
    assert redrawn == [1002, 2003]
    assert network.state_dict()[COUNTER] == 1
    for before, layer in zip(kept, network.layers, strict=True):
        now = layer[0]["fn"].projection
        assert not torch.equal(now, before)
        rows = now / now.norm(dim=1, keepdim=True)
        torch.testing.assert_close(rows[:8] @ rows[:8].T, torch.eye(8), rtol=0, atol=1e-5)


def test_a_redraw_depends_on_its_seed_and_on_nothing_else():
    found = []
    for seed in (3, 3, 4):
        network = ScBERTNetwork(SMALL, seed=len(found))
        network.performer.calls_since_last_redraw.fill_(REDRAW_INTERVAL)
        assert network.count_pass(seed)
        found.append(torch.stack([layer[0]["fn"].projection for layer in network.layers]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert not torch.equal(found[0][0], found[0][1])


def test_counting_goes_on_from_a_checkpoint_and_prediction_does_not_count():
    network = ScBERTNetwork(SMALL)
    network.performer.calls_since_last_redraw.fill_(REDRAW_INTERVAL - 1)
    other = ScBERTNetwork(SMALL)
    other.load_state_dict(network.state_dict())
    with torch.inference_mode():
        other(ids())
    assert [other.count_pass(seed=0) for _ in range(3)] == [False, True, False]
