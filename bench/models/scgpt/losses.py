"""Losses on predicted values and on cell embeddings, as scGPT's training has them.

Source: Cui et al., Nature Methods 2024; written from their description and PROTOCOL 3.2 and 7 of the paper, which
trains with none of them.  This project's pretraining minimises `masked_mse`; the others are compared with golden
numbers alone.
"""

import torch.nn.functional as F
from torch import Tensor


def masked_mse(prediction: Tensor, target: Tensor, mask: Tensor, n_masked: int | None = None) -> Tensor:
    """Return the mean squared error over masked positions; NaN where there is none.

    Parameters
    ----------
    prediction, target, mask
        Of equal shape; of a part of a batch, its errors are added up and divided by ``n_masked`` of the whole.
    """
    return (prediction - target)[mask].square().sum() / (mask.sum() if n_masked is None else n_masked)


def masked_relative_error(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the absolute error over the target, over masked positions."""
    return ((prediction - target).abs() / (target + 1e-6))[mask].mean()


def neg_log_bernoulli(probability: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of being expressed (target above 0), over masked positions."""
    return F.binary_cross_entropy(probability[mask], (target > 0).to(probability.dtype)[mask])


def elastic_cell_similarity(embeddings: Tensor, threshold: float) -> Tensor:
    """Return the elastic cell similarity loss of (n_cells, dim) embeddings.

    Cosine similarities below 0, and of a cell with itself, count as 0; the mean is over the whole matrix.
    """
    unit = F.normalize(embeddings, dim=1)
    similarity = (unit @ unit.T).clamp(min=0).fill_diagonal_(0)
    return (1 - (similarity - threshold) ** 2).mean()
