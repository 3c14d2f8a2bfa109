"""Hidden values: scFoundation predicts the expression of hidden genes at full depth from the others at less depth.

Source: Hao et al., Nature Methods 2024, and the published configuration.  A profile, or one with fewer counts, goes in;
T says the depth of the whole profile and S that of what goes in; hidden genes stay out of the encoder and are marked in
the decoder, whose squared error is that to the whole profile.

Known deviations: the authors' down-sampling, masking and loss are not public.  Here half of the cells keep a share of
their counts that is drawn from Beta(2, 2), each count by itself; every hidden gene is marked as such (their settings
also name a share that would not be); the rate follows half a cosine; random features are counted per step.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from bench.models.scfoundation.architecture import Architecture
from bench.models.scfoundation.checkpoint import metadata_of
from bench.models.scfoundation.inputs import LEAST, Tokens, normalised, with_depth
from bench.models.scfoundation.network import ScFoundationNetwork
from bench.models.scfoundation.recipes import ScFoundationPretraining
from bench.training.device import autocast
from bench.training.store import Cells

STEP, DROPOUT, VALIDATION, REDRAW = range(4)  # what a generator is for
SIZES = ("dim", "depth", "heads", "hidden", "decoder_dim", "decoder_depth", "decoder_heads", "dim_head", "n_features")


@dataclass(frozen=True)
class Part:
    """A micro-batch: what goes in, what is to be predicted, and which genes, (n_cells, n_genes), are hidden."""

    given: sp.csr_matrix
    target: sp.csr_matrix
    mask: np.ndarray
    n_hidden: int  # genes of the whole batch
    seed: int  # of dropout


class ScFoundationObjective:
    """See `bench.training.objective.Objective`."""

    seeded = ("weights", "random features", "cells of a step", "counts that are left out", "masks", "dropout")
    seeded += ("validation cells",)

    def __init__(self, recipe: ScFoundationPretraining, cells: Cells, device: torch.device):
        self.recipe, self.cells, self.device = recipe, cells, device
        sizes = {name: getattr(recipe, name) for name in (*SIZES, "n_bins", "dropout")}
        self.architecture = Architecture(len(cells.genes), **sizes)

    def network(self) -> ScFoundationNetwork:
        """Return the network with random weights."""
        return ScFoundationNetwork(self.architecture, seed=self.recipe.seed, stabiliser=self.recipe.stabiliser)

    def prepare(self, network: ScFoundationNetwork, rows: np.ndarray) -> dict[str, dict]:
        """Do nothing."""
        return {}

    def parts(self, network: ScFoundationNetwork, rows: np.ndarray, number: int) -> list[Part]:
        """Return the micro-batches of a step, and redraw the random features when it is time."""
        recipe = self.recipe
        network.count_pass(int(self._rng(REDRAW, number).integers(2**31)))
        chosen = np.random.default_rng([recipe.seed, number]).choice(rows, recipe.batch_size)
        found = self._part(chosen, STEP, number)
        n_hidden, parts = max(1, int(found.mask.sum())), []
        for part, here in enumerate(np.arange(recipe.batch_size).reshape(-1, recipe.micro_batch)):
            seed = int(self._rng(DROPOUT, number, part).integers(2**31))
            parts.append(Part(found.given[here], found.target[here], found.mask[here], n_hidden, seed))
        return parts

    def loss(self, network: ScFoundationNetwork, part: Part) -> Tensor:
        """Return what a micro-batch adds to the mean squared error over the hidden genes of the batch."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(part.seed)  # of each micro-batch, so that processes may divide them
            return masked_mse(*self._predicted(network, part), part.n_hidden)

    def read(self, part: Part) -> tuple[int, int]:
        """Return cells and tokens of a micro-batch: of each cell the genes that are not hidden, and T and S."""
        tokens = hidden_of(part.given, part.mask, self.architecture, self.device)[0]
        return len(tokens.lengths), sum(tokens.lengths)

    def evaluate(self, network: ScFoundationNetwork, rows: np.ndarray) -> dict[str, float]:
        """Return the loss, and the squared error of a guess: the gene's mean over these cells."""
        mean = normalised(self.cells.sparse(rows))[0].mean(axis=0).A1
        squares, n_hidden = np.zeros(2), 0
        for start in range(0, len(rows), self.recipe.micro_batch):
            part = self._part(rows[start : start + self.recipe.micro_batch], VALIDATION, start)
            predicted, target, mask = (t.cpu() for t in self._predicted(network, part))
            errors = [
                (values - target)[mask].double().square().sum().item() for values in (predicted, torch.tensor(mean))
            ]
            squares, n_hidden = squares + errors, n_hidden + int(mask.sum())
        mse, guess = (float(value) for value in squares / max(1, n_hidden))
        return {"loss": mse, "mse_of_guess": guess, "explained": 1 - mse / guess}

    def metadata(self) -> dict[str, str]:
        """Return the genes of the positions and what the tensors do not tell."""
        return metadata_of(self.architecture, self.cells.genes)

    @staticmethod
    def told(point: dict[str, float]) -> str:
        """Return in words what `evaluate` found."""
        return (
            f"squared error {point['loss']:.3f} per hidden value, {point['mse_of_guess']:.3f} of the gene's mean, "
            f"explained {1 - point['loss'] / point['mse_of_guess']:.3f}"
        )

    def _part(self, rows: np.ndarray, purpose: int, number: int) -> Part:
        """Return cells with some of their counts left out and some of their genes hidden, each drawn by itself."""
        raw, recipe = self.cells.sparse(rows), self.recipe
        low, mask = raw.copy(), np.zeros(raw.shape, dtype=bool)
        for i, row in enumerate(rows):
            rng, here = self._rng(purpose, number, i, int(row)), slice(raw.indptr[i], raw.indptr[i + 1])
            if rng.random() < recipe.thinned:
                low.data[here] = rng.binomial(raw.data[here], rng.beta(2, 2))
            shown = raw.indices[here][low.data[here] > 0]
            rate = np.full(raw.shape[1], recipe.hidden_zeros)
            rate[shown] = recipe.hidden_values
            mask[i] = rng.random(raw.shape[1]) < rate
        low.eliminate_zeros()
        n_shown = np.diff(low.indptr) - np.add.reduceat(np.append(_of(mask, low), 0), low.indptr[:-1])
        order = np.argsort(n_shown, kind="stable")  # neighbours of similar length attend in one call
        return Part(*pretraining_values(low[order], raw[order]), mask[order], max(1, int(mask.sum())), 0)

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.recipe.seed, spawn_key=key))

    def _predicted(self, network: ScFoundationNetwork, part: Part) -> tuple[Tensor, Tensor, Tensor]:
        """Return predicted and true values and where they were hidden, (n_cells, n_genes) each."""
        target = torch.from_numpy(part.target.toarray()).float().to(self.device)
        with autocast(self.device, self.recipe.precision):
            predicted = network(*hidden_of(part.given, part.mask, self.architecture, self.device))
        return predicted[:, : target.shape[1]].float(), target, torch.from_numpy(part.mask).to(self.device)


