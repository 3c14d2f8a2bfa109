"""Hidden counts: CellPLM guesses the counts of a pass of cells, of which some are hidden, through its latent space.

Source: Wen et al., ICLR 2024: a negative binomial of all counts and once more of the hidden ones, and the divergence of
the latent space, whose weight grows.  The authors' pretraining loop is not public.  Known deviations: Adam without
weight decay and one warm-up and one cosine, as for the other models here; the divergence counts in full after as many
steps as the recipe says; the batch of a cell is its data set; genes are those that all data sets have.
"""

import json
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from bench.models.cellplm.decoder import reconstruction
from bench.models.cellplm.latent import weight_of_divergence
from bench.models.cellplm.network import Architecture, CellPLMNetwork
from bench.models.cellplm.passes import Pass, chosen, hidden, n_kept
from bench.models.cellplm.recipes import CellPLMPretraining
from bench.training.device import autocast
from bench.training.store import Cells

STEP, DROPOUT, VALIDATION = range(3)  # what a generator is for


@dataclass(frozen=True)
class Part:
    """A pass: counts and data sets of its cells, and which counts are hidden."""

    counts: np.ndarray  # (n_cells, n_genes) float32
    dataset: np.ndarray  # (n_cells,)
    hide: np.ndarray  # (n_cells, n_genes) bool
    share: float = 1.0  # of the step
    weight: float = 0.0  # of the divergence
    seed: int = 0  # of dropout and of the latent sample


class CellPLMObjective:
    """See `bench.training.objective.Objective`."""

    seeded = ("weights", "cells of a step", "masks", "latent samples", "dropout", "validation cells")

    def __init__(self, recipe: CellPLMPretraining, cells: Cells, device: torch.device):
        self.recipe, self.cells, self.device = recipe, cells, device

    def network(self) -> CellPLMNetwork:
        """Return the network with random weights."""
        r, n_datasets = self.recipe, len(self.cells.datasets)
        sizes = {name: getattr(r, name) for name in ("dim", "depth", "heads", "latent", "dropout")}
        sizes |= {"hidden": 2 * r.dim, "decoder": r.dim, "n_batches": n_datasets, "n_datasets": n_datasets}
        return CellPLMNetwork(Architecture(n_genes=self.cells.n_genes, **sizes), seed=r.seed)

    def prepare(self, network: CellPLMNetwork, rows: np.ndarray) -> dict[str, dict]:
        """Do nothing."""
        return {}

    def parts(self, network: CellPLMNetwork, rows: np.ndarray, number: int) -> list[Part]:
        """Return the passes of a step."""
        r = self.recipe
        cells = np.random.default_rng([r.seed, number]).choice(rows, r.batch_size, replace=r.batch_size > len(rows))
        weight = weight_of_divergence(number, r.divergence_steps)
        found = []
        for part, here in enumerate(cells.reshape(-1, r.micro_batch)):
            rng = self._rng(STEP, number, part)
            kept = here[rng.permutation(len(here))[: n_kept(len(here), r.drop_cells, len(here))]]
            seed = int(self._rng(DROPOUT, number, part).integers(2**31))
            told = {"share": r.micro_batch / r.batch_size, "weight": weight, "seed": seed}
            found.append(self._part(kept, rng, **told))
        return found

    def loss(self, network: CellPLMNetwork, part: Part) -> Tensor:
        """Return what a pass adds to the loss: both reconstructions of its counts, and the divergence."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(part.seed)
            with autocast(self.device, self.recipe.precision):
                found = network.distribution(self._shown(part))
            layer = network.latent["layers"][1]
            z = layer.sample(found, torch.randn(found.mean.shape, device=self.device))
            counts, hide, dataset = self._moved(part)
            with autocast(self.device, self.recipe.precision):
                mean = network.decoder(z, dataset, dataset)
            whole = reconstruction(counts, mean, network.decoder.dispersion, hide)
            return (layer.loss(found, part.weight) + whole) * part.share

    def read(self, part: Part) -> tuple[int, int]:
        """Return cells and tokens of a pass, which are the same; those that the step leaves out are not read."""
        return len(part.counts), len(part.counts)

    def evaluate(self, network: CellPLMNetwork, rows: np.ndarray) -> dict[str, float]:
        """Return the loss in one pass of these cells, and how much of the hidden counts' variation is explained.

        What is explained is measured on log(1 + count), beside a guess: the genes' shares of all counts.  Both are
        scaled to the visible counts of the cell.
        """
        part = self._part(rows, self._rng(VALIDATION))
        true, where, dataset = self._moved(part)
        with autocast(self.device, self.recipe.precision):
            mean = network.decoder(network.embed(self._shown(part)), dataset, dataset)
        loss = reconstruction(true, mean, network.decoder.dispersion, where).item()
        errors = [self._error(true, guess, where) for guess in (mean, true.sum(0, keepdim=True).expand_as(true))]
        return {"loss": loss, "error": errors[0], "error_of_guess": errors[1], "explained": 1 - errors[0] / errors[1]}

    def metadata(self) -> dict[str, str]:
        """Return all genes in the order of their rows and what the tensors do not tell."""
        told = {"genes": json.dumps(self.cells.genes), "library": self.recipe.library}
        return told | {"heads": str(self.recipe.heads), "latent": "vae"}

    @staticmethod
    def told(point: dict[str, float]) -> str:
        """Return in words what `evaluate` found."""
        return (
            f"squared error {point['error']:.3f} of log(1 + count) per hidden count, {point['error_of_guess']:.3f} of "
            f"the genes' usual shares, explained {1 - point['error'] / point['error_of_guess']:.3f}"
        )

    def _part(self, rows: np.ndarray, rng: np.random.Generator, **more: float) -> Part:
        """Return cells with hidden counts."""
        where = chosen(rng.permutation(len(rows)), self.recipe.masked_cells)[:, None]
        uniform = rng.random((len(rows), self.cells.n_genes), np.float32)
        hide = hidden(uniform, where, self.recipe.masked_values)
        return Part(self.cells.tokens(rows).astype(np.float32), self.cells.dataset[rows].astype(np.int64), hide, **more)

    def _shown(self, part: Part) -> Pass:
        counts = sp.csr_matrix(np.where(part.hide, 0, part.counts))
        return Pass(counts, np.arange(self.cells.n_genes), self.device)

    def _moved(self, part: Part) -> tuple[Tensor, Tensor, Tensor]:
        return tuple(torch.from_numpy(array).to(self.device) for array in (part.counts, part.hide, part.dataset))

    @staticmethod
    def _error(true: Tensor, guess: Tensor, where: Tensor) -> float:
        visible = ~where
        scale = (true * visible).sum(1, keepdim=True) / (guess * visible).sum(1, keepdim=True)
        return (torch.log1p(guess * scale) - torch.log1p(true))[where].square().mean().item()

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.recipe.seed, spawn_key=key))
