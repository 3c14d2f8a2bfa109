"""scFoundation's classifier of cells: the encoder, of which one layer is trained, the maximum over tokens, two layers.

Source: the classifier that the authors publish, and Hao et al., Nature Methods 2024, for the weights of classes.

Known pitfall: the published maximum includes padded positions, which carry the position of an ordinary gene (that with
the number of the padding value), so that the logits of a cell depend on whether its batch has a longer one.  ``pads``
is False without that.  Known deviations: in training all padded positions of a cell drop the same numbers; a batch of
a single cell, where the published code stops, is normalised by the running statistics.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.core.errors import unknown
from bench.models.scfoundation.architecture import Architecture
from bench.models.scfoundation.encoder import EncoderSide, largest
from bench.models.scfoundation.inputs import Batch, Tokens

HEAD = 256  # width of the head's first layer
CLASS_WEIGHTS = ("as_printed", "capped", "inverse", "none")
MOST = 50.0


class BatchNorm(nn.BatchNorm1d):
    """Normalisation of pooled vectors by those of the batch, or by the running statistics for a cell alone."""

    def __init__(self, dim: int):
        super().__init__(dim, eps=1e-6, momentum=0.1, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n_cells, dim)."""
        if self.training and len(x) == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, eps=self.eps)
        return super().forward(x)


class ScFoundationClassifier(EncoderSide):
    """Batches of cells in, class logits out."""

    def __init__(self, architecture: Architecture, n_classes: int, *, seed: int = 0, pads: bool = True):
        super().__init__(architecture, seed=seed)
        self.pads, self.quiet = pads, False
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 2)
            self.norm = BatchNorm(architecture.dim)
            self.fc1 = nn.Sequential(nn.Linear(architecture.dim, HEAD), nn.ReLU(), nn.Linear(HEAD, n_classes))

    def forward(self, batch: Batch) -> Tensor:
        """Return the (n_cells, n_classes) logits."""
        return self.fc1(self.norm(self.pooled(batch).float()))

    def pooled(self, batch: Batch) -> Tensor:
        """Return the largest encodings of cells, (n_cells, dim)."""
        return torch.cat([self._pooled(part, batch.longest) for part in batch.parts])[batch.place]

    def _pooled(self, tokens: Tokens, longest: int) -> Tensor:
        lengths = tokens.lengths_on_device
        if not (self.pads and min(tokens.lengths) < longest):
            return largest(self.encode(tokens), lengths)
        there, padded = self.encode(tokens, self.architecture.pad_id).split([len(tokens.genes), len(lengths)])
        found = largest(there, lengths)
        return torch.where(lengths[:, None] < longest, torch.maximum(found, padded), found)

    def train_only(self, which: str, *, quiet: bool = False) -> None:
        """Require gradients of the head and, as published, of ``one_layer``, the last but one; or of ``all``.

        With ``quiet`` what is not trained drops no numbers in training.
        """
        layers, self.quiet = self.encoder["transformer_encoder"], quiet
        self.requires_grad_(which == "all")
        self.fc1.requires_grad_(True)
        if which == "one_layer":
            layers[max(len(layers) - 2, 0)].requires_grad_(True)

    def train(self, mode: bool = True) -> "ScFoundationClassifier":
        """Set the mode of training, except of what is quiet."""
        super().train(mode)
        for layer in self.encoder["transformer_encoder"] if self.quiet else ():
            layer.train(mode and next(layer.parameters()).requires_grad)
        return self


def class_weights(counts: np.ndarray, kind: str) -> np.ndarray | None:
    """Return the weight of each class in the loss, (n_classes,), or None.

    Parameters
    ----------
    counts
        Cells of each class.
    kind
        ``as_printed`` in the paper, with B = max(largest class / class, 50) and weights B / sum of B, so that only
        classes below a fiftieth of the largest get more; ``capped`` has min in the place of max; ``inverse`` is one
        divided by the number of cells.
    """
    if kind not in CLASS_WEIGHTS:
        raise unknown("class_weights", kind, CLASS_WEIGHTS)
    counts = np.maximum(counts, 1)
    if kind == "none":
        return None
    if kind == "inverse":
        return 1 / counts
    ratio = counts.max() / counts
    b = np.maximum(ratio, MOST) if kind == "as_printed" else np.minimum(ratio, MOST)
    return b / b.sum()
