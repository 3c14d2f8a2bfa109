"""scGPT as an annotator: published fine-tuning by default, from scratch and probes as variants, choices as settings.

Source: PROTOCOL 1.7, 1.8 and 3.2 of the paper: Adam with eps 1e-4, rate times 0.9 per epoch, all weights trained; the
loss on a tenth of the training cells chooses the epoch.  Recipe ``clean`` stratifies these and shuffles every epoch.
Known deviations: with ``published_rng`` the scored cells are drawn after training, not before.
"""

import json
import math
from dataclasses import dataclass, replace
from itertools import filterfalse
from typing import ClassVar

import numpy as np
import pandas as pd
from anndata import AnnData
from sklearn.model_selection import train_test_split

from bench.core.errors import BenchError
from bench.core.keys import added
from bench.datasets.names import cell_ids
from bench.models.classifiers import ClassifierConfig
from bench.models.finetuned import CLASS_WEIGHTS, FineTuned, per_gene, stratified
from bench.models.layers.sequences import Sequences
from bench.models.probe import DECLARES, PRETRAINED, PROBES, RANDOM, SEED
from bench.models.scgpt.binning import CLS, at_most, binned
from bench.models.scgpt.network import Architecture, ScGPTNetwork
from bench.preprocess import LEAST_GENES, looked_for
from bench.training.device import PRECISIONS
from bench.training.schedule import Schedule
from bench.weights import Checkpoint, load_into, read, resolve
from bench.weights.said import told
from bench.weights.vocabulary import SPECIAL, coverage

TRAINABLE = ("all", "last_layer", "head")
FROM_SCRATCH = ("no_pretraining", "no_pretraining_frozen_embeddings", "scratch_tuned")
LOADED = ("pretrained", PRETRAINED)
FROZEN = ("encoder", "value_encoder")  # what "frozen" means in the paper: its transformer is trained


@dataclass(frozen=True)
class ScGPTConfig(ClassifierConfig):
    """Hyper-parameters of fine-tuning, the architecture is that of the weights; and of the classifier of a probe.

    A probe takes of these what its classifier and its embedding have: nothing of training.  Fine-tuning has no use for
    a classifier of vectors.
    """

    sizes: ClassVar = ("epochs", "batch_size", "evaluation_batch")
    least: ClassVar = {"max_tokens": 2} | dict.fromkeys(("warmup_steps", "layers", "dim", "hidden", "heads"), 0)
    above: ClassVar = {"lr": 0, "decay": 0}
    shares: ClassVar = ("dropout", "validation_share")
    fractions: ClassVar = ("least_genes",)
    choices: ClassVar = {"trainable": TRAINABLE, "class_weights": CLASS_WEIGHTS, "precision": PRECISIONS}

    epochs: int = 20
    batch_size: int = 32
    lr: float = 1e-4
    decay: float = 0.9  # of the rate, per epoch
    warmup_steps: int = 0  # over which the rate rises from 0
    shuffle: bool = False  # anew every epoch; published is one order for all of them
    trainable: str = "all"  # "last_layer" with the head; "head" alone
    class_weights: str = "none"  # or "inverse" of the number of cells
    dropout: float = 0.2
    validation_share: float = 0.1  # of the training cells
    max_tokens: int = 3001  # of a cell, with the first one that stands for it
    evaluation_batch: int = 64
    precision: str = "float32"  # or "bf16"; on a GPU also "fp16", as published
    published_rng: bool = False  # ties and subsets from one stream, so that they depend on the order of cells
    layers: int = 0  # 0 for those of the weights; other sizes only from scratch
    dim: int = 0
    hidden: int = 0
    heads: int = 0
    least_genes: float = added(LEAST_GENES)  # share of genes that must be found by name; see bench.preprocess


