"""scFoundation as an annotator: the authors' classifier by default, from scratch and probes as variants.

Source: Hao et al., Nature Methods 2024, for the class weights, the rate, batches of 64 of which five make a step, and
the epoch with the best macro F1 on a ninth of the training cells; the authors' published classifier for the rest: it
trains the last layer but one and a head, T and S are left out.  Probes take their embedding of cells, with T and S.

What recipe ``published`` has of the authors' code: the maximum over tokens includes padding, which carries the position
of an ordinary gene, so that a prediction depends on its batch; layers that are not trained drop numbers in training;
class weights are as printed.  Recipe ``clean`` has none of these.  Not published, and chosen here: Adam without decay,
the number of epochs, no schedule of the rate.  No recipe looks at scored cells.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from bench.core.errors import BenchError
from bench.core.keys import added
from bench.models.classifiers import ClassifierConfig
from bench.models.counts import counts_of
from bench.models.finetuned import FineTuned, per_gene, stratified
from bench.models.probe import PRETRAINED, PROBES
from bench.models.scfoundation.checkpoint import architecture_of
from bench.models.scfoundation.classifier import CLASS_WEIGHTS, ScFoundationClassifier, class_weights
from bench.models.scfoundation.encoder import EncoderSide
from bench.models.scfoundation.inputs import Batch, Expressed, depth_tokens, genes_of, normalised, with_depth
from bench.preprocess import LEAST_GENES, align, looked_for
from bench.training.device import PRECISIONS, device_of
from bench.training.schedule import Schedule
from bench.weights import load_into, read, resolve
from bench.weights.vocabulary import coverage

TRAINABLE = ("one_layer", "all", "head")
LOADED = ("pretrained", "shuffled_genes", PRETRAINED)
DECODER = ("decoder.*", "decoder_embed.*", "norm.*", "to_final.*")
HEAD = ("norm.*", "fc1.*")


@dataclass(frozen=True)
class ScFoundationConfig(ClassifierConfig):
    """Hyper-parameters of fine-tuning, the architecture is that of the weights; and of the classifier of a probe.

    A probe takes of these what its classifier and its embedding have: nothing of training.
    """

    sizes: ClassVar = ("epochs", "batch_size", "accumulation", "evaluation_batch")
    above: ClassVar = {"lr": 0}
    shares: ClassVar = ("dropout", "validation_share")
    fractions: ClassVar = ("least_genes",)
    choices: ClassVar = {"trainable": TRAINABLE, "class_weights": CLASS_WEIGHTS, "precision": PRECISIONS}

    epochs: int = 30  # not published
    batch_size: int = 64
    accumulation: int = 5  # batches whose gradients make a step
    lr: float = 1e-3
    trainable: str = "one_layer"  # the last but one, with the head; "all"; "head" alone
    class_weights: str = "as_printed"  # in the paper, with max; "capped" with min; "inverse"; "none"
    pool_padding: bool = True  # as published; recipe clean and probes have none
    dropout: float = 0.1  # of the encoder, in training
    validation_share: float = 1 / 9  # of the training cells: published is 8 to 1 to 1
    resolution: str = "t4"  # what T stands for in the embedding; see `inputs.depth_tokens`
    evaluation_batch: int = 64
    precision: str = "float32"  # or "bf16"; on a GPU also "fp16"
    least_genes: float = added(LEAST_GENES)  # share of genes that must be found by name; see bench.preprocess

    def __post_init__(self):
        super().__post_init__()
        depth_tokens(np.ones(1), self.resolution)  # whether it is one


class ScFoundation(FineTuned):
    """Annotator by a transformer over the expressed genes of a list."""

    Config = ScFoundationConfig
    needs_counts = True
    variants = ("pretrained", "no_pretraining", "shuffled_genes", *PROBES)
    leaking_recipes = ()
    variant_declares: ClassVar = FineTuned.variant_declares | {"no_pretraining": {"is_pretrained": False}}
    variant_settings: ClassVar = {variant: {"pool_padding": False} for variant in PROBES} | {
        "no_pretraining": {"trainable": "all", "lr": 1e-4}  # nothing is learned of layers that stay random
    }
    alone: ClassVar[dict[str, Any]] = {"pool_padding": False}

    @property
    def batch_dependent(self) -> bool:
        """Whether a prediction depends on the other cells of its batch: on their padding."""
        return self.config.pool_padding and self.recipe != "clean" and self.variant not in PROBES

    def begin(self, cells: AnnData, seed: int) -> None:
        """Read the weights, and look for their genes among those of cells."""
        if not self.weights:
            raise BenchError(
                "scfoundation needs weights, for its genes even without pretraining: set the override 'weights' to a "
                "file, to scfoundation_gene (the published ones, for non-commercial research), or to "
                "scfoundation_quick (pretrained here in a minute)."
            )
        self._checkpoint = read(resolve(self.weights))
        self._vocabulary = genes_of(self._checkpoint)
        self._sizes = architecture_of(self._checkpoint.tensors, self._checkpoint.metadata, dropout=self.config.dropout)
        self._coverage = coverage(cells.var_names, self._vocabulary)
        self._order = np.random.default_rng(seed).permutation(len(self._vocabulary))
        self.genes_ = looked_for(cells, self._vocabulary, self.config.least_genes)

    def cells(self, cells: AnnData, labels: np.ndarray | None = None) -> Expressed:
        """Return the values of cells over the genes of the weights; for a probe with T and S."""
        values, totals = normalised(align(counts_of(cells), cells.var_names.tolist(), self._vocabulary))
        if self.variant == "shuffled_genes":
            values = values[:, self._order]
        depth = depth_tokens(totals, self.config.resolution) if self.variant in PROBES else None
        labels = np.zeros(cells.n_obs, dtype=int) if labels is None else labels
        return Expressed(with_depth(values, depth), labels, self._sizes.pad_id)

    def seen(self, cells: AnnData) -> pd.DataFrame:
        """Return what the network is given of cells: values, and for a probe <T> and <S>; see `FineTuned.seen`."""
        return per_gene(self.cells(cells).tokens, [*self._vocabulary, "<T>", "<S>"])

    def split(self, cells: Expressed, seed: int) -> tuple[Expressed, Expressed | None]:
        """Return the cells to train on and those to choose the epoch on: at random, or of each type if ``clean``."""
        share = self.config.validation_share
        n_validation = math.ceil(share * len(cells))
        if self.recipe == "clean":
            return stratified(cells, share, seed)
        if n_validation in (0, len(cells)):
            return cells, None
        rows = train_test_split(np.arange(len(cells)), test_size=n_validation, random_state=seed)
        return tuple(cells.take(side) for side in rows)

    def untrained(self, seed: int) -> EncoderSide:
        """Return the encoder with pretrained or random weights."""
        return self._loaded(EncoderSide(self._sizes, seed=seed))

    def build(self, n_classes: int, seed: int) -> ScFoundationClassifier:
        """Return the classifier with a fresh head."""
        network = ScFoundationClassifier(self._sizes, n_classes, seed=seed, pads=self.batch_dependent)
        self._loaded(network).train_only(self.config.trainable, quiet=self.recipe == "clean")
        return network

    def _loaded(self, network: nn.Module) -> nn.Module:
        """Return the network with the weights that the variant begins with, and say what became of them."""
        if self.variant in LOADED:
            allowed = {"allow_missing": HEAD, "allow_unused": DECODER}
            self.audit_ = str(load_into(network, self._checkpoint, **allowed))
        else:
            self.audit_ = self._checkpoint.none_loaded("genes and sizes")
        self.audit_ += f"; {self._coverage.told(most=3)}"
        return network

    def schedule(self) -> Schedule:
        """Return the published schedule with this configuration's numbers."""
        c = self.config
        same = {name: getattr(c, name) for name in ("epochs", "batch_size", "evaluation_batch", "precision")}
        return Schedule(**same, rate=lambda epoch: c.lr, accumulate=c.accumulation, choose="macro_f1")

    def _class_weights(self, labels: list[np.ndarray]) -> Tensor | None:
        """Return the weights of classes in the loss."""
        found = class_weights(np.bincount(np.concatenate(labels)), self.config.class_weights)
        return None if found is None else torch.tensor(found, dtype=torch.float32, device=device_of(self.device))

    def embed(self, cells: AnnData) -> np.ndarray:
        """Return embeddings of a probe, (n_cells, 4 * dim), or what the classifier's head is given, (n_cells, dim)."""
        if self.variant in PROBES:
            return self.vectors(cells, self._embedded, 4 * self._sizes.dim)
        return self.vectors(cells, self.network_.pooled, self._sizes.dim)

    def _embedded(self, batch: Batch) -> Tensor:
        return torch.cat([self.network_.embed(part) for part in batch.parts])[batch.place]
