"""Cell types by fine-tuning, or by a probe: what the loop of the project needs to know of this model."""

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.sparse as sp
from anndata import AnnData

from bench.core.errors import BenchError
from bench.models.classifiers import ClassifierConfig
from bench.models.finetuned import CLASS_WEIGHTS, FineTuned
from bench.models.probe import PROBES, RANDOM
from bench.preprocess import gene_tokens
from bench.training.schedule import Schedule
from bench.weights import load_into, read, resolve
from bench.weights.said import told
from pocket.network import PocketNetwork


@dataclass(frozen=True)
class PocketConfig(ClassifierConfig):
    """Hyper-parameters of fine-tuning, and of a probe's classifier; the sizes are those of the weights."""

    sizes: ClassVar = ("epochs", "batch_size")  # what else makes no sense: see `bench.core.checked`
    above: ClassVar = {"lr": 0}
    shares: ClassVar = ("validation_share",)
    choices: ClassVar = {"class_weights": CLASS_WEIGHTS}

    epochs: int = 20
    batch_size: int = 32
    lr: float = 3e-3
    class_weights: str = "none"  # or "inverse" of the number of cells
    validation_share: float = 0.1  # of the training cells, on which the epoch is chosen


class Pocket(FineTuned):
    """Annotator by a network of one hidden layer."""

    Config = PocketConfig
    variants = ("pretrained", "no_pretraining", *PROBES)
    recipes = ("clean",)  # validation cells come from the training cells
    leaking_recipes = ()

    def begin(self, cells: AnnData, seed: int) -> None:
        """Read the weights."""
        if not self.weights:
            raise BenchError("pocket needs weights: set the override 'weights' to pocket_quick, or to a file.")
        self._checkpoint = read(resolve(self.weights))

    def tokens(self, cells: AnnData) -> sp.csr_matrix:
        """Return the (n_cells, n_genes) levels of expression of the weights' genes."""
        genes = json.loads(told(self._checkpoint, "genes", "pocket", " --genes GENES.txt"))
        return gene_tokens(cells.X, cells.var_names.tolist(), cells.uns["bench"]["values"], genes, "all")

    def untrained(self, seed: int) -> PocketNetwork:
        """Return the network, with every tensor of the weights used or none."""
        dim, n_genes = self._checkpoint.tensors["encoder.weight"].shape
        network = PocketNetwork(n_genes, dim, seed=seed)
        if self.variant not in ("no_pretraining", RANDOM):
            self.audit_ = str(load_into(network, self._checkpoint))
        return network

    def build(self, n_classes: int, seed: int) -> PocketNetwork:
        """Return the network with a fresh classifier."""
        network = self.untrained(seed)
        network.classify_into(n_classes, seed=seed)
        return network

    def schedule(self) -> Schedule:
        """Return how the network is trained."""
        c = self.config
        return Schedule(c.epochs, c.batch_size, rate=lambda epoch: c.lr)

    def embed(self, cells: AnnData) -> np.ndarray:
        """Return (n_cells, dim) embeddings."""
        return self.vectors(cells, self.network_.encode, len(self._checkpoint.tensors["encoder.weight"]))
