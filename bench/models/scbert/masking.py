"""Masked expression: which positions are hidden, what predicting them costs, and how well it went.

Source: PROTOCOL 1.4 and 1.5 of the paper.  15 % of the expressed positions of each cell are selected; nine in ten of
these become the mask token, the others stay visible but are predicted all the same.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.models.scbert.network import MASK

SELECTED, REPLACED = 0.15, 0.9


@dataclass(frozen=True)
class Masked:
    """Token ids after masking and what to predict; all of shape (cells, positions)."""

    tokens: Tensor  # input of the model
    labels: Tensor  # true ids at selected positions, `MASK` elsewhere
    selected: Tensor  # bool
    replaced: Tensor  # bool: selected and hidden by `MASK`


def mask(tokens: Tensor, score: Tensor, replace: Tensor) -> Masked:
    """Return masked token ids.

    Parameters
    ----------
    tokens
        Ids of shape (cells, positions).
    score, replace
        Uniform numbers in [0, 1) of the same shape: of the positions with a token other than 0 and `MASK` the ones
        with the highest scores are selected, and those with ``replace`` below 0.9 are hidden.
    """
    maskable = (tokens != 0) & (tokens != MASK)
    n_selected = selected_count(maskable.sum(1), tokens.shape[1])
    order = score.masked_fill(~maskable, -1.0).argsort(dim=1, descending=True)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    selected = maskable & (rank < n_selected[:, None])
    replaced = selected & (replace < REPLACED)
    labels = tokens.masked_fill(~selected, MASK)
    return Masked(tokens.masked_fill(replaced, MASK), labels, selected, replaced)


def mask_seeded(tokens: Tensor, seed: int) -> Masked:
    """Return masked token ids with random numbers that depend on the seed and the shape alone."""
    generator = torch.Generator().manual_seed(seed)
    score, replace = (torch.rand(tokens.shape, generator=generator).to(tokens.device) for _ in range(2))
    return mask(tokens, score, replace)


def selected_count(maskable: Tensor, n_positions: int) -> Tensor:
    """Return how many of (cells,) maskable positions are selected; rounded up in float32, as published."""
    count = (maskable.float() * SELECTED).ceil().long()
    return count.clamp(max=int(np.ceil(SELECTED * n_positions)))


def masked_loss(logits: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
    """Return the cross-entropy over the selected positions; NaN where there is none.

    Parameters
    ----------
    logits, labels
        Of shape (cells, positions, n_tokens) and (cells, positions).
    reduction
        ``mean`` over selected positions, or ``sum``.
    """
    return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=MASK, reduction=reduction)


def expressed_prediction(logits: Tensor) -> Tensor:
    """Return the most probable of the ids 1 to 5, as the published pre-training script counts accuracy."""
    return logits[..., 1:MASK].argmax(-1) + 1


def accuracy_where(prediction: Tensor, tokens: Tensor, where: Tensor) -> Tensor:
    """Return the share of right predictions among chosen positions, pooled over cells; all (cells, positions)."""
    return (prediction == tokens)[where].double().mean()


def accuracy_per_cell(prediction: Tensor, tokens: Tensor, where: Tensor) -> Tensor:
    """Return the same for each cell, (cells,); NaN for a cell without any chosen position."""
    return ((prediction == tokens) & where).sum(1).float() / where.sum(1)


def most_common_bin(tokens: Tensor) -> Tensor:
    """Return the most frequent id among 1 to 5 of each cell, (cells,); of equally frequent ones the smallest."""
    counts = torch.stack([(tokens == token).sum(1) for token in range(1, MASK)], 1)
    return counts.argmax(1) + 1
