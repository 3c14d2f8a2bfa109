"""Masked tokens: scBERT predicts the class of hidden expression.

Source: PROTOCOL 1.4 and 1.5 of the paper.  Known deviation: random features are counted per step, not per micro-batch.
"""

import json
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.models.scbert.gene2vec import gene2vec
from bench.models.scbert.masking import accuracy_where, mask_seeded, masked_loss, selected_count
from bench.models.scbert.network import MASK, Architecture, ScBERTNetwork
from bench.models.scbert.recipes import ScBERTPretraining
from bench.training.device import autocast
from bench.training.store import Cells

Part = tuple[Tensor, int, Tensor]  # tokens of a micro-batch, its seed, selected positions of the whole batch


class ScBERTObjective:
    """See `bench.training.objective.Objective`."""

    seeded = ("weights", "random features", "cells of a step", "masks", "validation cells", "gene2vec")

    def __init__(self, recipe: ScBERTPretraining, cells: Cells, device: torch.device):
        self.recipe, self.cells, self.device = recipe, cells, device

    def network(self) -> ScBERTNetwork:
        """Return the network with random weights."""
        names = ("dim", "depth", "heads", "dim_head", "n_features", "gene2vec")
        sizes = {name: getattr(self.recipe, name) for name in names}
        architecture = Architecture(self.cells.n_genes, **sizes)
        return ScBERTNetwork(architecture, seed=self.recipe.seed, stabiliser=self.recipe.stabiliser)

    def prepare(self, network: ScBERTNetwork, rows: np.ndarray) -> dict[str, dict]:
        """Train gene vectors, if the recipe has them, and return their card."""
        if not self.recipe.gene2vec:
            return {"gene2vec": {}}
        vectors, card = gene2vec(self.cells, rows=rows, dim=self.recipe.dim, seed=self.recipe.seed)
        network.pos_emb["emb"].weight[:-1] = torch.from_numpy(vectors)
        return {"gene2vec": card}

    def parts(self, network: ScBERTNetwork, rows: np.ndarray, number: int) -> list[Part]:
        """Return the micro-batches of a step, and redraw the random features when it is time."""
        recipe, rng = self.recipe, np.random.default_rng([self.recipe.seed, number])
        tokens = self._tokens(rng.choice(rows, recipe.batch_size))  # with replacement, as published
        seeds = rng.integers(2**31, size=recipe.batch_size // recipe.micro_batch + 1).tolist()
        network.count_pass(seeds.pop())
        n_selected = selected_count((tokens != 0).sum(1), tokens.shape[1]).sum().clamp(min=1)
        return [(part, seed, n_selected) for part, seed in zip(tokens.split(recipe.micro_batch), seeds, strict=True)]

    def loss(self, network: ScBERTNetwork, part: Part) -> Tensor:
        """Return what a micro-batch adds to the mean over all selected positions of the batch."""
        tokens, seed, n_selected = part
        masked = mask_seeded(tokens, seed)
        with autocast(self.device, self.recipe.precision):
            logits = network(masked.tokens.to(self.device))
        return masked_loss(logits, masked.labels.to(self.device), "sum") / n_selected

    def read(self, part: Part) -> tuple[int, int]:
        """Return cells and tokens of a micro-batch: of each cell a token per gene of the list, and one more."""
        return len(part[0]), part[0].numel()

    def evaluate(self, network: ScBERTNetwork, rows: np.ndarray) -> dict[str, float]:
        """Return loss and masked accuracy, and the loss of a guess by how often each gene has each class.

        The accuracy is over replaced positions and all seven ids, as the paper's notebook counts.
        """
        usual, found, weights = self._usual(rows), [], []
        for start, tokens in self._in_parts(rows):
            masked = mask_seeded(tokens, start)
            with autocast(self.device, self.recipe.precision):
                logits = network(masked.tokens.to(self.device)).float().cpu()
            if masked.replaced.any():
                losses = [masked_loss(said, masked.labels) for said in (logits, usual.expand_as(logits))]
                found.append([*losses, accuracy_where(logits.argmax(-1), tokens, masked.replaced)])
                weights.append(int(masked.replaced.sum()))
        loss, guess, accuracy = (float(value) for value in np.average(found, axis=0, weights=weights))
        return {"loss": loss, "accuracy": accuracy, "loss_of_guess": guess, "explained": 1 - loss / guess}

    def metadata(self) -> dict[str, str]:
        """Return the order of the positions and the genes of the library size."""
        return {"genes": json.dumps(self.cells.genes), "library": self.recipe.library}

    @staticmethod
    def told(point: dict[str, float]) -> str:
        """Return in words what `evaluate` found."""
        said = f"loss {point['loss']:.3f}, masked accuracy {point['accuracy']:.3f}"
        if "loss_of_guess" not in point:  # on the first cards
            return said
        return f"{said}, loss {point['loss_of_guess']:.3f} of the genes' usual classes"

    def _usual(self, rows: np.ndarray) -> Tensor:
        """Return logarithms of how often each position has each id, one time more than it has, (positions, ids)."""
        counts = torch.ones(self.cells.n_genes + 1, MASK + 1)
        for _, tokens in self._in_parts(rows):
            counts += F.one_hot(tokens, MASK + 1).sum(0)
        return (counts / counts.sum(1, keepdim=True)).log()

    def _in_parts(self, rows: np.ndarray) -> Iterator[tuple[int, Tensor]]:
        for start in range(0, len(rows), self.recipe.micro_batch):
            yield start, self._tokens(rows[start : start + self.recipe.micro_batch])

    def _tokens(self, rows: np.ndarray) -> Tensor:
        return F.pad(torch.from_numpy(self.cells.tokens(rows)), (0, 1)).long()  # (cells, genes + 1)
