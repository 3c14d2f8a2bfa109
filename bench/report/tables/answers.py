"""What models answer: how many types, how often the one they say most, and how often none."""

import numpy as np
import pandas as pd

from bench.report.figures.reliability import Said


def most_predicted(said: Said) -> pd.DataFrame:
    """Return how far models have collapsed onto one type: rows panel x model, means over runs.

    ``predicted types`` is how many different ones a model says, ``types`` how many there are; ``most predicted`` the
    share of its most frequent answer, 1 for a collapsed model; ``most frequent`` that of the type that most of the
    scored cells are.  ``no type`` is the share that is rejected, where a model rejects any.

    Parameters
    ----------
    said
        Of `bench.report.figures.predictions_of`.
    """
    rows = {key: _row(several) for key, several in said.items()}
    table = pd.DataFrame(rows.values(), pd.MultiIndex.from_tuples(rows, names=["", "model"]))
    return table if (table["no type"] > 0).any() else table.drop(columns="no type")


def _row(several) -> dict[str, object]:
    answered = [run.predicted[~run.abstained] for run in several]
    return {
        "predicted types": _ends([len(set(types)) for types in answered]),
        "types": len(set(several[0].truth)),
        "most predicted": np.mean([_largest_share(types) for types in answered]),
        "most frequent": np.mean([_largest_share(run.truth) for run in several]),
        "no type": np.mean([run.abstained.mean() for run in several]),
        "runs": len(several),
    }


def _largest_share(types: np.ndarray) -> float:
    return float(np.unique(types, return_counts=True)[1].max() / len(types)) if len(types) else float("nan")


def _ends(numbers: list[int]) -> str:
    return "–".join(dict.fromkeys(map(str, (min(numbers), max(numbers)))))
