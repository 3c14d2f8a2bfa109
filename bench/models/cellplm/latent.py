"""What stands between CellPLM's encoder and its heads: a Gaussian, a mixture of Gaussians, or one linear layer.

Source: CellPLM (Wen et al., ICLR 2024).  The published file of October 2023 has a plain Gaussian, that of September
2023 a mixture, whose cluster is drawn even where nothing is trained: its embedding is random, unless it is seeded.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FREE = 1.0  # nats: a weighted divergence below this counts as 0, without a gradient
STEPS, MOST = 10_000, 0.9999  # passes in which the weight of the divergence grows to 1, and where it stops


class Latent(NamedTuple):
    """A cell's distribution in the latent space, (n_cells, latent) each, and of a mixture the prior's."""

    mean: Tensor
    variance: Tensor
    prior_mean: Tensor | None = None
    prior_variance: Tensor | None = None
    clusters: Tensor | None = None  # (n_cells, n_clusters) shares


class Gaussian(nn.Module):
    """The latent layer of the file of October 2023."""

    def __init__(self, dim: int, latent: int):
        super().__init__()
        self.hid_2mu, self.hid_2sigma = nn.Linear(dim, latent), nn.Linear(dim, latent)

    def forward(self, x: Tensor, uniform: Tensor | None = None) -> Latent:
        """Return the distributions of cells; nothing is drawn."""
        return Latent(self.hid_2mu(x), self.hid_2sigma(x).float().clamp(-5, 5).exp() + 1e-4)

    def sample(self, found: Latent, noise: Tensor) -> Tensor:
        """Return what a standard normal noise makes of the distributions."""
        return found.mean + noise * found.variance.sqrt()

    def loss(self, found: Latent, weight: float) -> Tensor:
        """Return the weighted divergence from a standard normal, 0 while that is small."""
        mean, variance = found.mean.float(), found.variance
        divergence = -0.5 * (1 + variance.log() - mean.square() - variance).sum(-1).mean() * weight
        return divergence if divergence >= FREE else divergence.new_zeros(())


class Mixture(nn.Module):
    """The latent layer of the file of September 2023."""

    def __init__(self, dim: int, latent: int, n_clusters: int, hidden: int):
        super().__init__()
        second = nn.ModuleDict({"mu": nn.Linear(hidden, latent), "var": nn.Linear(hidden, latent)})
        parts = {
            "inference_qyx": nn.ModuleList([nn.ModuleDict({"logits": nn.Linear(dim, n_clusters)})]),
            "inference_qzyx": nn.ModuleList([nn.Linear(dim + n_clusters, hidden), nn.ReLU(), second]),
            "y_mu": nn.Linear(n_clusters, latent),
            "y_var": nn.Linear(n_clusters, latent),
        }
        self.inference = nn.ModuleDict(parts)
        self.n_clusters = n_clusters

    def logits(self, x: Tensor) -> Tensor:
        """Return (n_cells, n_clusters) logits of the clusters."""
        return self.inference["inference_qyx"][0]["logits"](x)

    def forward(self, x: Tensor, uniform: Tensor) -> Latent:
        """Return the distributions of cells, given uniform numbers (n_cells, n_clusters) that choose their clusters."""
        gumbel = -torch.log(-torch.log(uniform + 1e-20) + 1e-20)
        shares = (self.logits(x).float() + gumbel).softmax(-1)
        if not self.training:  # one cluster for each, still drawn
            shares = F.one_hot(shares.argmax(-1), self.n_clusters).to(shares.dtype)
        first, _, second = self.inference["inference_qzyx"]
        hidden = F.relu(first(torch.cat([x, shares.to(x.dtype)], dim=-1)))
        variance = F.softplus(second["var"](hidden).float())
        prior = self.inference["y_mu"](shares), F.softplus(self.inference["y_var"](shares).float())
        return Latent(second["mu"](hidden), variance, *prior, shares)

    def sample(self, found: Latent, noise: Tensor) -> Tensor:
        """Return what a standard normal noise makes of the distributions."""
        return found.mean + noise * (found.variance + 1e-10).sqrt()

    def terms(self, found: Latent, z: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return the Gaussian and the categorical divergence of a training pass."""
        posterior = _log_normal(z, found.mean, found.variance)
        gaussian = (posterior - _log_normal(z, found.prior_mean, found.prior_variance)).mean()
        log_shares = logits.log_softmax(-1)
        entropy = -(log_shares.exp() * log_shares).sum(-1).mean()
        return gaussian, torch.log(torch.tensor(float(self.n_clusters))) - entropy

    @staticmethod
    def loss(terms: tuple[Tensor, Tensor], weights: tuple[float, float], least: float) -> Tensor:
        """Return the weighted divergences, each at least ``least``; below that it has no gradient."""
        return sum(weight * term.clamp(min=least) for weight, term in zip(weights, terms, strict=True))


class Linear(nn.Module):
    """What annotation puts in the place of a latent layer: one product, fresh."""

    def __init__(self, dim: int, latent: int):
        super().__init__()
        self.lat_2lat = nn.Sequential(nn.Linear(dim, latent))

    def forward(self, x: Tensor, uniform: Tensor | None = None) -> Latent:
        """Return (n_cells, latent) as means without a variance."""
        found = self.lat_2lat(x)
        return Latent(found, torch.zeros_like(found))


def weight_of_divergence(step: int, steps: int = STEPS) -> float:
    """Return the weight of the Gaussian's divergence in a training pass, counted from 0."""
    return min(step / steps, MOST)


def _log_normal(z: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Return (n_cells,) logarithms of the densities of independent normals."""
    variance = variance + 1e-8
    return -0.5 * (torch.log(2 * torch.pi * variance) + (z - mean).square() / variance).sum(-1)
