"""What lies beside the record of a trial: what was predicted for its cells, the map of its embedding, and a log."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import BenchError
from bench.protocol import maps, place, predicted, reading
from bench.protocol.maps import Map
from bench.protocol.place import own_file
from bench.statistics.predictions import Predictions

PREDICTIONS, MAP, LOG = ".npz", ".map.npz", ".log"  # the ends of their names


def read_predictions(experiment: str, tier: str, key: str) -> tuple[np.ndarray, Predictions]:
    """Return the names of the scored cells and what was predicted for them.

    Raises
    ------
    BenchError
        If there are none; a damaged file of the user's own is as good as none, and is named in a warning.
    """
    return _kept(experiment, tier, key, predicted.load)


def names_of_cells(experiment: str, tier: str, key: str) -> np.ndarray:
    """Return the names of the scored cells as their file has them, where it repeats some; else as predictions do."""
    return _kept(experiment, tier, key, predicted.load_names)


def has_predictions(experiment: str, tier: str, key: str) -> bool:
    """Return whether there is a file with the predictions of a trial."""
    return any(path.exists() for path in _beside(experiment, tier, key, PREDICTIONS))


def read_map(experiment: str, tier: str, key: str) -> Map:
    """Return the map of a trial's embedding.

    Raises
    ------
    BenchError
        If there is none; a damaged file is as good as none, and is named in a warning.
    """
    return _kept(experiment, tier, key, maps.load, MAP, "map")


def has_own_map(experiment: str, tier: str, key: str) -> bool:
    """Return whether the user's own results hold a map of a trial that can be read."""
    own = own_file(f"{experiment}/{tier}/{key}{MAP}")
    try:
        return own is not None and maps.load(own) is not None
    except predicted.DAMAGED:
        return False


def own_log(experiment: str, tier: str, key: str) -> Path | None:
    """Return the log of a trial of the user's own, or None where there is none."""
    return own_file(f"{experiment}/{tier}/{key}{LOG}")


def _beside(experiment: str, tier: str, key: str, suffix: str) -> list[Path]:
    """Return where a file beside the record of a trial may be, the user's own before the committed one."""
    own = own_file(f"{experiment}/{tier}/{key}{suffix}")
    return [path for path in (own, place.committed_folder() / experiment / f"{key}{suffix}") if path]


def _kept(
    experiment: str,
    tier: str,
    key: str,
    load: Callable[[Path], Any],
    suffix: str = PREDICTIONS,
    what: str = "predictions",
) -> Any:
    for path in _beside(experiment, tier, key, suffix):
        try:
            if path.exists():
                return load(path)
        except predicted.DAMAGED as error:
            reading.warn_once(f"Left out: {path} holds no {what} ({error}); {_remedy(path)}.")
    raise BenchError(f"No {what} for trial {key} of {experiment} ({tier}); run the chapter to make them.")


def _remedy(path: Path) -> str:
    """Return what brings back a file that lies beside a record; a trial whose record is there is not run again."""
    if path.is_relative_to(place.committed_folder()):
        return "it is part of the project: bring it back with git"
    if path.name.endswith(MAP):
        return "delete it and run the chapter again"
    return f"delete it and {path.stem}.csv beside it, then give the bench run or bench score that made them once more"
