"""Mistakes that are easily made with scGPT are beyond the tolerances of its golden cases."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from golden_cases import misses_as_said, on_cpu, patched

from bench.models.layers import packed
from bench.models.layers.packed import Packed
from bench.models.scgpt import binning, golden, golden_inputs, golden_training
from bench.models.scgpt.network import ScGPTNetwork
from bench.verify.case import Case

SENSITIVITY = {  # mistakes named in the golden set: case, output, mistake
    "query_and_key_swapped": (
        "scgpt_forward",
        "output.cls_output",
        patched(Case, "weights", lambda weights: lambda self: _swapped(weights(self))),
    ),
    "adam_eps_1e-8": (
        "scgpt_finetune",
        "output.loss",
        patched(torch.optim, "Adam", lambda adam: lambda parameters, eps: adam(parameters, eps=1e-8)),
    ),
    "no_clipping": (
        "scgpt_finetune",
        "output.loss",
        patched(golden_training, "training_step", lambda step: lambda *a, clip, **more: step(*a, clip=1e9, **more)),
    ),
}


def _swapped(weights):
    swapped = {}
    for name, tensor in weights.items():
        q, k, v = tensor.chunk(3) if "in_proj" in name else (None,) * 3
        swapped[name] = tensor if q is None else torch.cat([k, q, v])
    return swapped


@pytest.mark.parametrize("mistake", SENSITIVITY)
def test_a_named_mistake_is_a_miss_of_the_size_that_the_golden_set_says(mistake, own_cases, monkeypatch):
    name, output, make = SENSITIVITY[mistake]
    where = own_cases(name)
    make(monkeypatch)
    misses_as_said(where, name, output, mistake)


MISTAKES = {  # case, mistake
    "attention projections dropped without a word": (
        "scgpt_forward_keys_flash",
        patched(golden, "load_into", lambda load: lambda n, weights, rename: _what_fits(load, n, weights)),
    ),
    "flags of hidden values left out": (
        "scgpt_mvc",
        patched(ScGPTNetwork, "value_embedding", lambda embed: lambda self, p: embed(self, _nothing_hidden(p))),
    ),
    "values predicted from genes before their norm": (
        "scgpt_mvc",
        patched(ScGPTNetwork, "gene_embedding", lambda _: lambda self, p: self.encoder["embedding"](p.genes)),
    ),
    "cell embedding from the second position": (
        "scgpt_forward",
        patched(Packed, "first", lambda first: property(lambda self: first.func(self) + 1)),
    ),
    "padding attended to": (
        "scgpt_forward",
        patched(packed, "_group", lambda group: lambda *a: replace(group(*a), mask=None)),
    ),
    "numbers drawn for ties alone": (
        "scgpt_binning",
        patched(binning, "quantile_bins", lambda bins: lambda X, draw, n=51: _for_ties_alone(bins, X, draw)),
    ),
    "edges a hundredth too high": (
        "scgpt_binning",
        patched(binning, "edges", lambda edges: lambda values, n=51: edges(values, n) * 1.01),
    ),
    "long cells cut to their first genes": (
        "scgpt_tokenize",
        patched(binning, "_draw", lambda draw: lambda *a: lambda row: _First()),
    ),
    "similarity of a cell to itself counts": (
        "scgpt_losses",
        patched(torch.Tensor, "fill_diagonal_", lambda _: lambda self, value: self),
    ),
}


def _what_fits(load, network, weights):
    """Load as those do who keep "what matches"."""
    fitting = {name: t for name, t in weights.items() if name in network.state_dict()}
    return load(network, fitting, allow_missing=["*in_proj*"])


def _nothing_hidden(cells):
    return Packed(cells.genes, cells.bins.clamp(min=0), cells.lengths)


def _for_ties_alone(bins, X, draw):
    generator = draw(0)
    low, high = bins(X, lambda row: golden_inputs._Always(0.999_999)), bins(X, lambda row: golden_inputs._Always(0.0))
    found = high.copy()
    found[low < high] = np.ceil(low + generator.random_sample((low < high).sum()) * (high - low)[low < high])
    return found


class _First:
    def choice(self, n, size, replace):
        return np.arange(size)


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_a_miss(mistake, own_cases, monkeypatch):
    name, make = MISTAKES[mistake]
    where = own_cases(name)
    make(monkeypatch)
    assert not on_cpu(where, name).passed
