"""Settings of CellPLM as an annotator."""

from dataclasses import dataclass
from typing import ClassVar

from bench.core.keys import added
from bench.models.classifiers import ClassifierConfig
from bench.preprocess import LEAST_GENES
from bench.training.device import PRECISIONS

COMPANY = ("published", "reference", "alone")


@dataclass(frozen=True)
class CellPLMConfig(ClassifierConfig):
    """Hyper-parameters of fine-tuning, the architecture is that of the weights; and of the classifier of a probe."""

    sizes: ClassVar = ("epochs", "patience", "reference_cells", "evaluation_batch")
    least: ClassVar = {"warmup_epochs": 0, "variable_genes": 0}
    above: ClassVar = {"lr": 0, "embedder_lr": 0}
    shares: ClassVar = ("dropout", "drop_cells", "masked_cells", "masked_values", "validation_share")
    fractions: ClassVar = ("least_genes",)
    choices: ClassVar = {"company": COMPANY, "precision": PRECISIONS}

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
