"""Geneformer on packed cells beside BertForSequenceClassification of transformers, which pads batches in file order.

Run with: pytest tests/perf/test_perf_geneformer.py --benchmark-only -s
Both have the same weights of V1-10M's layers and the same 32 real cells of a batch, theirs padded to the longest;
hidden states, logits and gradients are compared first.  Without transformers, which the project does not need, theirs
is the same plan in plain torch: whole padded batches and fused attention.  Printed are cells per second by medians of
alternating rounds, in file order and sorted by length; nothing here asserts a time.  Theirs is trained in pieces of a
batch, which changes neither padding nor step.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rates import alternating
from torch import Tensor, nn

from bench.datasets import load
from bench.models.geneformer.embedding import of_cells
from bench.models.geneformer.network import Architecture, GeneformerNetwork
from bench.models.geneformer.packs import Ranks
from bench.models.geneformer.ranks import ordered
from bench.training.schedule import Schedule
from bench.training.step import optimizer_of, training_step

BATCH, ROUNDS, N_CLASSES = 32, 3, 14
SCHEDULE = Schedule(1, BATCH, rate=lambda epoch: 5e-5, weight_decay=0.001, clip=1.0)
AT_ONCE = 4  # padded cells that theirs trains: 32 keep 20 GB for a step
SETTINGS = {  # genes of the vocabulary (0: all), genes of a cell at most, batches
    "most variable genes": (3000, 2048, 1),
    "all genes": (0, 2048, 1),
}


class Plain(nn.Module):
    """The plan of transformers in plain torch, with our network's own weights."""

    def __init__(self, network: GeneformerNetwork):
        super().__init__()
        self.network = network

    def states(self, ids: Tensor, mask: Tensor) -> list[Tensor]:
        """Return all hidden states, (n_cells, longest, dim) each."""
        table, share = self.network.bert["embeddings"], self.network.architecture.dropout
        places = table["position_embeddings"].weight[: ids.shape[1]]
        x = table["word_embeddings"](ids) + places + table["token_type_embeddings"].weight[0]
        found = [F.dropout(table["LayerNorm"](x), share, self.training)]
        for layer in self.network.bert["encoder"]["layer"]:
            x, asked = found[-1], layer.attention["self"]
            q, k, v = (asked[n](x).unflatten(2, (layer.heads, -1)).transpose(1, 2) for n in ("query", "key", "value"))
            attended = F.scaled_dot_product_attention(q, k, v, mask[:, None, None].bool(), share * self.training)
            after, last = layer.attention["output"], layer.output
            out = after["dense"](attended.transpose(1, 2).flatten(2))
            x = after["LayerNorm"](x + F.dropout(out, share, self.training))
            out = last["dense"](F.relu(layer.intermediate["dense"](x)))
            found.append(last["LayerNorm"](x + F.dropout(out, share, self.training)))
        return found

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        """Return logits."""
        pooled = torch.tanh(self.network.bert["pooler"]["dense"](self.states(*inputs)[-1][:, 0]))
        return self.network.classifier(F.dropout(pooled, self.network.architecture.dropout, self.training))


class Transformers(Plain):
    """BertForSequenceClassification with a copy of the weights."""

    def __init__(self, network: GeneformerNetwork):
        nn.Module.__init__(self)
        from transformers import BertConfig, BertForSequenceClassification

        a = network.architecture
        sizes = {"vocab_size": a.n_tokens, "hidden_size": a.dim, "num_hidden_layers": a.depth}
        sizes |= {"num_attention_heads": a.heads, "intermediate_size": a.hidden, "max_position_embeddings": a.positions}
        told = {"hidden_act": "relu", "layer_norm_eps": 1e-12, "num_labels": N_CLASSES}
        share = {"hidden_dropout_prob": a.dropout, "attention_probs_dropout_prob": a.dropout}
        self.bert = BertForSequenceClassification(BertConfig(**sizes, **told, **share))
        self.bert.load_state_dict({n: t for n, t in network.state_dict().items() if not n.startswith("cls.")})

    def states(self, ids: Tensor, mask: Tensor) -> list[Tensor]:
        """Return all hidden states."""
        return self.bert.bert(ids, attention_mask=mask, output_hidden_states=True).hidden_states

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        """Return logits."""
        return self.bert(inputs[0], attention_mask=inputs[1]).logits


def theirs(network: GeneformerNetwork) -> tuple[str, nn.Module]:
    try:
        from transformers import __version__
    except ImportError:
        return "plain torch (transformers is not installed)", Plain(network)
    return f"transformers {__version__}", Transformers(network)


def cells_of(n_genes: int, most: int) -> Ranks:
    """Return the cells of baron in the order of the file, over the genes of largest variance or all of them."""
    adata = load("baron")
    totals = np.asarray(adata.X.sum(axis=1)).ravel()
    variance = np.asarray(adata.X.power(2).mean(axis=0) - np.square(adata.X.mean(axis=0))).ravel()
    columns = np.full(adata.n_vars, -1)
    chosen = np.sort(np.argsort(-variance)[: n_genes or adata.n_vars])
    columns[chosen] = 2 + np.arange(len(chosen))
    medians = np.random.default_rng(0).lognormal(1, 1, 2 + adata.n_vars)
    ranks = ordered(adata.X, totals, columns, medians).ranks(most, empty=1)
    return Ranks(ranks, np.unique(adata.obs["cell_type"].astype(str), return_inverse=True)[1])


