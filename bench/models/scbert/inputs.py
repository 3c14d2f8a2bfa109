"""What scBERT is given: the genes of its positions, in order, and those over which a library size is counted."""

import json

from bench.models.finetuned import told
from bench.weights import Checkpoint


def positions(checkpoint: Checkpoint) -> tuple[list[str], str]:
    """Return the genes of the positions and the library, ``panglao`` or ``all``, that weights of scBERT name.

    Raises
    ------
    BenchError
        If they are another model's, or do not say it.
    """
    genes, library = (told(checkpoint, key, "scbert", " --genes GENES.txt") for key in ("genes", "library"))
    return json.loads(genes), library
