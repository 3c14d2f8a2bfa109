"""Geneformer as an annotator: published fine-tuning by default, from scratch, shuffled genes and probes as variants.

Source: the authors' notebook on cell types (2022 and 2023) and the defaults of their classifier: AdamW at 5e-5, 500
steps of warm-up, batches of 12, 10 epochs, nothing frozen; the loss on the scored cells chooses the epoch.  Recipe
``clean`` chooses it on a tenth of the training cells.  Known deviations: rare types are kept, and every scored cell
counts (theirs drop types of at most 0.5 % of the cells, and evaluate no type unseen in training, nor a last cell that
is alone in its batch); batches are drawn whatever the lengths of their cells; a cell without a gene of the vocabulary,
which they drop, is read as one hidden gene in V1.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from bench.core.errors import BenchError, listed
from bench.models.classifiers import ClassifierConfig
from bench.models.counts import counts_of
from bench.models.finetuned import CLASS_WEIGHTS, FineTuned
from bench.models.geneformer import embedding
from bench.models.geneformer.masking import MASK_ID
from bench.models.geneformer.network import Architecture, GeneformerNetwork
from bench.models.geneformer.packs import Ranks
from bench.models.geneformer.ranks import ordered
from bench.models.geneformer.vocabulary import Vocabulary
from bench.models.probe import DECLARES, PRETRAINED, PROBES
from bench.preprocess import LEAST_GENES, looked_for
from bench.training.device import PRECISIONS
from bench.training.schedule import SHAPES, Schedule, warmed_up
from bench.weights import Checkpoint, load_into, read, resolve
from bench.weights.said import check_family, told

LOADED = ("pretrained", "shuffled_genes", PRETRAINED)
PUBLISHED = -1.0  # stands for what the version has
DROPOUT = {"V1": 0.02, "V2": 0.1}  # as published


@dataclass(frozen=True)
class GeneformerConfig(ClassifierConfig):
    """Hyper-parameters of fine-tuning, the architecture is that of the weights; and of the classifier of a probe."""

    sizes: ClassVar = ("epochs", "batch_size", "evaluation_batch")
    least: ClassVar = {"warmup_steps": 0, "weight_decay": 0.0, "frozen_layers": 0, "max_tokens": 0}
    above: ClassVar = {"lr": 0}
    shares: ClassVar = ("validation_share",)
    fractions: ClassVar = ("least_genes",)
    choices: ClassVar = {
        "shape": SHAPES,
        "class_weights": CLASS_WEIGHTS,
        "emb_layer": embedding.LAYERS,
        "emb_mode": ("", *embedding.MODES),
        "precision": PRECISIONS,
    }

    epochs: int = 10
    batch_size: int = 12
    lr: float = 5e-5
    warmup_steps: int = 500  # over which the rate rises from 0, however few steps there are
    shape: str = "linear"  # of the fall of the rate; or "cosine" or "polynomial"
    weight_decay: float = 0.001
    frozen_layers: int = 0  # first ones that are not trained; embeddings are
    dropout: float = PUBLISHED  # for that of the version: 0.02 in V1, 0.1 in V2
    class_weights: str = "none"  # or "inverse" of the number of cells
    validation_share: float = 0.1  # of the training cells, in recipe clean
    max_tokens: int = 0  # of a cell, lower ranks are cut off; 0 for the positions of the weights
    emb_layer: int = -1  # embeddings are of the layer before the last; 0 of the last
    emb_mode: str = ""  # "cls", as V2 by default, or "cell", the mean of genes, which alone V1 has
    evaluation_batch: int = 64
    precision: str = "float32"  # or "bf16"; on a GPU also "fp16"
    least_genes: float = LEAST_GENES  # share of genes that must be found by name; see bench.preprocess

    def __post_init__(self):
        super().__post_init__()
        if not (0 <= self.dropout < 1 or self.dropout == PUBLISHED):
            raise BenchError(f"dropout={self.dropout} should be at least 0 and below 1, or -1 for the published one.")


class Geneformer(FineTuned):
    """Annotator by BERT over ranked genes."""

    Config = GeneformerConfig
    inputs = Ranks
    needs_counts = True
    variants = ("pretrained", "no_pretraining", "shuffled_genes", *PROBES)
    variant_declares: ClassVar = DECLARES | {"no_pretraining": {"is_pretrained": False}}

    def begin(self, cells: AnnData, seed: int) -> None:
        """Read the weights, and look for their genes among those of cells."""
        if not self.weights:
            raise BenchError(
                "geneformer needs weights, for its vocabulary even without pretraining: set the override 'weights' to "
                "a file, to geneformer_v1_10m (published), or to geneformer_quick (pretrained here in a minute)."
            )
        self._checkpoint = read(resolve(self.weights))
        self._sizes = self._architecture()
        self._vocabulary = vocabulary_of(self._checkpoint)
        self._codes = np.arange(len(self._vocabulary.tokens))
        if self.variant == "shuffled_genes":  # a gene keeps its rank, and goes by the embedding of another one
            n_special = len(self._vocabulary.special)
            self._codes[n_special:] = n_special + np.random.default_rng(seed).permutation(len(self._codes) - n_special)
        self._look_for(cells)

    def tokens(self, cells: AnnData) -> sp.csr_matrix:
        """Return the tokens of cells by rank, (n_cells, longest)."""
        X = counts_of(cells).astype(np.float64)
        columns, totals = self._vocabulary.columns_of(cells), np.asarray(X.sum(axis=1)).ravel()
        found = ordered(X, totals, columns, self._vocabulary.medians)
        ranks = found.ranks(self._longest(), self._vocabulary.bounds, empty=MASK_ID)
        ranks.data = self._codes[ranks.data].astype(np.int32)
        return ranks

    def seen(self, cells: AnnData) -> pd.DataFrame:
        """Return what the network is given of cells: the rank of each gene that is kept, from 1; see `FineTuned.seen`.

        Tokens that are no genes have no rank.
        """
        names, columns = np.array(self._vocabulary.tokens, dtype=object), self._vocabulary.columns_of(cells)
        names[columns[columns >= 0]] = cells.var_names[columns >= 0]
        ranks = self.tokens(cells).tocoo()
        found = pd.DataFrame({"cell": ranks.row, "gene": names[ranks.data], "value": ranks.col})
        found["value"] += 0 if self._vocabulary.bounds else 1
        return found[~found["gene"].isin(self._vocabulary.special)].reset_index(drop=True)

    def untrained(self, seed: int) -> GeneformerNetwork:
        """Return the network with pretrained or random weights."""
        network = GeneformerNetwork(self._sizes, seed=seed)
        if self.variant in LOADED:
            self.audit_ = str(load_into(network, self._checkpoint))
        else:
            self.audit_ = self._checkpoint.none_loaded("the vocabulary")
        self.audit_ += f"; {self._coverage}"
        return network

    def build(self, n_classes: int, seed: int) -> GeneformerNetwork:
        """Return the network with a fresh pooler and classifier."""
        if not 0 <= self.config.frozen_layers <= self._sizes.depth:
            raise BenchError(
                f"frozen_layers={self.config.frozen_layers} should be from 0 to {self._sizes.depth}, the layers that "
                "these weights have."
            )
        network = self.untrained(seed)
        network.classify_into(n_classes, seed=seed)
        network.freeze(self.config.frozen_layers)
        return network

    def schedule(self) -> Schedule:
        """Return the published schedule with this configuration's numbers."""
        c = self.config
        same = {name: getattr(c, name) for name in ("epochs", "batch_size", "weight_decay", "evaluation_batch")}
        same |= {"precision": c.precision, "warmup_steps": c.warmup_steps}
        of_step = partial(warmed_up, peak=c.lr, warmup=c.warmup_steps, shape=c.shape)
        return Schedule(**same, rate=lambda epoch: c.lr, of_step=of_step, clip=1.0, choose="loss")

    def embed(self, cells: AnnData) -> np.ndarray:
        """Return the (n_cells, dim) embeddings as the authors define them."""
        layer, version = self.config.emb_layer, self._vocabulary.version
        mode = embedding.mode_of(self.config.emb_mode, version)
        told = {"layer": layer, "mode": mode, "bounded": version == "V2"}
        read_as = partial(embedding.of_cells, self.network_, **told)
        return self.vectors(cells, read_as, self._sizes.dim, read_as=f"layer {layer}, {mode}")

    def _look_for(self, cells: AnnData) -> None:
        """Note which genes of the vocabulary these cells have; refuse cells that have hardly any by name."""
        known, columns = self._vocabulary.known, self._vocabulary.columns_of(cells)
        exact = set(known)
        if "ensembl_id" in cells.var:
            by_id = cells.var["ensembl_id"].astype(str).isin(exact)
            exact |= set(cells.var_names[by_id])
        looked_for(cells, sorted(exact), self.config.least_genes)  # as they are written: of mice only case differs
        self.genes_ = self._vocabulary.genes(cells, columns)
        if not self.genes_.used:
            raise BenchError(
                f"None of the {cells.n_vars:,} genes ({', '.join(cells.var_names[:3])} ...) is among those of the "
                "weights; expected official human symbols or Ensembl identifiers."
            )
        dropped = cells.var_names[columns < 0].tolist()
        self._coverage = f"{cells.n_vars - len(dropped):,} of {cells.n_vars:,} genes are in the vocabulary"
        self._coverage += f"; dropped {len(dropped):,}: {listed(dropped, 3)}" if dropped else ""

    def _architecture(self) -> Architecture:
        """Return the sizes of the weights."""
        check_family(self._checkpoint, "geneformer")
        found = Architecture.of(self._checkpoint.tensors, heads=1)  # whether it is a Geneformer, before what it says
        c, version = self.config, told(self._checkpoint, "version", "geneformer")
        dropout = DROPOUT[version] if c.dropout == PUBLISHED else c.dropout
        return replace(found, heads=int(told(self._checkpoint, "heads", "geneformer")), dropout=dropout)

    def _longest(self) -> int:
        """Return the positions of the longest cell."""
        most, least = self.config.max_tokens, 3 if self._vocabulary.bounds else 1
        if most and not least <= most <= self._sizes.positions:
            raise BenchError(
                f"max_tokens={most} should be from {least} to the {self._sizes.positions:,} positions of the weights, "
                "or 0 for all of these."
            )
        return most or self._sizes.positions


def vocabulary_of(checkpoint: Checkpoint) -> Vocabulary:
    """Return the tokens, medians and names that weights of a Geneformer bring along."""
    found = Vocabulary.told(*(told(checkpoint, key, "geneformer") for key in ("genes", "medians", "names")))
    embedded = len(checkpoint.tensors["bert.embeddings.word_embeddings.weight"])
    if not len(found.tokens) == len(found.medians) == embedded:
        raise BenchError(
            f"{checkpoint.path} names {len(found.tokens):,} tokens with {len(found.medians):,} medians, and embeds "
            f"{embedded:,}; expected one of each. Convert the original file with: bench weights geneformer --path FILE."
        )
    return found
