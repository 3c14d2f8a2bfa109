"""What the frozen layers of scBERT give for a cell, computed once for all epochs, training sets and repetitions.

It is the same in all of them where random features are not redrawn and each cell has a stabiliser of its own.
"""

import sys

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bench.models.scbert.network import ScBERTNetwork
from bench.training.device import PRECISIONS, autocast, device_of_module
from bench.training.labelled import Cells
from bench.training.rows import Store, digest_of, encoded

COMPARED = 2  # cells that are computed in float32 too, to say how far they are
FORMAT = 1  # raise when the same weights give other rows


def with_frozen_layers(network: ScBERTNetwork, cells: Cells, precision: str) -> Cells:
    """Return the cells as what the network's last layer is given, computed where the cache does not hold it."""
    device = device_of_module(network)

    def rows(numbers: np.ndarray, precision: str = precision) -> Tensor:
        with torch.inference_mode(), autocast(device, precision):
            return network.before_last(cells.inputs(numbers, device)).cpu()

    shape = (network.architecture.n_genes + 1, network.architecture.dim)
    store = Store(_made_of(network, f"{FORMAT} {precision} {device.type}"), shape, kept_as(precision))
    if precision != "float32" and not store.folder.exists():
        few = np.arange(min(COMPARED, len(cells)))
        found, exact = rows(few), rows(few, "float32")
        far, size = (found - exact).abs().max().item(), exact.abs().max().item()
        tqdm.write(f"Frozen layers in {precision}: differs from float32 by {far:.2g}, of up to {size:.2g}", sys.stderr)
    return encoded(cells, store, rows)


def kept_as(precision: str) -> torch.dtype:
    """Return the type of number in which rows are kept."""
    return PRECISIONS[precision] or torch.float32


def _made_of(network: ScBERTNetwork, more: str) -> str:
    """Return 16 hex digits over all tensors on which the input of the last layer depends."""
    last = f"performer.net.layers.{len(network.layers) - 1}."
    decide = ("token_emb.", "pos_emb.", "performer.net.")
    tensors = {name: tensor for name, tensor in network.state_dict().items() if name.startswith(decide)}
    return digest_of({name: tensor for name, tensor in tensors.items() if not name.startswith(last)}, more)
