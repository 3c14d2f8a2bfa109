"""Masked ranks: Geneformer predicts hidden genes from the order of the others.

Source: Theodoris et al., Nature 2023; the masking is in `bench.models.geneformer.masking`.  Known deviations: Adam
without weight decay and half a cosine, as for all models here (published are AdamW with 0.001 and a linear fall);
batches are drawn whatever the lengths of their cells; dropout on the CPU as said in
`bench.models.layers.packed.attend`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from bench.models.geneformer.masking import MASK_ID, Draws, cross_entropy, masked
from bench.models.geneformer.network import Architecture, GeneformerNetwork
from bench.models.geneformer.own_medians import medians_of
from bench.models.geneformer.packs import Ranked
from bench.models.geneformer.ranks import laid_out
from bench.models.geneformer.recipes import GeneformerPretraining
from bench.models.geneformer.vocabulary import SPECIALS, Vocabulary
from bench.training.device import autocast
from bench.training.store import Cells

STEP, DROPOUT, VALIDATION = range(3)  # what a generator is for


@dataclass(frozen=True)
class Hidden:
    """Cells of which some genes are hidden."""

    shown: np.ndarray  # (n_positions,) tokens
    true: np.ndarray  # likewise
    where: np.ndarray  # (n_positions,) bool: which are to be predicted
    lengths: np.ndarray  # (n_cells,)


@dataclass(frozen=True)
class Part:
    """A micro-batch."""

    hidden: Hidden
    n_predicted: int  # positions of the whole batch
    seed: int  # of dropout


class GeneformerObjective:
    """See `bench.training.objective.Objective`."""

    seeded = ("weights", "cells of a step", "masks", "dropout", "validation cells")

    def __init__(self, recipe: GeneformerPretraining, cells: Cells, device: torch.device):
        self.recipe, self.cells, self.device = recipe, cells, device
        special = SPECIALS[recipe.version]
        genes = tuple(cells.genes)
        unknown = np.full(len(special) + len(genes), np.nan)
        self.vocabulary, self.n_special = Vocabulary([*special, *genes], unknown), len(special)

    def network(self) -> GeneformerNetwork:
        """Return the network with random weights."""
        sizes = {name: getattr(self.recipe, name) for name in ("dim", "depth", "heads", "hidden", "dropout")}
        a = Architecture(len(self.vocabulary.tokens), positions=self.recipe.max_seq_len, **sizes)
        return GeneformerNetwork(a, seed=self.recipe.seed)

    def prepare(self, network: GeneformerNetwork, rows: np.ndarray) -> dict[str, dict]:
        """Do nothing."""
        return {}

    def parts(self, network: GeneformerNetwork, rows: np.ndarray, number: int) -> list[Part]:
        """Return the micro-batches of a step, the cells of each in the order of their lengths."""
        recipe = self.recipe
        chosen = np.random.default_rng([recipe.seed, number]).choice(rows, recipe.batch_size)
        groups = [
            self._hidden(chosen[here], lambda i, here=here: self._rng(STEP, number, here[i]))
            for here in np.arange(recipe.batch_size).reshape(-1, recipe.micro_batch)
        ]
        n_predicted = max(1, sum(int(hidden.where.sum()) for hidden in groups))
        seeds = [int(self._rng(DROPOUT, number, part).integers(2**31)) for part in range(len(groups))]
        return [Part(hidden, n_predicted, seed) for hidden, seed in zip(groups, seeds, strict=True)]

    def loss(self, network: GeneformerNetwork, part: Part) -> Tensor:
        """Return what a micro-batch adds to the mean cross-entropy over the predicted positions."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(part.seed)  # of each micro-batch, so that processes may divide them
            logits, true = self._logits(network, part.hidden)
        return cross_entropy(logits, true, part.n_predicted)

    def read(self, part: Part) -> tuple[int, int]:
        """Return cells and tokens of a micro-batch: of each cell the expressed genes, and in V2 two for its ends."""
        return len(part.hidden.lengths), int(part.hidden.lengths.sum())

    def evaluate(self, network: GeneformerNetwork, rows: np.ndarray) -> dict[str, float]:
        """Return the loss, and how often the gene is right, beside a guess by how common genes are in these cells."""
        counts = 1 + np.bincount(self._ranks(rows).data, minlength=len(self.vocabulary.tokens))
        shares = np.log(counts / counts.sum())
        found = []
        for start in range(0, len(rows), self.recipe.micro_batch):
            here = rows[start : start + self.recipe.micro_batch]
            hidden = self._hidden(here, lambda i, start=start: self._rng(VALIDATION, 0, start + i))
            logits, true = self._logits(network, hidden)
            chance = logits.float().log_softmax(1).gather(1, true[:, None])[:, 0]
            right = logits.argmax(1) == true
            found.append([*(t.double().cpu().numpy() for t in (chance, right)), shares[true.cpu().numpy()]])
        chance, right, guess = (float(np.concatenate(parts).mean()) for parts in zip(*found, strict=True))
        return {"loss": -chance, "accuracy": right, "loss_of_guess": -guess, "explained": 1 - chance / guess}

    def metadata(self) -> dict[str, str]:
        """Return all tokens by their ids, their medians, and what the tensors do not tell."""
        medians = medians_of(self.recipe.selections, tuple(self.cells.genes))
        vocabulary = Vocabulary(self.vocabulary.tokens, np.concatenate([np.full(self.n_special, np.nan), medians]))
        told = {"library": self.recipe.library, "heads": str(self.recipe.heads), "version": self.recipe.version}
        return vocabulary.metadata() | told

    @staticmethod
    def told(point: dict[str, float]) -> str:
        """Return in words what `evaluate` found."""
        return (
            f"cross-entropy {point['loss']:.3f} per hidden gene, {point['loss_of_guess']:.3f} of guessing by how "
            f"common genes are, right {point['accuracy']:.3f}"
        )

    def _ranks(self, rows: np.ndarray) -> sp.csr_matrix:
        stored = self.cells.sparse(rows)  # a cell's genes in the order of their ranks
        tokens, ends = stored.indices + self.n_special, stored.indptr.astype(np.int64)
        return laid_out(tokens, ends, self.recipe.max_seq_len, self.vocabulary.bounds, empty=MASK_ID)

    def _hidden(self, rows: np.ndarray, draw: Callable[[int], np.random.Generator]) -> Hidden:
        """Return cells in the order of their lengths; each has draws of its own."""
        ranks = self._ranks(rows)
        order = np.argsort(np.diff(ranks.indptr), kind="stable")
        ranks, lengths, n_tokens = ranks[order], np.diff(ranks.indptr)[order], len(self.vocabulary.tokens)
        draws = [Draws.of(int(n), n_tokens, draw(i)) for i, n in zip(order, lengths, strict=True)]
        shown, where = masked(ranks.data, Draws.joined(draws))
        return Hidden(shown, ranks.data, where, lengths)

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.recipe.seed, spawn_key=tuple(map(int, key))))

    def _logits(self, network: GeneformerNetwork, hidden: Hidden) -> tuple[Tensor, Tensor]:
        """Return the logits of tokens at the hidden positions, (n, n_tokens), and the true ones."""
        packed = Ranked.packed(hidden.shown.astype(np.int64), hidden.lengths, self.device)
        where = torch.from_numpy(np.flatnonzero(hidden.where)).to(self.device)
        true = torch.from_numpy(hidden.true[hidden.where].astype(np.int64)).to(self.device)
        with autocast(self.device, self.recipe.precision):
            return network.genes_at(network.encode(packed)[where]), true