def padded(cells: Ranks, rows: np.ndarray) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return ids and mask of a batch, padded to its longest cell, and labels."""
    lengths = np.diff(cells.tokens.indptr)[rows]
    mask = torch.arange(lengths.max()) < torch.from_numpy(lengths)[:, None]
    ids = torch.zeros(mask.shape, dtype=torch.long)
    ids[mask] = torch.from_numpy(cells.tokens[rows].data.astype(np.int64))
    return (ids, mask.long()), torch.from_numpy(cells.labels[rows])


def pieces(cells: Ranks, rows: np.ndarray) -> list[tuple[tuple[Tensor, Tensor], Tensor]]:
    """Return a padded batch in pieces of a few cells."""
    (ids, mask), labels = padded(cells, rows)
    split = zip(ids.split(AT_ONCE), mask.split(AT_ONCE), labels.split(AT_ONCE), strict=True)
    return [((i, m), of) for i, m, of in split]


def packed(cells: Ranks, rows: np.ndarray) -> list[tuple]:
    cpu = torch.device("cpu")
    return [(cells.inputs(part, cpu), cells.targets(part, cpu)) for part in cells.parts(rows, len(rows), cpu)]


def ours_embeds(network: GeneformerNetwork, cells: Ranks, rows: np.ndarray) -> Tensor:
    network.eval()
    with torch.inference_mode():
        told = {"layer": -1, "mode": "cell", "bounded": False}
        return torch.cat([of_cells(network, inputs, **told) for inputs, _ in packed(cells, rows)])


def they_embed(plan: Plain, cells: Ranks, rows: np.ndarray) -> Tensor:
    plan.eval()
    with torch.inference_mode():
        (ids, mask), _ = padded(cells, rows)
        return (plan.states(ids, mask)[-2] * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def compare(network: GeneformerNetwork, plan: Plain, cells: Ranks, rows: np.ndarray) -> float:
    """Return the largest difference of embeddings and logits, after a look at the gradients."""
    order = np.concatenate(cells.parts(rows, len(rows), torch.device("cpu")))
    off = (ours_embeds(network, cells, rows) - they_embed(plan, cells, order)).abs().max().item()
    inputs, labels = padded(cells, order)
    one, other = torch.cat([network.eval()(part) for part, _ in packed(cells, rows)]), plan.eval()(inputs)
    off = max(off, (one - other).abs().max().item())
    losses = [F.cross_entropy(logits, labels) for logits in (one, other)]
    name = "encoder.layer.0.attention.self.query.weight"
    found = []
    for net, loss in zip((network, plan), losses, strict=True):
        net.zero_grad()
        loss.backward()
        found.append(next(p.grad.clone() for n, p in net.named_parameters() if n.endswith(name)))
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3 * found[0].abs().max().item())
    assert off < 1e-4
    return off


@pytest.mark.timeout(3600)  # of a machine that does other things, too
@pytest.mark.parametrize("name", SETTINGS)
def test_cells_per_second_on_the_cpu(name, benchmark, capsys):
    n_genes, most, n_batches = SETTINGS[name]
    cells = cells_of(n_genes, most)
    network = GeneformerNetwork(Architecture(int(cells.tokens.data.max()) + 1, positions=most, predicts=False), seed=0)
    network.classify_into(N_CLASSES, seed=0)
    called, plan = theirs(network)
    off = compare(network, plan, cells, np.arange(4))
    steps = {net: optimizer_of(net, SCHEDULE) for net in (network, plan)}
    if isinstance(plan, Transformers):
        steps[plan] = torch.optim.AdamW(plan.parameters(), lr=5e-5, weight_decay=0.001)
    lengths = np.diff(cells.tokens.indptr)
    spaced = np.linspace(0, len(lengths) - BATCH, n_batches).astype(int)[:, None] + np.arange(BATCH)
    by_length = np.argsort(lengths, kind="stable")
    told = f"\n{name}: {np.median(lengths):.0f} genes in the median, {torch.get_num_threads()} threads; beside {called}"
    told += f", which differs by {off:.0e}"
    for order, batches in {"in file order": spaced, "sorted by length": by_length[spaced]}.items():
        runs = {
            "embedding, ours": lambda b=batches: [ours_embeds(network, cells, rows) for rows in b],
            "embedding, theirs": lambda b=batches: [they_embed(plan, cells, rows) for rows in b],
            "training, ours": lambda b=batches: [
                training_step(network.train(), steps[network], packed(cells, rows), None, clip=1.0) for rows in b
            ],
            "training, theirs": lambda b=batches: [
                training_step(plan.train(), steps[plan], pieces(cells, rows), None, clip=1.0) for rows in b
            ],
        }
        alternating(runs, 1)  # to warm up
        seconds = alternating(runs, ROUNDS)
        for what in ("embedding", "training"):
            mine, other = seconds[f"{what}, ours"], seconds[f"{what}, theirs"]
            n = batches.size
            told += (
                f"\n  {what:<9} {order:<17} ours {n / mine:7.1f} cells/s, theirs {n / other:7.1f}: {other / mine:.2f}x"
            )
    with capsys.disabled():
        print(told)
    benchmark.pedantic(lambda: ours_embeds(network, cells, spaced[0]), rounds=1)
