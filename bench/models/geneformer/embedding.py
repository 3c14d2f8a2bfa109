"""Embeddings of cells and genes as the authors define them: by default of the layer before the last.

Source: their embedding extractor.  Known deviations: all cells are embedded, in their order, where it takes a thousand
by default and sorts them by length.
"""

import numpy as np
import torch
from torch import Tensor

from bench.models.geneformer.network import GeneformerNetwork
from bench.models.geneformer.packs import Ranked

LAYERS = {-1: "before the last", 0: "the last"}
MODES = ("cls", "cell")


def depth_of(network: GeneformerNetwork, layer: int) -> int:
    """Return after how many layers an embedding is read: -1 before the last layer, 0 after it."""
    return network.architecture.depth + layer


def mode_of(mode: str, version: str) -> str:
    """Return how a cell's positions become one vector: ``cls``, or their mean, ``cell``, which alone V1 has."""
    return "cell" if version == "V1" else mode or "cls"


def of_cells(network: GeneformerNetwork, packed: Ranked, *, layer: int, mode: str, bounded: bool) -> Tensor:
    """Return the embeddings of cells, (n_cells, dim).

    Parameters
    ----------
    network, packed
        The network, and cells.
    layer
        -1 for the layer before the last, 0 for the last.
    mode
        ``cls`` takes the first position, ``cell`` the mean over the genes.
    bounded
        Whether cells begin and end with tokens that are no genes; a cell of nothing else has the mean of these.
    """
    depth = depth_of(network, layer)
    if mode == "cls":
        return network.first(packed, depth)
    encodings = network.encode(packed, depth).float()
    lengths = torch.tensor(packed.lengths, device=encodings.device)
    if bounded:
        genes = (packed.places > 0) & (packed.places < (lengths - 1).repeat_interleave(lengths))
        genes |= (lengths <= 2).repeat_interleave(lengths)
        encodings, lengths = encodings[genes], torch.where(lengths > 2, lengths - 2, lengths)
    return torch.segment_reduce(encodings, "mean", lengths=lengths)


def of_genes(network: GeneformerNetwork, packed: Ranked, *, layer: int) -> tuple[np.ndarray, Tensor]:
    """Return the tokens that occur, rising, and for each the mean encoding of its positions, (n, dim)."""
    encodings = network.encode(packed, depth_of(network, layer)).float()
    tokens, at, counts = packed.genes.unique(return_inverse=True, return_counts=True)
    sums = encodings.new_zeros(len(tokens), encodings.shape[1]).index_add_(0, at, encodings)
    return tokens.cpu().numpy(), sums / counts[:, None]
