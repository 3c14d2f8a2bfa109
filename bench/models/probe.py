"""Probes: what a classifier of vectors makes of a network's embedding of cells; nothing of the network is fine-tuned.

Variant ``probe`` reads pretrained weights, ``random_probe`` the same network with random ones, and nothing else differs
between the two: the embedding is the one that the model's authors define, and the classifiers are those of
`bench.models.classifiers`.  A probe is not scGPT's published arm with frozen embeddings, whose transformer is trained.

An embedding is computed once for a cell and kept in the cache (`bench.training.rows`).  It is known by the cell's
tokens; its store by the tensors and sizes of the network, hence by the seed of random ones, by precision, kind of
device, company of the cell and version of the model.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.core.errors import BenchError
from bench.core.unfinished import place
from bench.models.origin import origin_of
from bench.models.spec import Spec
from bench.training.device import device_of_module
from bench.training.finetune import over_cells
from bench.training.labelled import Cells
from bench.training.rows import Encoded, Store, digest_of, encoded
from bench.training.schedule import Schedule

PRETRAINED, RANDOM = "probe", "random_probe"
PROBES = (PRETRAINED, RANDOM)
DECLARES = {  # see `bench.models.contract.Annotator`; neither looks at scored cells, whatever its recipe is called
    PRETRAINED: {"stochastic": False, "leaking_recipes": (), "is_embedding": True},
    RANDOM: {"leaking_recipes": (), "is_pretrained": False, "is_embedding": True},
}
SEED = 0  # of all that is drawn besides random weights: of the ties in a cell, of the order in which liblinear goes
FORMAT = 1  # raise when the same network gives other rows


def embeddings(
    network: nn.Module,
    embed: Callable,
    n_dimensions: int,
    cells: Cells,
    schedule: Schedule,
    *,
    version: str,
    company: str = "alone",
) -> np.ndarray:
    """Return the (n_cells, n_dimensions) float32 embeddings of cells, from the cache as far as it holds them.

    The seconds that those took which are there already are put down to the work that goes on now, if it keeps count.

    Parameters
    ----------
    network, embed, n_dimensions
        The network, and a function of its inputs that returns (cells, n_dimensions).
    cells, schedule
        Of the schedule, precision and number of cells at a time are used.
    version
        Of the code that embeds.
    company
        What an embedding depends on besides its cell: nothing where a network takes each cell ``alone``.

    Raises
    ------
    BenchError
        If a number is not finite.
    """
    spent = []

    def rows(numbers: np.ndarray) -> torch.Tensor:
        start = time.perf_counter()
        found = over_cells(network, embed, cells.take(numbers), schedule)
        spent.append(time.perf_counter() - start)
        seconds = torch.full((len(found), 1), spent[-1] / len(found))
        return torch.cat([found, seconds], dim=1)  # what a cell took stands last in its row

    store = Store(_made_of(network, schedule, version, company), (n_dimensions + 1,), torch.float32, "embeddings")
    kept = encoded(cells, store, rows, schedule.evaluation_batch)
    found = (kept.store.read(kept.tokens) if isinstance(kept, Encoded) else rows(np.arange(len(cells)))).numpy()
    if isinstance(kept, Encoded) and (work := place()):
        work.earlier_s += max(float(found[:, -1].sum()) - sum(spent), 0.0)
    return _finite(found[:, :-1], schedule.precision)


def version_of(model: Any) -> str:
    """Return what tells versions of a model's code apart: its ``protocol``, or of one from outside what it imports."""
    cls = type(model)
    name = f"{cls.__module__}:{cls.__qualname__}"
    if cls.__module__.startswith("bench."):
        return f"{name} {cls.protocol}"
    return f"{name} {origin_of(Spec(name, cls, model.variant, model.recipe, vars(model.config))).digest}"


def check_alone(model: Any, alone: dict[str, Any]) -> None:
    """Raise a BenchError if a setting makes a cell's embedding depend on the cells beside it, which nobody could keep.

    Parameters
    ----------
    model
        A probe.
    alone
        Settings by name, with the value that makes it depend on the cell alone.
    """
    for name, value in alone.items():
        if (given := getattr(model.config, name)) != value:
            raise BenchError(
                f"With {name}={given!r} the embedding of a cell depends on the cells that go through the network with "
                f"it; variant {model.variant!r} needs {name}={value!r}, its default."
            )


def _made_of(network: nn.Module, schedule: Schedule, version: str, company: str) -> str:
    """Return 16 hex digits over what decides an embedding besides the cell; of sizes, tensors tell only some."""
    sizes = getattr(network, "architecture", "")
    more = (FORMAT, version, sizes, schedule.precision, device_of_module(network).type, company)
    return digest_of(network.state_dict(), " ".join(map(str, more)))


def _finite(found: np.ndarray, precision: str) -> np.ndarray:
    if n := int((~np.isfinite(found)).any(axis=1).sum()):
        raise BenchError(
            f"The embeddings of {n} of {len(found)} cells are not finite in precision {precision!r}; "
            "use precision 'float32', or other weights."
        )
    return found
