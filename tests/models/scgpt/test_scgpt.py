"""The network has the published sizes, equals PyTorch's own encoder, and packing changes nothing."""

from dataclasses import replace
from functools import partial
from unittest import mock

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import nn

from bench.core.errors import BenchError
from bench.models.layers import packed as packing
from bench.models.layers import sequences
from bench.models.layers.packed import Packed, attend
from bench.models.layers.products import CellProducts, in_tiles
from bench.models.layers.sequences import Sequences
from bench.models.scgpt.network import HIDDEN_VALUE, LARGEST_VALUE, Architecture, ScGPTNetwork, plain_name
from bench.training.step import training_step

CLS_ID = 1
SMALL = Architecture(n_tokens=400, dim=24, depth=3, heads=3, hidden=20)
LENGTHS = {
    "one cell": [7],
    "only the first token": [1],
    "empty cells among others": [1, 9, 1, 300, 1],
    "equal": [12] * 5,
    "similar": [20, 22, 21, 20, 23],
    "wildly different": [2, 350, 1, 40, 3, 349, 120],
}


def cells(lengths: list[int], seed: int = 0) -> sp.csr_matrix:
    """Return the bins of random genes of cells with so many positions, the first token included."""
    rng = np.random.default_rng(seed)
    genes = [3 + rng.choice(SMALL.n_tokens - 3, n - 1, replace=False) for n in lengths]
    bins = rng.integers(1, 51, sum(lengths) - len(lengths)).astype(np.uint8)
    ends = np.cumsum([0, *(n - 1 for n in lengths)])
    return sp.csr_matrix((bins, np.concatenate(genes), ends), (len(lengths), SMALL.n_tokens))


def made(architecture: Architecture = SMALL, n_classes: int = 4) -> ScGPTNetwork:
    """Return a network in whose every tensor there is something, and in whose attention not all is alike."""
    network, rng = ScGPTNetwork(architecture, seed=1), torch.Generator().manual_seed(9)
    network.classify_into(n_classes, seed=2)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=rng) * (parameter.ndim == 1)
            parameter *= 3 if "in_proj" in name or "embedding" in name else 1
    return network.eval()