def pretraining_values(low: sp.csr_matrix, raw: sp.csr_matrix) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Return what goes in, with T of the whole profile and S of what is left of it, and the values to be predicted.

    Parameters
    ----------
    low, raw
        Counts that go in and those of the whole profile, (n_cells, n_genes).

    Returns
    -------
    (n_cells, n_genes + 2) float32 and (n_cells, n_genes) float64.
    """
    values, totals = normalised(low)
    target, whole = normalised(raw)
    depth = np.log10(np.maximum(np.stack([whole, totals], axis=1), LEAST))
    return with_depth(values, depth), target


def hidden_of(
    given: sp.csr_matrix, mask: np.ndarray, architecture: Architecture, device: torch.device
) -> tuple[Tokens, Tensor, Tensor]:
    """Return what the network takes: the tokens that are shown, the places of hidden genes, and their value.

    Parameters
    ----------
    given
        Values with T and S, (n_cells, n_genes + 2).
    mask
        Hidden genes, (n_cells, n_genes).
    """
    whole = np.pad(mask, ((0, 0), (0, 2)))  # T and S never are
    shown = given.copy()
    shown.data = np.where(_of(whole, given), 0, given.data)
    place = torch.from_numpy(np.flatnonzero(whole)).to(device)
    values = torch.full((len(place),), float(architecture.mask_id), device=device)
    return Tokens.of(shown, architecture.pad_id, device), place, values


def _of(mask: np.ndarray, X: sp.csr_matrix) -> np.ndarray:
    """Return what a mask says of the stored values, (nnz,)."""
    return mask[np.repeat(np.arange(X.shape[0]), np.diff(X.indptr)), X.indices]


def masked_mse(prediction: Tensor, target: Tensor, mask: Tensor, n_masked: int | None = None) -> Tensor:
    """Return the mean squared error over hidden genes; of a part of a batch, divided by ``n_masked`` of the whole."""
    return (prediction - target)[mask].square().sum() / (mask.sum() if n_masked is None else n_masked)
