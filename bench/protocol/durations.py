"""How long trials take on this machine, before they are run."""

import json
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.core.provenance import processor

SIDES = ("dataset", "split", "subset")  # what says which cells are trained on


class Durations:
    """From trials that ran here: seconds grow with epochs and cells; else from the pretraining of a trial's weights.

    The latter is too much where only some layers are fine-tuned.

    Parameters
    ----------
    recorded
        One row for each trial.
    paces
        Seconds of a cell going through the network once in pretraining, by the name of the weights.
    """

    def __init__(self, recorded: pd.DataFrame, paces: Mapping[str, float] | None = None):
        names = {processor("cpu"), processor("cuda")} - {""}
        here = recorded[recorded["processor"].isin(names) & (recorded["seconds"] > 0)]
        passes = here["hyperparameters"].map(_epochs) * here["n_train"]
        by = ["dataset", "model", "variant"]
        self._rates = here.assign(rate=here["seconds"] / passes).groupby(by)["rate"].median().to_dict()
        cells = recorded["n_train"] / recorded["fraction"]
        self._cells = cells.groupby([recorded[name] for name in SIDES]).max().to_dict()  # to train on
        self._paces = paces or {}

    def of(self, task: Any) -> float:
        """Return seconds, or nan where nothing like it has run here."""
        trial, epochs = task.trial, _epochs(task.trial.hyperparameters)
        weights = getattr(getattr(task, "spec", None), "weights", None)
        pace = self._paces.get(weights, math.nan) if epochs > 1 else math.nan
        rate = self._rates.get((trial.dataset, trial.model, trial.variant), pace)
        return rate * epochs * trial.fraction * self._cells.get(tuple(getattr(trial, name) for name in SIDES), math.nan)


def in_words(seconds: list[float]) -> str:
    """Return the sum of times of which some may not be known."""
    known = [s for s in seconds if not math.isnan(s)]
    unknown = f"{len(seconds) - len(known)} of unknown length" if len(known) < len(seconds) else ""
    hours = f"about {sum(known) / 3600:.1f} h" if known else ""
    return " and ".join(filter(None, (hours, unknown)))


def _epochs(hyperparameters: str) -> int:
    return json.loads(hyperparameters or "{}").get("epochs", 1)
