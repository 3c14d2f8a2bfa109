"""The network: one hidden layer over the expression levels of all its genes."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PocketNetwork(nn.Module):
    """Expression levels in, levels of all genes out; or logits over cell types, once it has a classifier."""

    def __init__(self, n_genes: int, dim: int, *, seed: int):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = nn.Linear(n_genes, dim)
            self.decoder = nn.Linear(dim, n_genes)

    def classify_into(self, n_classes: int, *, seed: int) -> None:
        """Put a fresh classifier in the place of the decoder."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.decoder = nn.Linear(self.encoder.out_features, n_classes)

    def encode(self, levels: Tensor) -> Tensor:
        """Return (cells, dim) embeddings of (cells, genes) levels."""
        return F.relu(self.encoder(levels.float()))

    def forward(self, levels: Tensor) -> Tensor:
        """Return (cells, genes) levels or (cells, n_classes) logits."""
        return self.decoder(self.encode(levels))
