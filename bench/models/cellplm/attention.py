"""Flow attention over the cells that go through a network together; its cost grows with their number, not its square.

Source: CellPLM (Wen et al., ICLR 2024), whose encoder is a Flowformer (Wu et al., ICML 2022); written from formulas.

What a cell reads of the others are three sums over them, the `Summary`: so cells can also read those of a fixed set,
and leave no trace in them.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.models.layers.dropout import Dropout

EPS = 1e-6  # added to every component of a sum of flows
DROPOUT = 0.01  # of what attention gives; fixed, as published


class Summary(NamedTuple):
    """What all cells of a pass give to each of them, (..., 1, heads, width) and (..., heads, width, width)."""

    keys: Tensor  # sum of keys
    conserved: Tensor  # sum of keys, each divided by what flows out of it
    context: Tensor  # sum of products of keys and values, by competition


class FlowAttention(nn.Module):
    """Attention among cells, (..., n_cells, dim); leading dimensions are passes that do not see each other."""

    def __init__(self, dim: int, heads: int, dropout: float = DROPOUT):
        super().__init__()
        self.heads = heads
        self.query_projection, self.key_projection = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.value_projection, self.out_projection = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, summary: Summary | None = None) -> Tensor:
        """Return (..., n_cells, dim); without the summary of other cells, that of these."""
        q = self._flows(self.query_projection, x)
        if summary is None and x.shape[-2] == 1:
            return self.dropout(self.out_projection(self._alone(x, q).flatten(-2)))
        summary = summary or self._summary(x, q)
        with torch.autocast(x.device.type, enabled=False):  # sums over all cells stay exact
            inflow = ((q + EPS) * (summary.keys + EPS)).sum(-1, keepdim=True)
            allocation = torch.sigmoid(((q + EPS) * (summary.conserved + EPS)).sum(-1, keepdim=True))
            found = torch.einsum("...nhd,...hde->...nhe", q / inflow, summary.context) * allocation
        return self.dropout(self.out_projection(found.flatten(-2)))

    def summary(self, x: Tensor) -> Summary:
        """Return what cells, (..., n_cells, dim), give to each of them."""
        return self._summary(x, self._flows(self.query_projection, x))

    def _alone(self, x: Tensor, q: Tensor) -> Tensor:
        """Return what attention gives a cell alone, near 0.73 of its value, without a summary for each."""
        k, v = self._flows(self.key_projection, x), self._heads(self.value_projection, x)
        with torch.autocast(x.device.type, enabled=False):
            flow = ((q + EPS) * (k + EPS)).sum(-1, keepdim=True)  # in as much as out
            allocation = torch.sigmoid(((q + EPS) * (k / flow + EPS)).sum(-1, keepdim=True))
            return allocation * (q / flow * k).sum(-1, keepdim=True) * v

    def _summary(self, x: Tensor, q: Tensor) -> Summary:
        k, v = self._flows(self.key_projection, x), self._heads(self.value_projection, x)
        with torch.autocast(x.device.type, enabled=False):
            keys = k.sum(-3, keepdim=True)
            inflow = ((q + EPS) * (keys + EPS)).sum(-1, keepdim=True)
            outflow = ((k + EPS) * (q.sum(-3, keepdim=True) + EPS)).sum(-1, keepdim=True)
            conserved = (k / outflow).sum(-3, keepdim=True)
            source = ((k + EPS) * ((q / inflow).sum(-3, keepdim=True) + EPS)).sum(-1, keepdim=True)
            competition = x.shape[-2] * source.clamp(-1, 1).softmax(-3)  # (..., n_cells, heads, 1)
            return Summary(keys, conserved, torch.einsum("...nhd,...nhe->...hde", k, competition * v))

    def _flows(self, projection: nn.Linear, x: Tensor) -> Tensor:
        return torch.sigmoid(self._heads(projection, x))

    def _heads(self, projection: nn.Linear, x: Tensor) -> Tensor:
        return projection(x).float().unflatten(-1, (self.heads, -1))  # (..., n_cells, heads, width)
