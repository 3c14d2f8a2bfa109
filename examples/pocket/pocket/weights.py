"""Published weights, of which this template has none of its own, and the conversion of a checkpoint.

Published files are fetched from their address, or found in a mirror, and held to their hash.
"""

import json
from pathlib import Path

from torch import Tensor

from bench.core.errors import BenchError
from bench.datasets.sources import Source
from bench.weights.entries import Published
from bench.weights.files import read
from pocket.network import PocketNetwork

PUBLISHED = {
    "pocket_demo": Published(
        model="pocket",
        sources=(Source(name="pocket_demo.pt", licence="not stated", sha256="0" * 64),),  # yours, and its url
        by_hand="Say here where else the file can be had.",
    )
}


def convert(paths: list[Path], genes: list[str] | None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a checkpoint, all of them accounted for, and what the file should say of itself.

    Raises
    ------
    BenchError
        If it is no checkpoint of this model, or its genes are not named.
    """
    tensors = read(paths[0]).tensors
    weight = tensors.get("encoder.weight")
    wanted = PocketNetwork(weight.shape[1], weight.shape[0], seed=0).state_dict() if weight is not None else {}
    if {name: t.shape for name, t in tensors.items()} != {name: t.shape for name, t in wanted.items()}:
        raise BenchError(f"{paths[0]} is no checkpoint of pocket; it has {', '.join(tensors)}. Give another file.")
    if genes is None or len(genes) != weight.shape[1]:
        raise BenchError(f"{paths[0]} has {weight.shape[1]} genes; name them in order, one a line, with --genes.")
    return tensors, {"genes": json.dumps(genes), "library": "all"}