class ScGPT(FineTuned):
    """Annotator by a transformer over the expressed genes."""

    Config = ScGPTConfig
    variants = ("pretrained", *FROM_SCRATCH, *PROBES)
    leaking_recipes = ()
    variant_declares: ClassVar = DECLARES | {variant: {"is_pretrained": False} for variant in FROM_SCRATCH}
    alone: ClassVar = {"published_rng": False}
    variant_settings: ClassVar = {
        "no_pretraining": {"epochs": 30},  # as published
        "no_pretraining_frozen_embeddings": {"epochs": 30},
        "scratch_tuned": {  # what scGPT's authors advise: smaller, with warm-up, shuffled
            **{"layers": 4, "dim": 128, "hidden": 128, "heads": 4},
            **{"epochs": 30, "lr": 5e-4, "warmup_steps": 200, "shuffle": True},
        },
    }

    def begin(self, cells: AnnData, seed: int) -> None:
        """Read the weights, and look for their genes among those of cells."""
        if not self.weights:
            raise BenchError(
                "scgpt needs weights, for its vocabulary even without pretraining: set the override 'weights' to a "
                "file, to scgpt_human (the published ones), or to scgpt_quick (pretrained here in a minute)."
            )
        self._checkpoint, self._seed = read(resolve(self.weights)), SEED if self.variant in PROBES else seed
        self._sizes = self._architecture()
        self._vocabulary = vocabulary_of(self._checkpoint)
        self._coverage = coverage(cells.var_names, self._vocabulary)
        self.genes_ = looked_for(cells, filterfalse(SPECIAL.fullmatch, self._vocabulary), self.config.least_genes)
        self._stream = np.random.RandomState(seed) if self.config.published_rng else None

    def cells(self, cells: AnnData, labels: np.ndarray | None = None) -> Sequences:
        """Return the bins of cells; those of training cells in the published stream are cut by `split`."""
        names, stream = cells.var_names.tolist(), self._stream
        whole = stream is not None and labels is not None
        if stream is not None and labels is None:  # so that predicting twice gives the same
            stream = np.random.RandomState(self._seed)
        draw = {"ids": cell_ids("", cells.obs_names), "seed": self._seed}  # the same if a file is renamed
        most = None if whole else self.config.max_tokens - 1
        bins = binned(cells.X, names, self._vocabulary, max_genes=most, published_rng=stream, **draw)
        labels = np.zeros(cells.n_obs, dtype=int) if labels is None else labels
        return Sequences(bins, labels, self._vocabulary.index(CLS))

    def seen(self, cells: AnnData) -> pd.DataFrame:
        """Return what the network is given of cells: the bin of each gene that is kept; see `FineTuned.seen`."""
        return per_gene(self.cells(cells).tokens, self._vocabulary)

    def split(self, cells: Sequences, seed: int) -> tuple[Sequences, Sequences | None]:
        """Return the cells to train on, in the order of all epochs, and those to choose the epoch on."""
        share = self.config.validation_share
        n_validation = math.ceil(share * len(cells))
        if self.recipe == "clean":
            sides = stratified(cells, share, seed)
        elif n_validation in (0, len(cells)):
            sides = cells, None
        else:
            draw = np.random.RandomState(seed) if self._stream is None else self._stream
            rows = train_test_split(np.arange(len(cells)), test_size=n_validation, random_state=draw)
            sides = tuple(cells.take(side) for side in rows)
        return sides if self._stream is None else tuple(map(self._cut, sides))

    def _cut(self, cells: Sequences | None) -> Sequences | None:
        if cells is None:
            return None
        bins = at_most(cells.tokens, self.config.max_tokens - 1, ids=None, seed=0, published_rng=self._stream)
        return replace(cells, tokens=bins)

    def untrained(self, seed: int) -> ScGPTNetwork:
        """Return the network with pretrained or random weights."""
        network = ScGPTNetwork(self._sizes, seed=seed, equal_layers=self.variant != "scratch_tuned")
        if self.variant in LOADED:
            self.audit_ = str(load_into(network, self._checkpoint))
        else:
            self.audit_ = self._checkpoint.none_loaded("the vocabulary")
        self.audit_ += f"; {self._coverage.told(most=3)}"  # all of their names: bench weights NAME --data DATA
        return network

    def build(self, n_classes: int, seed: int) -> ScGPTNetwork:
        """Return the network with a fresh classifier."""
        network = self.untrained(seed)
        network.classify_into(n_classes, seed=seed)
        network.requires_grad_(self.config.trainable == "all")
        trained = [network.cls_decoder]
        trained += [network.transformer_encoder["layers"][-1]] if self.config.trainable == "last_layer" else []
        for module in trained:
            module.requires_grad_(True)
        if self.variant == "no_pretraining_frozen_embeddings":
            for name in FROZEN:
                network.get_submodule(name).requires_grad_(False)
        return network

    def schedule(self) -> Schedule:
        """Return the published schedule with this configuration's numbers."""
        c = self.config
        same = {name: getattr(c, name) for name in ("epochs", "batch_size", "warmup_steps", "evaluation_batch")}
        same |= {"precision": c.precision, "shuffle": c.shuffle or self.recipe == "clean"}
        return Schedule(**same, rate=lambda epoch: c.lr * c.decay**epoch, adam_eps=1e-4, clip=1.0, choose="loss")

    def embed(self, cells: AnnData) -> np.ndarray:
        """Return the (n_cells, dim) outputs at the first token."""
        return self.vectors(cells, self.network_.embed, self._sizes.dim)

    def _architecture(self) -> Architecture:
        """Return the sizes of the weights, or those asked for."""
        found = Architecture.of(self._checkpoint.tensors, heads=1)  # whether it is an scGPT, before what it says
        c = self.config
        found = replace(found, heads=int(told(self._checkpoint, "heads", "scgpt")), dropout=c.dropout)
        asked = {"depth": c.layers, "dim": c.dim, "hidden": c.hidden, "heads": c.heads}
        asked = {name: size for name, size in asked.items() if size not in (0, getattr(found, name))}
        if asked and self.variant in LOADED:
            raise BenchError(
                f"Other sizes than those of the weights ({asked}) make sense from scratch only: "
                f"scgpt@{', scgpt@'.join((*FROM_SCRATCH, RANDOM))}."
            )
        return replace(found, **asked)


def vocabulary_of(checkpoint: Checkpoint) -> list[str]:
    """Return the tokens that weights of an scGPT name, in the order of their ids."""
    vocabulary = json.loads(told(checkpoint, "genes", "scgpt"))
    embedded = len(checkpoint.tensors["encoder.embedding.weight"])
    if len(vocabulary) != embedded or CLS not in vocabulary:
        raise BenchError(
            f"{checkpoint.path} names {len(vocabulary):,} tokens with{'' if CLS in vocabulary else 'out'} {CLS}, and "
            f"embeds {embedded:,}; expected one name for each, {CLS} among them. Convert the original files with: "
            "bench weights scgpt --path FOLDER."
        )
    return vocabulary
