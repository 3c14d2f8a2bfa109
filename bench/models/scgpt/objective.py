"""Hidden values: scGPT predicts the bins of hidden expression from the other genes, and from the cell's embedding.

Source: Cui et al., Nature Methods 2024, and PROTOCOL 3.2 of the paper.  Known deviations: the published training also
lets genes attend to a part of the others only and predicts these one after the other (generative training), which is
left out; layers begin with weights of their own, and with ``even_start`` by passing on what they are given, while
values are predicted as differences from the middle bin (else the mean bin is what all layers learn first, which makes
all positions alike); the rate follows half a cosine; dropout on the CPU as said in `bench.models.layers.packed.attend`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from bench.models.layers.packed import Packed
from bench.models.scgpt.binning import CLS, N_BINS, SPECIAL
from bench.models.scgpt.losses import masked_mse
from bench.models.scgpt.masking import Hidden, hide
from bench.models.scgpt.network import HIDDEN_VALUE, Architecture, ScGPTNetwork
from bench.models.scgpt.recipes import ScGPTPretraining
from bench.training.device import autocast
from bench.training.store import Cells

STEP, DROPOUT, VALIDATION, OTHERS = range(4)  # what a generator is for
N_OTHERS = 1024  # cells from which the usual bins of genes are taken


@dataclass(frozen=True)
class Part:
    """A micro-batch."""

    hidden: Hidden
    n_hidden: int  # values of the whole batch
    seed: int  # of dropout


class ScGPTObjective:
    """See `bench.training.objective.Objective`."""

    seeded = ("weights", "bins", "cells of a step", "genes of long cells", "masks", "dropout", "validation cells")

    def __init__(self, recipe: ScGPTPretraining, cells: Cells, device: torch.device):
        self.recipe, self.cells, self.device = recipe, cells, device
        self.vocabulary = [*cells.genes, *SPECIAL]
        self.cls_id = self.vocabulary.index(CLS)
        self.middle = N_BINS / 2 if recipe.even_start else 0.0  # what outputs of both decoders are added to

    def network(self) -> ScGPTNetwork:
        """Return the network with random weights."""
        sizes = {name: getattr(self.recipe, name) for name in ("dim", "depth", "heads", "hidden", "dropout")}
        network = ScGPTNetwork(Architecture(len(self.vocabulary), **sizes), seed=self.recipe.seed)
        if self.recipe.even_start:
            for layer in network.transformer_encoder["layers"]:
                layer.pass_on()
        return network

    def prepare(self, network: ScGPTNetwork, rows: np.ndarray) -> dict[str, dict]:
        """Do nothing."""
        return {}

    def parts(self, network: ScGPTNetwork, rows: np.ndarray, number: int) -> list[Part]:
        """Return the micro-batches of a step, the cells of each in the order of their lengths."""
        recipe = self.recipe
        chosen = np.random.default_rng([recipe.seed, number]).choice(rows, recipe.batch_size)
        hidden = self._hidden(chosen, lambda row: self._rng(STEP, number, row))
        lengths, found = np.diff(hidden.bins.indptr), []
        for part, here in enumerate(np.arange(recipe.batch_size).reshape(-1, recipe.micro_batch)):
            ordered = here[np.argsort(lengths[here], kind="stable")]
            seed = int(self._rng(DROPOUT, number, part).integers(2**31))
            found.append(Part(hidden.rows(ordered), max(1, int(hidden.where.sum())), seed))
        return found

    def loss(self, network: ScGPTNetwork, part: Part) -> Tensor:
        """Return what a micro-batch adds to the mean squared errors of both decoders over the hidden values."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(part.seed)  # of each micro-batch, so that processes may divide them
            *predicted, truth, where = self._values(network, part.hidden)
            return sum(masked_mse(values, truth, where, part.n_hidden) for values in predicted)

    def read(self, part: Part) -> tuple[int, int]:
        """Return cells and tokens of a micro-batch: of each cell the expressed genes, and one for the cell."""
        n_cells = part.hidden.bins.shape[0]
        return n_cells, n_cells + part.hidden.bins.nnz

    def evaluate(self, network: ScGPTNetwork, rows: np.ndarray) -> dict[str, float]:
        """Return the loss, and the squared error of the expression decoder beside that of the genes' usual bins."""
        hidden, squares = self._hidden(rows, lambda row: self._rng(VALIDATION, 0, row)), np.zeros(2)
        for start in range(0, len(rows), self.recipe.micro_batch):
            part = hidden.rows(np.arange(start, min(start + self.recipe.micro_batch, len(rows))))
            part = part.rows(np.argsort(np.diff(part.bins.indptr), kind="stable"))
            *predicted, truth, where = self._values(network, part)
            squares += [(values - truth)[where].double().square().sum().item() for values in predicted]
        mse, of_cell = (float(value) for value in squares / max(1, hidden.where.sum()))
        usual = self._usual(rows)[hidden.bins.indices]
        guess = float(np.square(hidden.bins.data - usual)[hidden.where].mean())
        return {"loss": mse + of_cell, "mse": mse, "mse_of_genes": guess, "explained": 1 - mse / guess}

    def metadata(self) -> dict[str, str]:
        """Return all tokens by their ids and what the tensors do not tell."""
        return {
            "genes": json.dumps(self.vocabulary),
            "library": self.recipe.library,
            "heads": str(self.recipe.heads),
            "middle": str(self.middle),
        }

    @staticmethod
    def told(point: dict[str, float]) -> str:
        """Return in words what `evaluate` found."""
        said = f"squared error {point['mse']:.1f} bins per hidden value"
        if "mse_of_genes" not in point:  # the first cards compared with something else
            return said
        return f"{said}, {point['mse_of_genes']:.1f} of the genes' usual bins, explained {point['explained']:.3f}"

    def _usual(self, rows: np.ndarray) -> np.ndarray:
        """Return for each gene the mean of its bins in other cells, and of one bin in the middle."""
        others = self._rng(OTHERS).permutation(np.setdiff1d(np.arange(len(self.cells)), rows))[:N_OTHERS]
        bins = self.cells.sparse(np.sort(others))
        sums, n = (np.bincount(bins.indices, weights, minlength=bins.shape[1]) for weights in (bins.data, None))
        return (sums + N_BINS / 2) / (n + 1)

    def _hidden(self, rows: np.ndarray, draw: Callable[[int], np.random.Generator]) -> Hidden:
        return hide(self.cells.sparse(rows), self.recipe.max_seq_len - 1, draw)

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.recipe.seed, spawn_key=key))

    def _values(self, network: ScGPTNetwork, hidden: Hidden) -> tuple[Tensor, ...]:
        """Return what both decoders predict, the true bins, and where these were hidden, (n_positions,) each."""
        bins, where = hidden.bins, hidden.where
        shown = np.where(where, HIDDEN_VALUE, bins.data.astype(np.int16))
        packed = Packed.of(sp.csr_matrix((shown, bins.indices, bins.indptr), bins.shape), self.cls_id, self.device)
        truth = Packed.of(bins, self.cls_id, self.device).bins
        with autocast(self.device, self.recipe.precision):
            predicted = network.masked_values(packed)
        return *(values.float() + self.middle for values in predicted), truth, packed.bins == HIDDEN_VALUE
