"""CellPLM as an annotator: published fine-tuning by default, from scratch and probes as variants, choices as settings.

Source: Wen et al., ICLR 2024.  Recipe ``published`` does what the authors' code does: the scored cells, without their
labels, choose the genes and keep the training cells company in every pass; passes are batches where there are any.
Recipe ``clean`` trains on the training cells alone, in one pass, and the norm that the authors' optimiser has
forgotten too; its validation cells are stratified.

What the network says of a cell depends on the cells that go through it with it, and ``company`` chooses which:
``published``, those that are predicted together, of recipe ``published`` with the training cells among them;
``reference``, a fixed set of training cells, so that no other scored cell has a part in it; ``alone``, none.
Known deviations: classes are those of the training cells, of all cells for the authors; where a batch has no training
cell, batches are not told apart at all, as the authors' code stops there.
"""

import math
from dataclasses import replace
from typing import ClassVar, Self

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from anndata import AnnData
from sklearn.model_selection import train_test_split
from torch import Tensor

from bench.core.errors import BenchError
from bench.models.cellplm.config import CellPLMConfig
from bench.models.cellplm.epochs import PassHistory, finetune
from bench.models.cellplm.finetuning import Batch, Hiding, Rates, Trainer
from bench.models.cellplm.inputs import InCompany, Vocabulary, chosen_genes, digest_of, joined
from bench.models.cellplm.network import LATENT, Architecture, CellPLMNetwork
from bench.models.cellplm.passes import Pass
from bench.models.contract import labels_of
from bench.models.finetuned import FineTuned, per_gene, stratified
from bench.models.probe import DECLARES, PRETRAINED, PROBES, RANDOM, SEED
from bench.training.device import autocast, device_of
from bench.training.finetune import over_cells
from bench.training.labelled import Cells
from bench.training.schedule import Schedule
from bench.weights import load_into, read, resolve
from bench.weights.said import check_family, told

LOADED = ("pretrained", "shuffled_genes", PRETRAINED)


