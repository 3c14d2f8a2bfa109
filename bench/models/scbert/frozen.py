"""What the frozen layers of scBERT give for a cell, computed once for all epochs, training sets and repetitions.

It is the same in all of them where random features are not redrawn and each cell has a stabiliser of its own.
"""

import sys
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bench.models.scbert.network import ScBERTNetwork
from bench.training.device import autocast, device_of_module
from bench.training.frozen import Store, encoded
from bench.training.labelled import Cells

KEPT_AS = {"float32": torch.float32, "bf16": torch.bfloat16}
COMPARED = 2  # cells that are computed in float32 too, to say how far they are
FORMAT = 1  # raise when the same weights give other rows


def with_frozen_layers(network: ScBERTNetwork, cells: Cells, precision: str) -> Cells:
    """Return the cells as what the network's last layer is given, computed where the cache does not hold it."""
    device = device_of_module(network)

    def rows(numbers: np.ndarray, precision: str = precision) -> Tensor:
        with torch.inference_mode(), autocast(device, precision):
            return network.before_last(cells.inputs(numbers, device)).cpu()

    def told(numbers: np.ndarray) -> Tensor:
        found = rows(numbers)
        if not said and precision != "float32":
            exact = rows(numbers[:COMPARED], "float32")
            difference, largest = (found[:COMPARED] - exact).abs().max().item(), exact.abs().max().item()
            said.append(
                f"Frozen layers in {precision}: differs from float32 by {difference:.2g}, of up to {largest:.2g}"
            )
            tqdm.write(said[0], file=sys.stderr)
        return found

    said: list[str] = []
    shape = (network.architecture.n_genes + 1, network.architecture.dim)
    store = Store(_made_of(network, f"{FORMAT} {precision} {device.type}"), shape, KEPT_AS[precision])
    return encoded(cells, store, told)


def _made_of(network: ScBERTNetwork, more: str) -> str:
    """Return 16 hex digits over all tensors on which the input of the last layer depends."""
    last = f"performer.net.layers.{len(network.layers) - 1}."
    digest = blake2b(more.encode(), digest_size=8)
    for name, tensor in network.state_dict().items():
        if name.startswith(("token_emb.", "pos_emb.", "performer.net.")) and not name.startswith(last):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