def gradients(network: ScGPTNetwork, parts: list[tuple[Packed, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return the gradients of a training step's loss, added up over parts of a batch."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
    training_step(network, optimizer, parts, None)
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def spread(packed: Packed, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (n_positions, ...) as (n_cells, longest, ...), and where there is something."""
    there = torch.arange(max(packed.lengths)) < torch.tensor(packed.lengths)[:, None]
    array = values.new_zeros(*there.shape, *values.shape[1:])
    array[there] = values
    return array, there


# Sizes and names


@pytest.mark.parametrize(("n_classes", "published"), [(21, 51_342_358), (18, 51_340_819)])
def test_numbers_of_weights_are_the_published_ones(n_classes, published):
    with torch.device("meta"):
        network = ScGPTNetwork(Architecture(mvc=False))
        network.classify_into(n_classes, seed=0)
    assert sum(p.numel() for p in network.parameters()) == published
    for name in ("encoder", "value_encoder"):
        network.get_submodule(name).requires_grad_(False)
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert trained == 19_999_766 - (21 - n_classes) * (512 + 1)


def test_all_layouts_of_published_names_become_those_of_plain_layers():
    network, layer = ScGPTNetwork(SMALL), "transformer_encoder.layers.2"
    plain = list(network.state_dict())
    flash = [name.replace("self_attn.in_proj_", "self_attn.Wqkv.") for name in plain]
    wrapped = [name.replace(".self_attn.", ".self_attn._impl.") for name in flash]
    assert f"{layer}.self_attn.Wqkv.weight" in flash
    assert {f"{layer}.self_attn._impl.Wqkv.bias", f"{layer}.self_attn._impl.out_proj.bias"} <= set(wrapped)
    for layout in (plain, flash, wrapped):
        assert [plain_name(name) for name in layout] == plain


def test_sizes_are_read_from_a_checkpoint():
    for architecture in (SMALL, replace(SMALL, mvc=False), replace(SMALL, depth=11, dropout=0.2)):
        assert Architecture.of(ScGPTNetwork(architecture).state_dict(), 3) == architecture


@pytest.mark.parametrize("name", ["encoder.embedding.weight", "transformer_encoder.layers.0.linear1.weight"])
def test_tensors_of_another_model_are_refused(name):
    tensors = ScGPTNetwork(SMALL).state_dict()
    without = {key: tensor for key, tensor in tensors.items() if key != name}
    with pytest.raises(BenchError, match=rf"no scGPT checkpoint: no usable .*{name}.*among its tensors"):
        Architecture.of(without, 3)
    with pytest.raises(BenchError, match="no scGPT checkpoint"):
        Architecture.of({}, 3)
    with pytest.raises(BenchError, match="no scGPT checkpoint"):
        Architecture.of(tensors | {"encoder.embedding.weight": torch.zeros(3)}, 3)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(BenchError, match=r"dim=24 should be a multiple of heads=7\."):
        Architecture.of(ScGPTNetwork(SMALL).state_dict(), 7)


# Random weights


def test_equal_seeds_make_equal_networks_and_nobody_elses_numbers_change():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, again, other = (ScGPTNetwork(SMALL, seed=seed) for seed in (1, 1, 2))
    for network in (one, again, other):
        network.classify_into(3, seed=7)
    assert torch.equal(torch.get_rng_state(), before)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    differ = {name for name, tensor in one.state_dict().items() if not torch.equal(tensor, other.state_dict()[name])}
    assert {"encoder.embedding.weight", *(f"transformer_encoder.layers.{i}.linear1.weight" for i in range(3))} <= differ


@pytest.mark.parametrize("equal", [True, False])
def test_layers_begin_equal_only_where_asked_and_are_trained_each_for_itself(equal):
    network = ScGPTNetwork(SMALL, equal_layers=equal)
    network.classify_into(3, seed=0)
    first, *others = network.transformer_encoder["layers"]
    for layer in others:
        for name in ("self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear1.weight", "linear2.bias"):
            assert torch.equal(layer.state_dict()[name], first.state_dict()[name]) == equal, name
    packed = Packed.of(cells([5, 9]), CLS_ID)
    optimizer = torch.optim.Adam(network.parameters())
    training_step(network, optimizer, [(packed, torch.tensor([0, 1]))], None)
    assert not torch.equal(first.linear1.weight, others[0].linear1.weight)


# Packing


def test_packed_cells_begin_with_the_first_token_and_keep_the_order_of_genes():
    bins = sp.csr_matrix((np.array([9, 50, 3], np.uint8), [7, 5, 6], [0, 2, 2, 3]), (3, 8))
    packed = Packed.of(bins, CLS_ID)
    assert packed.genes.tolist() == [CLS_ID, 7, 5, CLS_ID, CLS_ID, 6]
    assert packed.bins.tolist() == [0, 9, 50, 0, 0, 3]
    assert packed.lengths == (3, 1, 2)
    assert packed.first.tolist() == [0, 3, 4]


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_groups_hold_all_positions_once_and_waste_little(lengths):
    for order in (lengths, sorted(lengths)):
        packed, start = Packed.of(cells(order), CLS_ID), 0
        assert sum(group.n_cells for group in packed.groups) == len(order)
        for group in packed.groups:
            end = start + group.n_cells
            of = order[start:end]
            assert (group.longest, group.n_positions) == (max(of), sum(of))
            assert max(of) ** 2 - min(of) ** 2 <= packing.CORNER["cpu"]
            assert (group.place is None) == (group.mask is None) == (len(set(of)) == 1)
            x = torch.randn(sum(of), 2)
            padded = group.pad(x)
            assert padded.shape == (len(of), max(of), 2)
            assert torch.equal(group.unpad(padded), x)
            begin = np.cumsum(of) - of
            assert all(torch.equal(padded[i, :n], x[b : b + n]) for i, (b, n) in enumerate(zip(begin, of, strict=True)))
            start = end
    if lengths == LENGTHS["similar"]:
        assert len(Packed.of(cells(lengths), CLS_ID).groups) == 1
    if lengths == LENGTHS["wildly different"]:
        assert len(Packed.of(cells(sorted(lengths)), CLS_ID).groups) == 3


@pytest.mark.parametrize("limit", [1, 100, 400, 2**17])
@pytest.mark.parametrize("most", [1, 3, 32])
def test_parts_hold_every_cell_once_within_the_limits(limit, most, monkeypatch):
    monkeypatch.setitem(sequences.POSITIONS, "cpu", limit)
    lengths = np.random.default_rng(3).integers(1, 200, 60)
    data = Sequences(cells(lengths.tolist()), np.zeros(60, int), CLS_ID)
    rows = np.random.default_rng(4).permutation(60)[:40]
    parts = data.parts(rows, most, torch.device("cpu"))
    assert sorted(np.concatenate(parts)) == sorted(rows)
    for part in parts:
        assert 0 < len(part) <= most
        assert lengths[part].sum() <= limit or len(part) == 1
        assert data.inputs(part, torch.device("cpu")).lengths == tuple(lengths[part])
    assert (np.diff(lengths[np.concatenate(parts)]) >= 0).all()
    assert limit < 2**17 or len(parts) == -(-40 // most)  # as few as there can be


# What a cell sees


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_encoder_equals_that_of_pytorch_on_padded_cells(lengths):
    network, packed = made(), Packed.of(cells(lengths), CLS_ID)
    layer = nn.TransformerEncoderLayer(24, 3, 20, 0.0, "relu", batch_first=True, norm_first=False)
    theirs = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    theirs.load_state_dict(network.transformer_encoder.state_dict())
    x, there = spread(packed, network.gene_embedding(packed) + network.value_embedding(packed))
    expected = theirs(x, src_key_padding_mask=~there)
    torch.testing.assert_close(network.encode(packed), expected[there], rtol=0, atol=1e-5)
    torch.testing.assert_close(network.embed(packed), expected[:, 0], rtol=0, atol=1e-5)
    torch.testing.assert_close(network(packed), network.cls_decoder(expected[:, 0]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_a_cell_gives_the_same_alone_and_among_others_in_any_order(lengths):
    network, bins = made(), cells(lengths)
    with torch.inference_mode():
        together = network(Packed.of(bins, CLS_ID))
        for order in (np.arange(len(lengths))[::-1], np.random.default_rng(0).permutation(len(lengths))):
            found = network(Packed.of(bins[order], CLS_ID))
            torch.testing.assert_close(found, together[order.copy()], rtol=0, atol=5e-6)
        alone = torch.cat([network(Packed.of(bins[i], CLS_ID)) for i in range(len(lengths))])
    torch.testing.assert_close(alone, together, rtol=0, atol=5e-6)


def test_order_of_genes_does_not_matter_and_their_bins_do():
    network, bins = made(), cells([30])
    order = np.random.default_rng(0).permutation(29)
    turned = sp.csr_matrix((bins.data[order], bins.indices[order], bins.indptr), bins.shape)
    mixed = sp.csr_matrix((bins.data[order], bins.indices, bins.indptr), bins.shape)
    with torch.inference_mode():
        expected, same, other = (network(Packed.of(b, CLS_ID)) for b in (bins, turned, mixed))
    torch.testing.assert_close(same, expected, rtol=0, atol=5e-6)
    assert (other - expected).abs().max() > 1e-2


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("limit", [1, 60, 2**17])
def test_gradients_of_any_division_into_parts_are_those_of_the_batch(lengths, limit, monkeypatch):
    monkeypatch.setitem(sequences.POSITIONS, "cpu", limit)
    network, device = made(replace(SMALL, dropout=0.0)), torch.device("cpu")
    data = Sequences(cells(lengths), np.arange(len(lengths)) % 4, CLS_ID)
    whole = Packed.of(data.tokens, CLS_ID), torch.as_tensor(data.labels)
    expected = {name: grad.clone() for name, grad in gradients(network, [whole]).items()}
    parts = data.parts(np.arange(len(lengths)), len(lengths), device)
    found = gradients(network, [(data.inputs(part, device), data.targets(part, device)) for part in parts])
    assert found.keys() == expected.keys()
    for name, grad in expected.items():
        scale = max(grad.abs().max().item(), 1e-3)
        torch.testing.assert_close(found[name], grad, rtol=1e-4, atol=1e-5 * scale, msg=lambda m, n=name: f"{n}: {m}")


def test_no_gene_that_a_batch_lacks_gets_a_gradient():
    network, bins = made(), cells([5, 9])
    grad = gradients(network, [(Packed.of(bins, CLS_ID), torch.tensor([0, 1]))])["encoder.embedding.weight"]
    there = {CLS_ID, *bins.indices.tolist()}
    assert set(grad.abs().sum(1).nonzero()[:, 0].tolist()) == there


# Values


def test_values_are_clamped_from_above_and_each_is_encoded_as_by_itself():
    network, packed = made(), Packed.of(cells([40, 12]), CLS_ID)
    encode = network.value_encoder.encode
    assert torch.equal(encode(torch.tensor([LARGEST_VALUE])), encode(torch.tensor([600.0])))
    assert not torch.equal(encode(torch.tensor([LARGEST_VALUE])), encode(torch.tensor([511.0])))
    torch.testing.assert_close(network.value_embedding(packed), encode(packed.bins.float()), rtol=0, atol=1e-6)


def test_hidden_values_are_predicted_at_every_position_without_knowing_them():
    network, packed = made(), Packed.of(cells([40, 1, 12]), CLS_ID)
    hidden = torch.arange(len(packed.bins)) % 3 == 1
    shown = replace(packed, bins=packed.bins.masked_fill(hidden, HIDDEN_VALUE))
    with torch.inference_mode():
        told, of_cell = network.masked_values(packed)
        mlm, mvc = network.masked_values(shown)
        without = replace(SMALL, mvc=False)
        assert ScGPTNetwork(without).eval().masked_values(shown)[1] is None
        alone = network.masked_values(Packed.of(cells([40, 1, 12])[:1], CLS_ID))
    assert mlm.shape == mvc.shape == (53,)
    assert not torch.allclose(told[hidden], mlm[hidden], atol=1e-3)
    torch.testing.assert_close(torch.stack(alone), torch.stack([told[:40], of_cell[:40]]), rtol=0, atol=1e-4)


def attend_to(q, kv, packed: Packed, dropout: float, only_first: bool) -> torch.Tensor:
    return attend(kv, packed, dropout, q) if only_first else attend(torch.cat([q[:, None], kv], 1), packed, dropout)


@pytest.mark.parametrize("only_first", [True, False])
@pytest.mark.parametrize("lengths", [(40, 40), (7, 30, 33), (1, 1)])
def test_attention_by_products_has_the_values_and_gradients_of_the_fused_one(lengths, only_first, monkeypatch):
    packed, generator = Packed.of(cells(list(lengths)), CLS_ID), torch.Generator().manual_seed(0)
    draw = partial(torch.randn, generator=generator, dtype=torch.bfloat16)
    q, kv = draw(len(lengths) if only_first else sum(lengths), 4, 16), draw(sum(lengths), 2, 4, 16)
    gradient = draw(len(q), 64)

    def run(dtype, most):
        monkeypatch.setitem(packing.PRODUCTS, "cpu", most)
        inputs = [t.to(dtype).requires_grad_() for t in (q, kv)]
        with mock.patch.object(CellProducts, "apply", wraps=CellProducts.apply) as by_products:
            out = attend_to(*inputs, packed, 0.0, only_first)
        assert by_products.called == (dtype == torch.bfloat16 and most > 0 and not only_first)
        out.backward(gradient.to(dtype))
        return [out.detach(), *(t.grad for t in inputs)]

    exact, products, fused = run(torch.float64, 400), run(torch.bfloat16, 400), run(torch.bfloat16, 0)
    for right, ours, theirs in zip(exact, products, fused, strict=True):
        error, other = ((t.double() - right).abs().max().item() for t in (ours, theirs))
        assert error <= max(2 * other, 2**-7 * right.abs().max().item())


@pytest.mark.parametrize("scale", [0.1, 3.0, 60.0])
def test_products_of_any_size_are_attention_whose_gradient_is_that_of_plain_formulas(scale):
    lengths, heads, dim = (5, 70, 33), 2, 16
    generator = torch.Generator().manual_seed(0)
    draw = partial(torch.randn, generator=generator)
    rows = in_tiles(sum(lengths))
    qkv, gradient = (draw(rows, 3, heads, dim) * scale).bfloat16(), draw(rows, heads * dim).bfloat16()
    qkv[:5, 0] = -qkv[:5, 1]  # of this cell large products are negative, so that its sums could vanish
    kept = [(torch.rand(heads, n, 1, generator=generator) > 0.2).bfloat16() * 1.25 for n in lengths]
    gradient[sum(lengths) :] = 0

    def plain(qkv):
        out = []
        for part, keep in zip(qkv.split([*lengths, rows - sum(lengths)]), kept, strict=False):
            q, k, v = part.permute(1, 2, 0, 3)
            weights = ((q * dim**-0.5) @ k.transpose(1, 2)).softmax(2)
            out.append((weights @ (v * keep.to(v.dtype))).transpose(0, 1).flatten(1))
        return torch.cat([*out, qkv.new_zeros(rows - sum(lengths), heads * dim)])

    def run(attention, dtype):
        given = qkv.detach().to(dtype, copy=True).requires_grad_()
        out = attention(given)
        out.backward(gradient.to(dtype))
        return out.detach().double(), given.grad.double()

    exact, usual = run(plain, torch.float64), run(plain, torch.bfloat16)
    found = run(lambda given: CellProducts.apply(given, lengths, kept), torch.bfloat16)
    for right, ours, theirs in zip(exact, found, usual, strict=True):
        assert not ours[sum(lengths) :].any()
        assert (ours - right).norm() <= 1.5 * (theirs - right).norm()


# Dropout


def weights_after_dropout(n: int, dropout: float, only_first: bool = False, heads: int = 4) -> torch.Tensor:
    """Return the (n_heads, n_queries, n) weights of a cell whose keys are all alike."""
    packed = Packed.of(cells([n]), CLS_ID)
    q = torch.randn(1 if only_first else n, heads, n)
    k = torch.zeros(n, heads, n)
    v = torch.eye(n)[:, None].expand(n, heads, n)
    out = attend_to(q, torch.stack([k, v], 1), packed, dropout, only_first)
    return out.unflatten(1, (heads, n)).transpose(0, 1)


@pytest.mark.parametrize("only_first", [True, False])
def test_dropped_keys_are_the_same_for_all_queries_of_a_head_and_the_mean_stays(only_first):
    torch.manual_seed(0)
    n, dropout = 50, 0.2
    found = torch.stack([weights_after_dropout(n, dropout, only_first) for _ in range(200)])
    assert found.shape == (200, 4, 1 if only_first else n, n)
    kept = found[:, :, :1] > 0
    torch.testing.assert_close(found, kept / (n * (1 - dropout)) * torch.ones_like(found), rtol=1e-5, atol=1e-7)
    rate = kept.double().mean().item()
    assert rate == pytest.approx(1 - dropout, abs=4 * (dropout * (1 - dropout) / kept.numel()) ** 0.5)
    assert found.mean().item() == pytest.approx(1 / n, rel=0.01)
    assert not torch.equal(kept[:, 0], kept[:, 1])
    assert torch.equal(weights_after_dropout(n, 0.0, only_first), torch.full((4, found.shape[2], n), 1 / n))


def test_cells_of_a_group_drop_different_keys():
    torch.manual_seed(0)
    packed = Packed.of(cells([20, 20, 19]), CLS_ID)
    assert len(packed.groups) == 1
    kv = torch.stack(
        [torch.zeros(59, 2, 20), torch.cat([torch.eye(20)[:n] for n in packed.lengths])[:, None].expand(59, 2, 20)], 1
    )
    out = attend_to(torch.zeros(59, 2, 20), kv, packed, 0.5, False)[packed.first]
    assert not torch.equal(out[0] > 0, out[1] > 0)
    assert not out[2].view(2, 20)[:, 19].any()


def test_dropout_is_off_in_evaluation_and_on_in_training():
    network, packed = made(replace(SMALL, dropout=0.5)), Packed.of(cells([30, 12, 31]), CLS_ID)
    plain = made(replace(SMALL, dropout=0.0))
    with torch.inference_mode():
        expected = network(packed)
        assert torch.equal(network(packed), expected)
        torch.testing.assert_close(plain.train()(packed), expected, rtol=0, atol=1e-6)
        network.train()
        torch.manual_seed(1)
        first, second = network(packed), network(packed)
        torch.manual_seed(1)
        again = network(packed)
    assert torch.equal(first, again)
    assert (first - second).abs().max() > 1e-2
    assert (first - expected).abs().max() > 1e-2


def test_attention_alone_is_dropped_too():
    """Every other dropout off, two passes in training still differ."""
    network, packed = made(), Packed.of(cells([30, 12]), CLS_ID)
    network.train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    with torch.inference_mode():
        assert (network.embed(packed) - network.embed(packed)).abs().max() > 1e-3
        for layer in network.transformer_encoder["layers"]:
            layer.self_attn.share = 0.0
        assert torch.equal(network.embed(packed), network.embed(packed))


# Training


def test_a_few_steps_learn_a_small_batch():
    network, packed = made(replace(SMALL, dropout=0.0)), Packed.of(cells([9, 30, 12, 20]), CLS_ID)
    optimizer, labels = torch.optim.Adam(network.parameters(), lr=1e-3, eps=1e-4), torch.arange(4)
    losses = [training_step(network, optimizer, [(packed, labels)], None, clip=1.0) for _ in range(40)]
    assert losses[-1] < 0.2 < losses[0]
    with torch.inference_mode():
        assert F.cross_entropy(network(packed), labels).item() < 0.2
