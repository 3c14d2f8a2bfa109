"""Mistakes that re-implementations of Geneformer have made are misses of its golden cases."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import folder_of

from bench.models.geneformer import embedding, golden, golden_inputs, golden_training, masking, network, ranks
from bench.models.geneformer.network import GeneformerNetwork
from bench.models.geneformer.packs import Ranked
from bench.models.geneformer.vocabulary import Vocabulary
from bench.training import schedule
from bench.training.step import adam
from bench.verify import verify


def missed(name: str) -> bool:
    verdict = next(v for v in verify(folder_of(name), name) if v.case == name)
    return not verdict.passed and (not verdict.reason or "has shape" in verdict.reason)


def without_types(self, packed):
    x = self.bert["embeddings"]["word_embeddings"](packed.genes)
    return self.bert["embeddings"]["LayerNorm"](x + self.bert["embeddings"]["position_embeddings"](packed.places))


def from_one(genes, lengths, device="cpu"):
    packed = all_packed(genes, lengths, device)
    return Ranked(packed.genes, packed.places + 1, packed.lengths)


@pytest.mark.parametrize("eps", [1e-5, 1e-6])
def test_another_eps_of_the_norms_is_a_miss(eps, monkeypatch):
    monkeypatch.setattr(network, "EPS", eps)
    assert missed("geneformer_forward_v1")


MISTAKES = {
    "GELU": ("geneformer_forward_v1", network.F, "relu", F.gelu),
    "no type": ("geneformer_forward_v1", GeneformerNetwork, "embedded", without_types),
    "positions from 1": ("geneformer_forward_v1", golden.Ranked, "packed", from_one),
    "last layer": ("geneformer_embed_v1", embedding, "depth_of", lambda net, layer: net.architecture.depth),
    "<cls> in the mean": (
        "geneformer_embed_v2",
        golden.embedding,
        "of_cells",
        lambda net, p, layer, mode, bounded: embedded(net, p, layer=layer, mode=mode, bounded=False),
    ),
    "no tanh": ("geneformer_classify", network.torch, "tanh", lambda x: x),
    "only <mask> is predicted": ("geneformer_pretrain_v1", masking, "masked", lambda g, d: only_masked(g, d)),
    "loss of a mean": ("geneformer_pretrain_v1", masking, "cross_entropy", lambda logits, true, n: logits.sum() / n),
    "one step ahead": (
        "geneformer_finetune_state",
        golden_training,
        "warmed_up",
        lambda step, n, **told: schedule.warmed_up(step + 1, n, **told),
    ),
    "no decay": ("geneformer_finetune_state", golden_training, "optimizer_of", lambda net, told: adam(net)),
    "nothing frozen": ("geneformer_finetune_state", GeneformerNetwork, "freeze", lambda self, n: None),
    "no clipping": (
        "geneformer_finetune_state",
        golden_training,
        "training_step",
        lambda *a, clip, **told: golden_step(*a, clip=1e9, **told),
    ),
    "no median": ("geneformer_tokenize_v2", golden_inputs, "ordered", lambda X, t, c, m: plain(X, t, c, m * 0 + 1)),
    "a logarithm": ("geneformer_tokenize_v2", golden_inputs, "ordered", lambda X, t, c, m: plain(X.log1p(), t, c, m)),
    "float32": (
        "geneformer_tokenize_v2",
        golden_inputs,
        "ordered",
        lambda X, t, c, m: plain(X, t, c, m.astype(np.float32).astype(float)),
    ),
    "case counts": (
        "geneformer_tokenize_v2",
        Vocabulary,
        "columns",
        lambda self, labels: np.array([self.known.get(label, -1) for label in labels]),
    ),
}
plain, embedded, golden_step, all_masked = (
    ranks.ordered,
    embedding.of_cells,
    golden_training.training_step,
    masking.masked,
)
all_packed = Ranked.packed


def only_masked(genes, draws):
    shown, where = all_masked(genes, draws)
    return shown, where & (shown == masking.MASK_ID)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_a_miss(mistake, monkeypatch):
    name, owner, attribute, wrong = MISTAKES[mistake]
    folder_of(name)
    monkeypatch.setattr(owner, attribute, wrong)
    assert missed(name)


def test_an_untied_output_would_show_in_the_gradients(monkeypatch):
    apart = lambda self, x: self.cls["predictions"](x, self.bert["embeddings"]["word_embeddings"].weight.detach())  # noqa: E731
    monkeypatch.setattr(GeneformerNetwork, "genes_at", apart)
    assert missed("geneformer_pretrain_v1")


def test_padding_that_is_attended_to_is_a_miss(monkeypatch):
    padded = lambda case, ids, mask: spread_out(case, ids, torch.ones_like(mask), mask.bool())  # noqa: E731
    original = golden.packed

    def spread_out(case, ids, mask, there):
        packed, _ = original(case, ids, mask)
        return packed, there

    monkeypatch.setattr(golden, "packed", padded)
    monkeypatch.setattr(golden, "spread", lambda found, there: found.unflatten(0, there.shape))
    assert missed("geneformer_forward_v1")


def test_a_norm_before_the_layer_is_a_miss(monkeypatch):
    def before(self, x, packed, only_first=False):
        after, last = self.attention["output"], self.output
        x = x + after["dense"](self._attended(after["LayerNorm"](x), packed, only_first))
        return x + last["dense"](F.relu(self.intermediate["dense"](last["LayerNorm"](x))))

    monkeypatch.setattr(network.Layer, "forward", before)
    assert missed("geneformer_forward_v1")


def test_a_copy_that_differs_and_a_weight_too_many_are_refused():
    weights = {"cls.predictions.decoder.bias": torch.zeros(3), "cls.predictions.bias": torch.ones(3)}
    with pytest.raises(Exception, match="trained apart"):
        golden.without_copies(weights)