class CellPLM(FineTuned):
    """Annotator by a transformer whose tokens are cells."""

    Config = CellPLMConfig
    inputs = InCompany
    needs_counts = True
    variants = ("pretrained", "no_pretraining", "shuffled_genes", *PROBES)
    variant_declares: ClassVar = DECLARES | {"no_pretraining": {"is_pretrained": False}}
    variant_settings: ClassVar = {PRETRAINED: {"company": "reference"}, RANDOM: {"company": "reference"}}

    @property
    def batch_dependent(self) -> bool:
        """Whether a prediction depends on the other cells that are predicted with it."""
        return self.config.company == "published"

    def begin(self, cells: AnnData, seed: int) -> None:
        """Read the weights, and look for their genes among those of cells."""
        if not self.weights:
            raise BenchError(
                "cellplm needs weights, for its genes even without pretraining: set the override 'weights' to a file, "
                "to cellplm_20231027 (the published ones), or to cellplm_quick (pretrained here in a minute)."
            )
        self._checkpoint = read(resolve(self.weights))
        check_family(self._checkpoint, "cellplm")
        self._sizes = Architecture.of(self._checkpoint.tensors, 1)  # whether it is a CellPLM, before what it says
        self._sizes = replace(self._sizes, heads=int(told(self._checkpoint, "heads", "cellplm")))
        self._vocabulary = Vocabulary.of(self._checkpoint)
        self.genes_ = self._vocabulary.looked_for(cells, self.config.least_genes)
        n_genes = self._sizes.n_genes
        shuffled = self.variant == "shuffled_genes"
        self._order = np.random.default_rng(seed).permutation(n_genes) if shuffled else np.arange(n_genes)
        self._chosen, self._company, self._reference, self._one_pass = None, None, None, False

    def untrained(self, seed: int) -> CellPLMNetwork:
        """Return the network with pretrained or random weights, and no decoder."""
        network = CellPLMNetwork(replace(self._sizes, decoder=0, dropout=self.config.dropout), seed=seed)
        if self.variant in LOADED:
            self.audit_ = str(load_into(network, self._checkpoint, allow_unused=("decoder.*",)))
        else:
            self.audit_ = self._checkpoint.none_loaded("genes and sizes")
        return network

    def build(self, n_classes: int, seed: int) -> CellPLMNetwork:
        """Return the network with a fresh latent layer and a fresh head."""
        network = self.untrained(seed)
        network.classify_into(n_classes, seed=seed)
        if self.variant in LOADED:
            self.audit_ += f"; {LATENT}.* gives way to a fresh layer, as published"
        return network

    def cells(self, cells: AnnData, labels: np.ndarray | None = None) -> InCompany:
        """Return the counts of cells, in the company in which they are predicted."""
        company, counts = self.config.company, self._vocabulary.counts(cells, self._order, self._chosen)
        batched = "batch" in cells.obs and not self._one_pass
        return InCompany(
            counts,
            np.zeros(cells.n_obs, dtype=int) if labels is None else labels,
            batches=cells.obs["batch"].astype(str).to_numpy() if batched else None,
            before=self._company if company == "published" else None,
            alone=company == "alone",
            reading=company == "reference",
            n_clusters=self._sizes.n_clusters if self.variant in PROBES and self._sizes.kind == "gmvae" else 0,
        )

    def seen(self, cells: AnnData) -> pd.DataFrame:
        """Return what the network is given of cells: the factor of each gene's vector; see `FineTuned.seen`."""
        given = self.cells(cells).tokens
        there = np.unique(given.indices)
        rows = Pass(given[:, there], np.arange(len(there)), torch.device("cpu")).features(torch.eye(len(there)))
        return per_gene(sp.csr_matrix(rows.numpy()), [self.genes_.wanted[gene] for gene in there])

    def fit(self, train: AnnData, *, seed: int, validation: AnnData | None = None) -> Self:
        """Fine-tune, or fit a probe; after a Ctrl-C the model predicts with its best epoch so far.

        Raises
        ------
        BenchError
            If the weights do not fit, the device is not there, or the loss is not finite.
        """
        if self.variant in PROBES:
            return self._fit_probe(train, seed)
        self.begin(train, seed)
        self.classes_, labels = np.unique(labels_of(train), return_inverse=True)
        published, c = self.recipe in self.leaking_recipes, self.config
        scored = validation if published else None
        self._chosen = chosen_genes(self._vocabulary, train, scored, c.variable_genes)
        self._one_pass = not published or self._batches_are_lost(train, scored)
        known = self.cells(train, labels)
        whole = known if scored is None else joined(known, self.cells(scored))
        trains, validates = self._sides(known, seed)
        self._reference = self._drawn(known.take(trains))
        self.network_ = self.build(len(self.classes_), seed).to(device_of(self.device))
        rates = Rates(lr=c.lr, embedder_lr=c.embedder_lr, warmup=c.warmup_epochs)
        trainer = Trainer(self.network_, rates, c.precision, norm_is_trained=not published)

        def validate() -> tuple[Tensor, np.ndarray]:
            seen = known.take(validates) if c.company != "published" else whole
            logits = over_cells(self.network_, self._reading(self.network_), seen, self.schedule())
            return (logits if len(seen) == len(validates) else logits[validates]), labels[validates]

        told = {"epochs": c.epochs, "patience": c.patience, "seed": seed}
        history, hiding = PassHistory(), Hiding(c.drop_cells, c.masked_cells, c.masked_values)
        passes = self._passes(whole, trains)
        try:
            finetune(trainer, passes, hiding, validate if len(validates) else None, history, **told)
        finally:
            self.diagnostics_ = history.diagnostics()
            self._company, self._one_pass = (known if published else None), published and self._one_pass
        return self

    def logits(self, cells: AnnData) -> Tensor:
        """Return (n_cells, n_classes) logits, each cell's in the company that ``company`` names."""
        return over_cells(self.network_, self._reading(self.network_), self.cells(cells), self.schedule())

    def embed(self, cells: AnnData) -> np.ndarray:
        """Return the (n_cells, latent) means of the latent layer."""
        company = self.config.company
        if company == "reference":
            company += f" {digest_of(self._reference.tokens)}"
        return self.vectors(cells, self._reading(self.network_.embed), self._sizes.latent, company=company)

    def with_network(self, cells: AnnData, seed: int) -> Self:
        """Put the network in place as a probe reads it; of these cells some are the reference."""
        if self.config.company == "published":
            raise BenchError(
                "With company='published' the embedding of a cell depends on the cells that are embedded with it; "
                f"variant {self.variant!r} needs company='reference', its default, or company='alone'."
            )
        super().with_network(cells, seed)
        self._reference = self._drawn(self.cells(cells))
        return self

    def schedule(self) -> Schedule:
        """Return how cells are predicted; training has rates of its own."""
        c = self.config
        at_once = {"evaluation_batch": c.evaluation_batch, "precision": c.precision}
        return Schedule(c.epochs, 1, lambda epoch: c.lr, **at_once)

    def _reading(self, run):
        """Return a function of a pass that gives what ``run`` does for its cells, without those that are company."""
        read = None
        if self.config.company == "reference":
            device = device_of(self.device)
            cells = self._reference.inputs(np.arange(len(self._reference)), device)
            self.network_.eval()
            with torch.no_grad(), autocast(device, self.config.precision):
                read = self.network_.summaries(cells)
        return lambda cells: run(cells, read)[cells.n_before :]

    def _drawn(self, cells: InCompany) -> InCompany:
        """Return the reference: so many of some cells, the same for every seed."""
        n = min(self.config.reference_cells, len(cells))
        rows = np.random.default_rng(SEED).choice(len(cells), n, replace=False)
        return replace(cells.take(np.sort(rows)), batches=None, reading=False)

    def _passes(self, whole: InCompany, trains: np.ndarray) -> list[Batch]:
        """Return what a step takes together, in which cells see each other unless they are alone where it counts."""
        device, together = device_of(self.device), replace(whole, alone=False, reading=False)
        counted = np.isin(np.arange(len(whole)), trains)
        alone = self.config.company == "alone"
        parts = together.parts(np.arange(len(whole)), len(whole), device)
        passes = [replace(together.inputs(part, device), alone=alone) for part in parts]
        return [Batch(p, whole.labels[part], counted[part]) for p, part in zip(passes, parts, strict=True)]

    def _sides(self, cells: InCompany, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows to train on and those to choose the epoch on."""
        share, rows = self.config.validation_share, np.arange(len(cells))
        if self.recipe == "clean":
            sides = stratified(Cells(rows[:, None], cells.labels), share, seed)
            return tuple(np.array([], int) if side is None else side.tokens[:, 0] for side in sides)
        n_validation = math.ceil(share * len(rows))
        if n_validation in (0, len(rows)):
            return rows, rows[:0]
        return tuple(map(np.sort, train_test_split(rows, test_size=n_validation, random_state=seed)))

    def _batches_are_lost(self, train: AnnData, scored: AnnData | None) -> bool:
        """Say whether a batch would have no training cell, or there are no batches."""
        if not self.config.by_batch or "batch" not in train.obs:
            return True
        others = [] if scored is None else scored.obs["batch"].astype(str)
        return not set(others) <= set(train.obs["batch"].astype(str))
