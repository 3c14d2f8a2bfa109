"""What scBERT is given: tokens of all genes of a list, in order, and one more position."""

import json

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.training.labelled import Cells
from bench.weights import Checkpoint
from bench.weights.said import told


class Positions(Cells):
    """Labelled cells with a token for every gene and the appended token 0."""

    def inputs(self, rows: np.ndarray, device: torch.device) -> Tensor:
        """Return token ids, (cells, genes + 1)."""
        return F.pad(super().inputs(rows, device), (0, 1))


def positions(checkpoint: Checkpoint) -> tuple[list[str], str]:
    """Return the genes of the positions and the library, ``panglao`` or ``all``, that weights of scBERT name.

    Raises
    ------
    BenchError
        If they are another model's, or do not say it.
    """
    genes, library = (told(checkpoint, key, "scbert", " --genes GENES.txt") for key in ("genes", "library"))
    return json.loads(genes), library
