"""CellPLM's decoder: counts of all genes as negative binomials, given a latent vector, a batch and a data set.

Source: CellPLM (Wen et al., ICLR 2024); as published, covariates that are not known are the sum of all that are.
"""

import torch
from torch import Tensor, nn

from bench.models.cellplm.sizes import GROUPS
from bench.models.layers.dropout import Dropout

EPS = 1e-10
COVARIATES = ("batch", "dataset")


class Decoder(nn.Module):
    """Latent vectors in, means of counts out.

    Parameters
    ----------
    n_genes, latent, hidden, between, dropout
        Sizes: genes, the latent vector, the blocks, the layer before the genes; and the share dropped.
    n_blocks
        Of the hidden width; covariates are added after each.
    covariates
        Number of batches and of data sets.
    """

    def __init__(
        self,
        n_genes: int,
        latent: int,
        hidden: int,
        between: int,
        dropout: float,
        *,
        n_blocks: int,
        covariates: tuple[int, int],
    ):
        super().__init__()
        self.layers = nn.ModuleList(_block(hidden if i else latent, hidden, dropout) for i in range(n_blocks))
        self.covariate_layers = nn.ModuleList(
            nn.ModuleDict({name: _covariate(n, hidden) for name, n in zip(COVARIATES, covariates, strict=True)})
            for _ in range(n_blocks)
        )
        self.out_layer = nn.Module()
        self.out_layer.dec_disp = nn.Parameter(torch.randn(n_genes))
        self.out_layer.dec_1 = nn.Linear(hidden, between)
        self.out_layer.dec_mean = nn.Sequential(nn.Linear(between, n_genes))

    def forward(self, z: Tensor, batch: Tensor | None = None, dataset: Tensor | None = None) -> Tensor:
        """Return the (n_cells, n_genes) means before they are rescaled to a cell's total.

        Parameters
        ----------
        z
            Latent vectors, (n_cells, latent).
        batch, dataset
            (n_cells,) numbers, or None where they are not known.
        """
        for block, covariates in zip(self.layers, self.covariate_layers, strict=True):
            z = block(z)
            for name, numbers in zip(COVARIATES, (batch, dataset), strict=True):
                embedding, activation, norm = covariates[name]
                known = embedding.weight.sum(0, keepdim=True).detach() if numbers is None else embedding(numbers)
                z = z + norm(activation(known))
        found = self.out_layer.dec_mean(torch.relu(self.out_layer.dec_1(z)))
        return found.float().exp().clamp(1e-5, 1e6)

    @property
    def dispersion(self) -> Tensor:
        """The (n_genes,) dispersions."""
        return self.out_layer.dec_disp.exp().clamp(1e-4, 1e4)


def negative_binomial(counts: Tensor, mean: Tensor, dispersion: Tensor) -> Tensor:
    """Return the negative logarithm of each count's probability, of the shape of the counts."""
    d = dispersion + EPS
    constant = torch.lgamma(d) + torch.lgamma(counts + 1) - torch.lgamma(counts + d)
    ratio = torch.log1p(mean / d)
    return constant + (dispersion + counts) * ratio + counts * (torch.log(d) - torch.log(mean + EPS))


def rescaled(mean: Tensor, counts: Tensor) -> Tensor:
    """Return means with each cell's total the total of its counts, (n_cells, n_genes)."""
    return mean * (counts.sum(1, keepdim=True) / mean.sum(1, keepdim=True))


def reconstruction(counts: Tensor, mean: Tensor, dispersion: Tensor, hidden: Tensor | None = None) -> Tensor:
    """Return the loss of a pass: over all counts, and once more over those that were hidden.

    Parameters
    ----------
    counts, mean
        (n_cells, n_genes) true counts and the decoder's means.
    dispersion
        (n_genes,).
    hidden
        (n_cells, n_genes) bool; cells of which nothing was hidden do not count.  None where nothing is trained: then
        all cells count, and only the first term does.
    """
    if hidden is None:
        return negative_binomial(counts, rescaled(mean, counts), dispersion).sum(1).mean()
    some = hidden.any(1)
    counts, mean, hidden = counts[some], mean[some], hidden[some]
    whole = negative_binomial(counts, rescaled(mean, counts), dispersion)
    guessed = rescaled(mean * hidden, counts * hidden)
    guessed = torch.where(hidden, guessed, 1.0)  # not looked at
    of_hidden = negative_binomial(counts * hidden, guessed, dispersion) * hidden
    return (whole + of_hidden).sum(1).sum() / max(1, len(counts))


def _block(width: int, hidden: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.PReLU(), Dropout(dropout), nn.GroupNorm(GROUPS, hidden))


def _covariate(n: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Embedding(n, hidden), nn.PReLU(), nn.GroupNorm(GROUPS, hidden))
