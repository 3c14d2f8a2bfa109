"""Random features of FAVOR+: orthogonal Gaussian directions.

Source: Choromanski et al., Rethinking Attention with Performers, ICLR 2021; drawn as in the published scBERT, which
keeps the signs that the QR decomposition happens to give.
"""

import torch
from torch import Tensor

EPS = 1e-4  # added to a feature after the exponential


def draw_projection(n_features: int, dim_head: int, generator: torch.Generator) -> Tensor:
    """Return orthogonal Gaussian random features of shape (n_features, dim_head)."""
    n_blocks = -(-n_features // dim_head)
    drawn = {"generator": generator, "device": generator.device}  # also where a network is made without any memory
    gaussians = [torch.randn(dim_head, dim_head, **drawn) for _ in range(n_blocks)]
    norms = torch.randn(n_features, dim_head, **drawn)
    return projection_from(torch.stack(gaussians), norms)


def projection_from(gaussians: Tensor, norms: Tensor) -> Tensor:
    """Return the projection made of Gaussian numbers: orthogonal rows per block, rescaled to Gaussian lengths.

    Parameters
    ----------
    gaussians
        (n_blocks, dim_head, dim_head); the last block is cut to the number of features.
    norms
        (n_features, dim_head); row i gives the length of feature i.
    """
    rows = torch.linalg.qr(gaussians)[0].transpose(1, 2).flatten(0, 1)
    return rows[: len(norms)] * norms.norm(dim=1, keepdim=True)
