"""Over which keys the maximum is taken that random features of FAVOR+ subtract before the exponential."""

from typing import Literal, get_args

Stabiliser = Literal["batch", "per_cell"]  # of all cells of a batch, as published for scBERT; or of each cell
STABILISERS: tuple[str, ...] = get_args(Stabiliser)
