"""scBERT as an annotator: published fine-tuning by default, its ablations and probes as variants, choices as settings.

Source: PROTOCOL 1.1 to 1.3 of the paper: Adam, cosine warm-up restarts per epoch, class weights, last layer, final norm
and head trained, best epoch by accuracy.  Known deviations: few-shot class weights count the subset and the scored
cells, not the unused training cells, which a model never sees.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from anndata import AnnData
from torch import Tensor

from bench.core.errors import BenchError
from bench.core.keys import added
from bench.models.classifiers import ClassifierConfig
from bench.models.finetuned import CLASS_WEIGHTS, FineTuned, per_gene
from bench.models.layers.stabilisers import STABILISERS
from bench.models.probe import PRETRAINED, PROBES, RANDOM
from bench.models.scbert.frozen import kept_as, with_frozen_layers
from bench.models.scbert.inputs import Positions, positions
from bench.models.scbert.network import Architecture, ScBERTNetwork
from bench.preprocess import LEAST_GENES, gene_tokens, looked_for
from bench.training.labelled import Cells
from bench.training.schedule import Schedule, cosine_warm_restarts
from bench.weights import load_into, read, resolve

TRAINABLE = ("last_layer", "all", "head")
PRECISIONS = ("float32", "bf16")


@dataclass(frozen=True)
class ScBERTConfig(ClassifierConfig):
    """Hyper-parameters of fine-tuning, the architecture is that of the weights; and of the classifier of a probe.

    A probe takes of these what its classifier and its embedding have: nothing of training.  Fine-tuning has no use for
    a classifier of vectors.
    """

    sizes: ClassVar = ("epochs", "batch_size", "evaluation_batch")
    above: ClassVar = {"lr": 0}
    shares: ClassVar = ("validation_share",)
    fractions: ClassVar = ("least_genes",)
    choices: ClassVar = {
        "trainable": TRAINABLE,
        "class_weights": CLASS_WEIGHTS,
        "stabiliser": STABILISERS,
        "precision": PRECISIONS,
    }

    epochs: int = 10
    batch_size: int = 32
    lr: float = 1e-4  # largest rate; epochs 1 to 5 warm up to it from 1e-6
    trainable: str = "last_layer"  # with final norm and head, as published; "all"; "head" alone
    class_weights: str = "inverse"  # of the number of cells; or "none"
    stabiliser: str = "batch"  # as published; "per_cell" makes predictions independent of their batch
    validation_share: float = 0.1  # of the training cells, for recipe clean
    evaluation_batch: int = 64
    precision: str = "float32"  # or "bf16"
    redraw: bool = added(True)  # the random features, every 1,000 passes as published
    least_genes: float = added(LEAST_GENES)  # share of genes that must be found by name; see bench.preprocess


class ScBERT(FineTuned):
    """Annotator by a Performer over all genes."""

    Config = ScBERTConfig
    inputs = Positions
    variants = ("pretrained", "no_pretraining", "no_gene2vec", "shuffled_genes", *PROBES)
    variant_settings: ClassVar = {PRETRAINED: {"stabiliser": "per_cell"}, RANDOM: {"stabiliser": "per_cell"}}
    alone: ClassVar = {"stabiliser": "per_cell"}

    def untrained(self, seed: int) -> ScBERTNetwork:
        """Return the network with pretrained or random weights; of ``random_probe`` nothing is pretrained."""
        network = ScBERTNetwork(self._architecture(), seed=seed, stabiliser=self.config.stabiliser)
        if self.variant == RANDOM:
            network.draw_positions(seed=seed)
            self.audit_ = self._checkpoint.none_loaded("genes and sizes")
        elif self.variant == "no_pretraining":  # gene2vec stays, as published
            vectors = {name: t for name, t in self._checkpoint.tensors.items() if name.startswith("pos_emb.")}
            given = replace(self._checkpoint, tensors=vectors)
            self.audit_ = str(load_into(network, given, allow_missing=("performer.*", "*.weight", "*.bias")))
        else:
            self.audit_ = str(load_into(network, self._checkpoint))
        return network

    def build(self, n_classes: int, seed: int) -> ScBERTNetwork:
        """Return the network with a fresh head."""
        network = self.untrained(seed)
        network.redraws = self.config.redraw
        network.kept_as = kept_as(self.config.precision) if self._keeps_frozen_layers else None
        network.classify_into(n_classes, seed=seed)
        network.requires_grad_(self.config.trainable == "all")
        if network.architecture.gene2vec:
            network.pos_emb.requires_grad_(False)
        trained = [network.to_out]
        trained += [network.layers[-1], network.norm] if self.config.trainable == "last_layer" else []
        for module in trained:
            module.requires_grad_(True)
        return network

    @property
    def _keeps_frozen_layers(self) -> bool:
        c = self.config
        return not c.redraw and c.stabiliser == "per_cell" and c.trainable != "all"

    def prepared(self, cells: Cells) -> Cells:
        """Return the cells as what the first layer that is trained is given, where that never changes."""
        if not self._keeps_frozen_layers:
            return cells
        return with_frozen_layers(self.network_, cells, self.config.precision)

    def schedule(self) -> Schedule:
        """Return the published schedule with this configuration's numbers."""
        c = self.config
        rate = partial(cosine_warm_restarts, peak=c.lr, floor=c.lr / 100)
        return Schedule(c.epochs, c.batch_size, rate, evaluation_batch=c.evaluation_batch, precision=c.precision)

    def tokens(self, cells: AnnData) -> sp.csr_matrix:
        """Return tokens in the order of the weights' genes, or of one fixed shuffling of them."""
        genes, library = positions(self._checkpoint)
        found = gene_tokens(cells.X, cells.var_names.tolist(), cells.uns["bench"]["values"], genes, library)
        return found[:, self._order] if self.variant == "shuffled_genes" else found

    def seen(self, cells: AnnData) -> pd.DataFrame:
        """Return what the network is given of cells: the token of every gene, 0 too; see `FineTuned.seen`."""
        given = self.cells(cells).inputs(np.arange(cells.n_obs), torch.device("cpu"))
        return per_gene(given[:, :-1].numpy(), positions(self._checkpoint)[0])  # behind them stands no gene

    def begin(self, cells: AnnData, seed: int) -> None:
        """Read the weights, and look for their genes among those of cells."""
        if not self.weights:
            raise BenchError(
                "scbert needs weights, for its genes and gene2vec even without pretraining: set the override 'weights' "
                "to a file, to scbert_panglao (the published ones), or to scbert_quick (pretrained here in a minute)."
            )
        self._checkpoint = read(resolve(self.weights))
        genes, _ = positions(self._checkpoint)
        self._order = np.random.default_rng(seed).permutation(len(genes))
        self.genes_ = looked_for(cells, genes, self.config.least_genes)

    def embed(self, cells: AnnData) -> np.ndarray:
        """Return (n_cells, dim) means of the encodings over expressed genes, or over all genes of an empty cell."""
        return self.vectors(cells, self._mean, self.network_.architecture.dim)

    def _mean(self, ids: Tensor) -> Tensor:
        encodings = self.network_.encode(ids).float()
        weight = torch.where((ids > 0).any(1, keepdim=True), ids > 0, True)[..., None].float()
        return (encodings * weight).sum(1) / weight.sum(1)

    def _architecture(self) -> Architecture:
        """Return the sizes of the weights, checked against the variant."""
        n_genes = len(positions(self._checkpoint)[0])
        architecture = replace(Architecture.of(self._checkpoint.tensors), n_genes=n_genes)
        if self.variant not in PROBES and architecture.gene2vec == (self.variant == "no_gene2vec"):
            state = "with" if architecture.gene2vec else "without"
            raise BenchError(
                f"{self._checkpoint.path} was pretrained {state} gene2vec, which scbert@{self.variant} cannot use; "
                "give that variant weights of its own: overrides such as {'scbert@no_gene2vec': {'weights': ...}}."
            )
        return architecture
