"""Control: scBERT's position-wise classifier on the token ids themselves, without any transformer.

Every position has weights of its own, so that gene identity is available to the head alone: the direct test of why
scBERT's ablations still work (PROTOCOL 3.1 and 5 of the paper).  The published head takes one number per position from
the transformer; here that number is the token id.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import scipy.sparse as sp
import torch
from anndata import AnnData
from torch import Tensor

from bench.core.checked import Checked
from bench.core.keys import added
from bench.models.finetuned import CLASS_WEIGHTS, FineTuned
from bench.models.scbert.inputs import Positions, positions
from bench.models.scbert.network import Head
from bench.preprocess import GENES, LEAST_GENES, gene_tokens, looked_for
from bench.training.schedule import Schedule, cosine_warm_restarts
from bench.weights import read, resolve


@dataclass(frozen=True)
class ScBERTHeadConfig(Checked):
    """Hyper-parameters, as scBERT's own."""

    sizes: ClassVar = ("epochs", "batch_size")
    above: ClassVar = {"lr": 0}
    shares: ClassVar = ("validation_share",)
    fractions: ClassVar = ("least_genes",)
    choices: ClassVar = {"class_weights": CLASS_WEIGHTS, "genes": GENES}

    epochs: int = 10
    batch_size: int = 32
    lr: float = 1e-4  # largest rate
    class_weights: str = "inverse"  # of the number of cells; or "none"
    validation_share: float = 0.1  # of the training cells, for recipe clean
    genes: str = "panglao"  # or "all" of the training cells; weights, where given, say which genes
    least_genes: float = added(LEAST_GENES)  # share of genes that must be found by name; see bench.preprocess


class ScBERTHead(FineTuned):
    """Annotator by scBERT's classification head on bins of expression."""

    Config = ScBERTHeadConfig
    inputs = Positions

    def begin(self, cells: AnnData, seed: int) -> None:
        """Say which genes have a position."""
        self._genes, self._library = cells.var_names.tolist(), "all"
        if self.weights:
            self._genes, self._library = positions(read(resolve(self.weights)))
        elif self.config.genes == "panglao":
            from bench.datasets.panglao import gene_order

            self._genes, self._library = gene_order(), "panglao"
        self.genes_ = looked_for(cells, self._genes, self.config.least_genes)

    def tokens(self, cells: AnnData) -> sp.csr_matrix:
        """Return tokens in the order of the genes."""
        values = cells.uns["bench"]["values"]
        return gene_tokens(cells.X, cells.var_names.tolist(), values, self._genes, self._library)

    def build(self, n_classes: int, seed: int) -> "HeadOnBins":
        """Return a fresh head."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return HeadOnBins(len(self._genes) + 1, n_classes)

    def schedule(self) -> Schedule:
        """Return scBERT's schedule with this configuration's numbers."""
        rate = partial(cosine_warm_restarts, peak=self.config.lr, floor=self.config.lr / 100)
        return Schedule(self.config.epochs, self.config.batch_size, rate)


class HeadOnBins(Head):
    """The head without its first step, the dot product that takes an encoding to a number."""

    def __init__(self, n_positions: int, n_classes: int):
        super().__init__(n_positions, n_classes, dim=1)
        del self.conv1

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (cells, n_classes) logits of (cells, positions) token ids."""
        return self.classify(tokens.float())
