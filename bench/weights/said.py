"""What weights say of themselves: whose they are, what they know, and which cells they have seen."""

from anndata import AnnData

from bench.core.errors import BenchError
from bench.datasets.names import overlap
from bench.weights.files import Checkpoint
from bench.weights.seen import seen_by


def check_family(checkpoint: Checkpoint, family: str) -> None:
    """Raise a BenchError if weights say that they are another family's."""
    if (other := checkpoint.metadata.get("model", family)) != family:
        raise BenchError(f"{checkpoint.path} holds weights of {other}; set the override 'weights' to some of {family}.")


def told(checkpoint: Checkpoint, key: str, family: str, option: str = "") -> str:
    """Return what weights say of themselves: their ``genes`` (JSON) or their ``library``, for example.

    Parameters
    ----------
    checkpoint, key
        The weights, and what is asked for.
    family
        Whose weights they should be.
    option
        What to add to the command that converts them anew.
    """
    check_family(checkpoint, family)
    try:
        return checkpoint.metadata[key]
    except KeyError:
        raise BenchError(
            f"{checkpoint.path} does not say its {key}; convert it with: "
            f"bench weights {family} --path {checkpoint.path}{option}"
        ) from None


def refuse_pretrained_cells(checkpoint: Checkpoint, cells: AnnData) -> None:
    """Raise a BenchError if the weights were pretrained on some of these cells, as in-project weights can tell."""
    seen = seen_by(checkpoint.path)
    if seen is not None and (n := overlap(seen, cells.uns["bench"]["name"], cells.obs_names)):
        raise BenchError(
            f"{n} of the {cells.n_obs} cells to score were pretrained on ({checkpoint.path.stem}.cells.npy); pretrain "
            "without them, or score other cells."
        )
