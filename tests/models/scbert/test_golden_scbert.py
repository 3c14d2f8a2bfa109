"""Mistakes that are easily made with scBERT are beyond the tolerances of its golden cases."""

import json

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from golden_cases import misses_as_said, on_cpu, patched, tell

from bench.models.layers import favor_sums
from bench.models.layers.favor_sums import KeySummary
from bench.models.layers.projection import draw_projection
from bench.models.scbert import golden, golden_inputs, golden_training, masking
from bench.models.scbert.annotator import ScBERT, ScBERTConfig
from bench.models.scbert.network import ScBERTNetwork
from bench.training.schedule import cosine_warm_restarts
from bench.verify.case import Case


def test_the_schedule_that_is_verified_is_the_one_that_trains():
    assert golden_training.cosine_warm_restarts is cosine_warm_restarts
    rate = ScBERT(ScBERTConfig(lr=1e-4)).schedule().rate
    assert [rate(epoch) for epoch in range(40)] == [cosine_warm_restarts(e, peak=1e-4, floor=1e-6) for e in range(40)]


def test_a_missing_redraw_interval_is_a_miss(own_cases):
    where = own_cases("scbert_redraw")
    settings = json.loads((where / "scbert_redraw.json").read_text())["hyperparameters"]
    tell(where, "scbert_redraw", hyperparameters=settings | {"feature_redraw_interval": 500})
    assert "redraws every 500 passes" in on_cpu(where, "scbert_redraw").reason


# Mistakes named in the golden set


def _maximum_per_cell_and_head(_):
    return lambda self, _stabiliser: (
        self.sums * (self.reference - self.top).exp()[..., None, None] + favor_sums.EPS * self.values,
        self.top.amax(1),
    )


def _add_with_maximum_of_each_key(self, cells, k, v, **_):
    dash = k @ self.projection
    E = (dash - dash.amax(-1, keepdim=True) - favor_sums.half_norm(k)[..., None]).exp()
    augmented = favor_sums.with_ones(v)
    self.sums[cells] += E.transpose(2, 3) @ augmented
    self.values[cells] += augmented.sum(2, keepdim=True)


def _key_maximum_per_row(monkeypatch):
    monkeypatch.setattr(KeySummary, "add", _add_with_maximum_of_each_key)
    monkeypatch.setattr(KeySummary, "context", lambda self, _: (self.sums + favor_sums.EPS * self.values, None))


def _scaled_by_the_root(monkeypatch):
    monkeypatch.setattr(favor_sums, "scaled", lambda p, dtype: (p * p.shape[1] ** -0.5).to(dtype).T.contiguous())
    monkeypatch.setattr(favor_sums, "half_norm", lambda x: x.square().sum(-1) / x.shape[-1] / 2)


def _other_projection(monkeypatch):
    load = golden.load_into

    def _load(network, weights):
        audit = load(network, weights)
        for number, layer in enumerate(network.layers):
            projection = layer[0]["fn"].projection
            projection.copy_(draw_projection(*projection.shape, torch.Generator().manual_seed(number)))
        return audit

    monkeypatch.setattr(golden, "load_into", _load)


def _head_without_relu(monkeypatch):
    monkeypatch.setattr(torch.nn.functional, "relu", lambda x: x)


SENSITIVITY = {  # mistakes named in the golden set, and how far it says that they move the logits
    "key_max_per_row": _key_maximum_per_row,
    "key_max_per_cell_and_head": patched(KeySummary, "context", _maximum_per_cell_and_head),
    "key_max_per_cell": patched(KeySummary, "context", lambda context: lambda self, _: context(self, "per_cell")),
    "no_eps": patched(favor_sums, "EPS", lambda _: 0.0),
    "scale_d^-0.5": _scaled_by_the_root,
    "gelu_tanh": patched(torch.nn.functional, "gelu", lambda gelu: lambda x: gelu(x, approximate="tanh")),
    "other_random_projection": _other_projection,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "output"), [("scbert_pretrain", "output.logits"), ("scbert_classify", "output.logits_batch5")]
)
@pytest.mark.parametrize("mistake", SENSITIVITY)
def test_a_named_mistake_is_a_miss_of_the_size_that_the_golden_set_says(mistake, name, output, own_cases, monkeypatch):
    where = own_cases(name)
    SENSITIVITY[mistake](monkeypatch)
    if mistake == "other_random_projection":  # any projection is another one
        assert not on_cpu(where, name).passed
    else:
        misses_as_said(where, name, output, mistake)


# Others


def _of_training_step(change_of):
    return lambda step: (
        lambda network, optimizer, parts, weights, **more: step(*change_of(network, optimizer, parts, weights), **more)
    )


