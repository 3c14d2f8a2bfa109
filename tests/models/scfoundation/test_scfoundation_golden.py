"""Mistakes that are easily made are misses of scFoundation's golden cases."""

import pytest
import torch
from conftest import folder_of

from bench.models.layers import post_norm
from bench.models.scfoundation import classifier, encoder, golden_training, network
from bench.verify import verify


def first(name: str):
    return next(verdict for verdict in verify(folder_of(name), name) if verdict.case == name)


def slope(monkeypatch):
    original = torch.nn.functional.leaky_relu
    monkeypatch.setattr(encoder.F, "leaky_relu", lambda x, slope: original(x, 0.01))


def gelu(monkeypatch):
    monkeypatch.setattr(post_norm.F, "relu", torch.nn.functional.gelu)


def key_maximum_of_each_cell(monkeypatch):
    original = network.ScFoundationNetwork.__init__
    monkeypatch.setattr(
        network.ScFoundationNetwork,
        "__init__",
        lambda self, *args, **more: original(self, *args, **more | {"stabiliser": "per_cell"}),
    )


def padding_left_out(monkeypatch):
    monkeypatch.setattr(
        classifier.ScFoundationClassifier,
        "_pooled",
        lambda self, tokens, longest: encoder.largest(self.encode(tokens), tokens.lengths_on_device),
    )


def capped_weights(monkeypatch):
    original = classifier.class_weights
    monkeypatch.setattr(golden_training, "class_weights", lambda counts, kind: original(counts, "capped"))


def usual_batch_norm(monkeypatch):
    original = classifier.BatchNorm.__init__

    def init(self, dim):
        original(self, dim)
        self.eps = 1e-5

    monkeypatch.setattr(classifier.BatchNorm, "__init__", init)


def last_layer(monkeypatch):
    def train_only(self, which, quiet=False):
        self.requires_grad_(False)
        self.fc1.requires_grad_(True)
        self.encoder["transformer_encoder"][-1].requires_grad_(True)

    monkeypatch.setattr(classifier.ScFoundationClassifier, "train_only", train_only)


MISTAKES = {
    "slope of the value embedding": (slope, "scfoundation_token_embed"),
    "activation of the encoder": (gelu, "scfoundation_forward"),
    "maximum of the keys of each cell": (key_maximum_of_each_cell, "scfoundation_forward"),
    "padding left out of the maximum": (padding_left_out, "scfoundation_finetune"),
    "class weights with min": (capped_weights, "scfoundation_finetune"),
    "epsilon of the batch norm": (usual_batch_norm, "scfoundation_finetune"),
    "last layer trained": (last_layer, "scfoundation_finetune"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_a_miss(mistake, monkeypatch):
    make, name = MISTAKES[mistake]
    make(monkeypatch)
    assert not first(name).passed
