"""Masked ranks: which genes of a cell are hidden, behind which token, and how well they are predicted.

Source: the authors' collator for pretraining, which is BERT's.  <cls> and <eos> are hidden like genes, as there, and
a token drawn at random may be any of the vocabulary.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from bench.models.geneformer.vocabulary import MASK, PAD, SPECIALS

SHARE = 0.15  # of the positions that are to be predicted
MASKED, RANDOM = 0.8, 0.5  # share of these that is hidden; of the others, that is replaced by a random token
PAD_ID, MASK_ID = SPECIALS["V1"].index(PAD), SPECIALS["V1"].index(MASK)  # of either version


@dataclass(frozen=True)
class Draws:
    """What is drawn for each position, (n_positions,) each."""

    selected: np.ndarray  # bool, with the share of positions to be predicted
    masked: np.ndarray  # bool, with the share of <mask>
    replaced: np.ndarray  # bool
    words: np.ndarray  # tokens, of the whole vocabulary

    @classmethod
    def of(cls, n_positions: int, n_tokens: int, rng: np.random.Generator) -> "Draws":
        """Return the draws of some positions."""
        shares = (rng.random(n_positions) < share for share in (SHARE, MASKED, RANDOM))
        return cls(*shares, rng.integers(n_tokens, size=n_positions))

    @classmethod
    def joined(cls, draws: "list[Draws]") -> "Draws":
        """Return the draws of several cells as those of all their positions."""
        return cls(*(np.concatenate([getattr(one, name.name) for one in draws]) for name in fields(cls)))


def eligible(genes: np.ndarray) -> np.ndarray:
    """Return which positions may be predicted: all but those of <pad> and <mask>."""
    return (genes != PAD_ID) & (genes != MASK_ID)


def masked(genes: np.ndarray, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens that the network is shown, and which of the true ones it is to predict, (n_positions,) bool."""
    where = eligible(genes) & draws.selected
    shown = np.where(where & draws.masked, MASK_ID, genes)
    return np.where(where & ~draws.masked & draws.replaced, draws.words, shown), where


def cross_entropy(logits: Tensor, true: Tensor, n_predicted: int) -> Tensor:
    """Return the sum over (n, n_tokens) logits, divided by the positions that are predicted in the whole batch."""
    return F.cross_entropy(logits.float(), true, reduction="sum") / n_predicted