MISTAKES = {  # case, mistake
    "unweighted_loss": (
        "scbert_finetune",
        patched(golden_training, "training_step", _of_training_step(lambda n, o, p, w: (n, o, p, torch.ones_like(w)))),
    ),
    "square roots of the class weights": (
        "scbert_finetune",
        patched(golden_training, "training_step", _of_training_step(lambda n, o, p, w: (n, o, p, w.sqrt()))),
    ),
    "head trained alone": (
        "scbert_finetune",
        patched(golden_training, "training_step", _of_training_step(lambda n, o, p, w: (_frozen(n), o, p, w))),
    ),
    "second_to_last_layer_instead_of_last": (
        "scbert_finetune",
        lambda m: m.setattr(ScBERTNetwork, "layers", property(lambda n: n.performer["net"]["layers"][:-1])),
    ),
    "head without ReLU": ("scbert_classify", _head_without_relu),
    "most common bin with zeros": (
        "scbert_mask",
        patched(
            masking,
            "most_common_bin",
            lambda _: lambda ids: torch.stack([(ids == t).sum(1) for t in range(6)], 1).argmax(1),
        ),
    ),
    "number of masked positions in exact arithmetic": (
        "scbert_mask",
        patched(masking, "selected_count", lambda _: lambda k, n: (k * 15 + 99).div(100, rounding_mode="floor")),
    ),
    "visible positions not in the loss": (
        "scbert_mask",
        patched(masking, "mask", lambda mask: lambda *a: _labels_where_replaced(mask(*a))),
    ),
    "all seven ids compete in the restricted accuracy": (
        "scbert_mask",
        patched(masking, "expressed_prediction", lambda _: lambda logits: logits.argmax(-1)),
    ),
    "eight in ten hidden": ("scbert_mask", patched(masking, "REPLACED", lambda _: 0.8)),
    "schedule begins at its peak": (
        "scbert_schedule",
        patched(golden_training, "cosine_warm_restarts", lambda rate: lambda step, **more: rate(step + 5, **more)),
    ),
    "no warm-up in later cycles": (
        "scbert_schedule",
        patched(
            golden_training,
            "cosine_warm_restarts",
            lambda rate: lambda step, **more: max(rate(step, **more), more["peak"] / 2),
        ),
    ),
    "peaks do not fall": (
        "scbert_schedule",
        patched(
            golden_training, "cosine_warm_restarts", lambda rate: lambda step, **more: rate(step, **more | {"gamma": 1})
        ),
    ),
    "library size before the alignment": (
        "scbert_preprocess",
        patched(golden_inputs, "align", lambda align: _aligned_after_normalising(align)),
    ),
    "last column of a repeated symbol": (
        "scbert_preprocess",
        patched(
            golden_inputs, "align", lambda align: lambda X, genes, reference: align(X[:, ::-1], genes[::-1], reference)
        ),
    ),
    "tokens rounded": (
        "scbert_preprocess",
        patched(golden_inputs, "tokens", lambda tokens: lambda X: tokens(sp.csr_matrix(np.round(X.toarray())))),
    ),
    "natural logarithm": (
        "scbert_preprocess",
        patched(golden_inputs, "log1p_cp10k", lambda log: lambda X, base: log(X, base=np.e)),
    ),
    "counter is 1 after a redraw": (
        "scbert_redraw",
        patched(ScBERTNetwork, "count_pass", lambda count: lambda self, seed: _count_from_one(count, self, seed)),
    ),
    "rows of unit length": (
        "scbert_redraw",
        patched(
            golden,
            "projection_from",
            lambda make: lambda blocks, norms: make(blocks, norms / norms.norm(dim=1)[:, None]),
        ),
    ),
    "gene2vec shifted by a gene": (
        "scbert_embed",
        patched(Case, "weights", lambda weights: lambda self: _shifted(weights(self))),
    ),
    "final norm left out": (
        "scbert_embed",
        patched(Case, "weights", lambda weights: lambda self: weights(self) | {"norm.bias": torch.zeros(200)}),
    ),
}


def _labels_where_replaced(masked):
    labels = masked.labels.masked_fill(~masked.replaced, masking.MASK)
    return masking.Masked(masked.tokens, labels, masked.selected, masked.replaced)


def _aligned_after_normalising(align):
    def _align(X, genes, reference):
        total = np.asarray(X.sum(axis=1)).ravel()
        return align(sp.csr_matrix(sp.diags(1 / np.maximum(total, 1)) @ X), genes, reference)

    return _align


def _count_from_one(count, network, seed):
    due = count(network, seed)
    if due:
        network.performer.calls_since_last_redraw.fill_(1)
    return due


def _shifted(weights):
    return weights | {"pos_emb.emb.weight": weights["pos_emb.emb.weight"].roll(1, 0)}


def _frozen(network):
    network.layers.requires_grad_(False)
    return network


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_a_miss(mistake, own_cases, monkeypatch):
    name, make = MISTAKES[mistake]
    where = own_cases(name)
    make(monkeypatch)
    assert not on_cpu(where, name).passed
