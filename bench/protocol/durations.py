"""How long trials take on this machine, before they are run."""

import json
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.core.provenance import processor
from bench.training.pace import Pace

SIDES = ("dataset", "split", "subset")  # what says which cells are trained on


class Durations:
    """From trials that ran here: seconds grow with epochs and cells; else from the pretraining of a trial's weights.

    Parameters
    ----------
    recorded
        One row for each trial.
    paces
        Of pretraining, by the name of the weights.
    """

    def __init__(self, recorded: pd.DataFrame, paces: Mapping[str, Pace] | None = None):
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
        trial, settings = task.trial, _settings(task.trial.hyperparameters)
        seconds = self._rates.get((trial.dataset, trial.model, trial.variant), math.nan) * settings.get("epochs", 1)
        pace = self._paces.get(getattr(getattr(task, "spec", None), "weights", None))
        if math.isnan(seconds) and pace:
            seconds = pace.fine_tuning_s(settings)
        return seconds * trial.fraction * self._cells.get(tuple(getattr(trial, name) for name in SIDES), math.nan)


def in_words(seconds: list[float]) -> str:
    """Return the sum of times of which some may not be known."""
    known = [s for s in seconds if not math.isnan(s)]
    unknown = f"{len(seconds) - len(known)} of unknown length" if len(known) < len(seconds) else ""
    hours = f"about {sum(known) / 3600:.1f} h" if known else ""
    return " and ".join(filter(None, (hours, unknown)))


def _settings(hyperparameters: str) -> dict[str, Any]:
    return json.loads(hyperparameters or "{}")


def _epochs(hyperparameters: str) -> int:
    return _settings(hyperparameters).get("epochs", 1)
