"""Mistakes that a re-implementation of CellPLM makes easily are misses of golden cases, of the size that these say."""

import json

import pytest
import torch
from conftest import folder_of

from bench.core.families import imported
from bench.models.cellplm import attention, finetuning, golden_inputs, golden_latent, golden_training, passes
from bench.models.cellplm.network import CellPLMNetwork
from bench.verify import cases
from bench.verify.case import Case


def compared(name: str, **settings):
    case = Case(folder_of(name), name)
    case.settings |= settings
    imported(cases()[name])(case)
    return case.compared


def said(name: str) -> dict:
    return json.loads((folder_of(name) / f"{name}.json").read_text())["sensitivity"]


def patch(target, name, make):
    return lambda monkeypatch: monkeypatch.setattr(target, name, make(getattr(target, name)))


def no_allocation(forward):
    return lambda x: torch.ones_like(x) if x.shape[-1] == 1 else forward(x)


FORWARD = {  # mistake, as the golden set calls it
    "no_log1p": patch(torch, "log1p", lambda _: lambda x: x),
    "log2": patch(torch, "log1p", lambda log: lambda x: log(x) / torch.tensor(2.0).log()),
    "no_clamp": patch(torch.Tensor, "clamp", lambda _: lambda x, *a: x),
    "no_allocation": patch(torch, "sigmoid", no_allocation),
    "gelu_tanh": patch(torch.nn.functional, "gelu", lambda gelu: lambda x, approximate: gelu(x, approximate="tanh")),
}


@pytest.mark.parametrize("mistake", FORWARD)
def test_a_named_mistake_in_a_pass_has_the_size_that_the_golden_set_says(mistake, monkeypatch):
    FORWARD[mistake](monkeypatch)
    found = compared("cellplm_forward")["output.latent"]
    assert found.share > 1
    assert found.error == pytest.approx(said("cellplm_forward")[mistake], rel=0.02)


def test_other_heads_are_a_miss():
    found = compared("cellplm_forward", n_heads=4)["output.latent"]
    assert found.error == pytest.approx(said("cellplm_forward")["heads_4"], rel=0.02)


def rates(**changed):
    return patch(golden_training, "Rates", lambda rates: lambda **told: rates(**told | changed))


def whole_reset(optimizer):
    class Resets(optimizer):
        def __init__(self, groups, **more):
            super().__init__(groups, **more)
            self.network = RESET[0]

        def zero_grad(self):
            self.network.zero_grad()

    return Resets


RESET: list[CellPLMNetwork] = []


def gradient_reset(monkeypatch):
    begin = finetuning.Trainer.__init__

    def _begin(self, network, *a, **more):
        RESET[:] = [network]
        begin(self, network, *a, **more)

    monkeypatch.setattr(finetuning.Trainer, "__init__", _begin)
    monkeypatch.setattr(torch.optim, "AdamW", whole_reset(torch.optim.AdamW))


TRAINING = {
    "no clipping": rates(clip=1e9),
    "clip at 1": rates(clip=1.0),
    "no warm-up": rates(warmup=0),
    "gene vectors at the full rate": rates(embedder_lr=5e-3),
    "the norm's gradient is cleared": gradient_reset,
    "the norm is trained": lambda monkeypatch: monkeypatch.setattr(
        finetuning.Trainer.__init__, "__kwdefaults__", {"norm_is_trained": True}
    ),
    "loss over all cells": patch(
        finetuning.Trainer,
        "step",
        lambda step: lambda self, b: step(self, finetuning.Batch(b.cells, b.labels, b.trains | True)),
    ),
}


@pytest.mark.parametrize("name", ["cellplm_finetune", "cellplm_finetune_masked"])
@pytest.mark.parametrize("mistake", TRAINING)
def test_a_mistake_in_fine_tuning_is_a_miss(mistake, name, monkeypatch):
    TRAINING[mistake](monkeypatch)
    try:
        found = compared(name)
    except Exception as error:  # of more cells than the case compares
        assert "has shape" in str(error)
        return
    assert found["output.grad_norm"].share > 1 or found["output.final_logits"].share > 1


@pytest.mark.parametrize(
    ("name", "mistake"),
    [
        ("cellplm_mask", patch(passes, "chosen", lambda _: lambda order, rate: order < int(rate * len(order)))),
        ("cellplm_pretrain", patch(golden_latent, "weight_of_divergence", lambda of: lambda step: of(step + 1))),
        ("cellplm_context", patch(attention, "EPS", lambda _: 0.1)),
    ],
)
def test_other_mistakes_are_misses(name, mistake, monkeypatch):
    mistake(monkeypatch)
    monkeypatch.setattr(golden_inputs, "chosen", passes.chosen)
    assert any(found.share > 1 for found in compared(name).values())
