"""Settings of CellPLM as an annotator."""

from dataclasses import dataclass

from bench.core.errors import BenchError, unknown
from bench.core.keys import added
from bench.models.classifiers import ClassifierConfig
from bench.preprocess import LEAST_GENES
from bench.training.device import PRECISIONS

COMPANY = ("published", "reference", "alone")


@dataclass(frozen=True)
class CellPLMConfig(ClassifierConfig):
    """Hyper-parameters of fine-tuning, the architecture is that of the weights; and of the classifier of a probe."""

    epochs: int = 2000  # at most; one step a batch
    patience: int = 200  # epochs without a better macro F1 on the validation cells
    lr: float = 5e-3  # of all but the gene vectors
    embedder_lr: float = 5e-4
    warmup_epochs: int = 30
    dropout: float = 0.5
    drop_cells: float = 0.3  # share of a pass that a step leaves out
    masked_cells: float = 0.75  # share of the others of which counts are hidden
    masked_values: float = 0.25  # share of their counts
    variable_genes: int = 3000  # chosen among those of the data; 0 for all
    by_batch: bool = True  # passes are batches, for recipe published where the data have any
    company: str = "published"  # of a cell that is predicted: see `bench.models.cellplm.annotator`
    reference_cells: int = 1000  # training cells in the company "reference"
    validation_share: float = 0.1  # of the training cells
    evaluation_batch: int = 100_000  # cells of a pass that is predicted
    precision: str = "float32"  # or "bf16"
    least_genes: float = added(LEAST_GENES)  # share of genes that must be found by name; see bench.preprocess


def check(c: CellPLMConfig) -> None:
    """Raise a BenchError if a setting is none that CellPLM knows, or out of its range."""
    if c.company not in COMPANY:
        raise unknown("company", c.company, COMPANY)
    if c.precision not in PRECISIONS:
        raise unknown("precision", c.precision, PRECISIONS)
    least = {"epochs": 1, "patience": 1, "reference_cells": 1, "evaluation_batch": 1, "variable_genes": 0}
    least |= {"warmup_epochs": 0}
    wrong = [f"{name}={getattr(c, name)}" for name, low in least.items() if getattr(c, name) < low]
    if wrong:
        raise BenchError(f"{', '.join(wrong)} should be 1 or more; variable_genes and warmup_epochs may be 0.")
    shares = ("dropout", "drop_cells", "masked_cells", "masked_values")
    if wrong := [f"{name}={getattr(c, name)}" for name in shares if not 0 <= getattr(c, name) < 1]:
        raise BenchError(f"{', '.join(wrong)} should be shares from 0 to below 1.")
