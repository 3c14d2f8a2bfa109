"""Dropout whose masks cost little on the CPU, where drawing them one by one takes longer than a layer's products.

A number is dropped where 16 random bits, as a whole number, fall below the share of 65,536, rounded; what is kept is
scaled by exactly that, so that the mean stays.  torch's generator decides, as ever: equal seeds drop the same.
"""

from math import prod

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ALL = 2**16


class Dropout(nn.Dropout):
    """Dropout of single numbers in training."""

    def forward(self, x: Tensor) -> Tensor:
        """Return numbers of the same shape and type."""
        if not (self.training and self.p):
            return x
        return F.dropout(x, self.p) if x.is_cuda else x * kept(x.shape, self.p, x.dtype)


def kept(shape: tuple[int, ...], share: float, dtype: torch.dtype) -> Tensor:
    """Return zeros for what is dropped and elsewhere the number that keeps the mean, on the CPU."""
    n, dropped = prod(shape), min(max(1, round(share * _ALL)), _ALL - 1)
    seed = int(torch.randint(2**63 - 1, ()))
    drawn = np.random.SFC64(seed).random_raw(-(-n // 4)).view(np.int16)[:n]  # whole numbers from -2^15 on
    least = dropped - _ALL // 2
    stays = torch.from_numpy(drawn).clamp_(least - 1, least).sub_(least - 1)  # 0 or 1: faster than a comparison
    return stays.to(dtype).mul_(_ALL / (_ALL - dropped)).view(shape)
