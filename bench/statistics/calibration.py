"""How far a model's confidence can be trusted: bins of confidence, cells left without a type, shares that stay.

Confidence is the probability of the predicted type, its bins are those of `confidence.ece`.  Sources: Guo et al.
2017 (arXiv:1706.04599); Wilson 1927 (interval of a share); Geifman & El-Yaniv 2017 (arXiv:1705.08500) for abstention.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from bench.statistics.confidence import N_BINS, confidence
from bench.statistics.predictions import Predictions

ROUNDING = 2**-10  # predictions are kept as float16: a confidence on the upper end of a bin may lie just above it
IN_CACHE = 2**17  # numbers of a block of draws, which a processor keeps at hand


def per_bin(several: list[Predictions]) -> pd.DataFrame:
    """Return a row per bin that has cells: mean confidence, share right with its 95 % Wilson interval, cells per run.

    Runs of one series are put together; the interval counts each scored cell once however many runs there are, because
    runs on the same cells err together.
    """
    sure, right = (np.concatenate(parts) for parts in zip(*map(confidence, several), strict=True))
    bins = np.digitize(sure * (1 - ROUNDING), np.linspace(0, 1, N_BINS + 1)[1:-1], right=True)
    table = pd.DataFrame({"bin": bins, "confidence": sure, "right": right.astype(float)})
    table = table.groupby("bin").agg(
        confidence=("confidence", "mean"), right=("right", "mean"), cells=("right", "size")
    )
    table["cells"] /= len(several)
    low, high = proportion_confint(table["right"] * table["cells"], table["cells"], method="wilson")
    return table.assign(low=low, high=high)


def error(predictions: Predictions) -> float:
    """Return the expected calibration error, 0-1, lower is better: `confidence.ece` of predictions kept as float16.

    Fifteen neighbours have confidences on the ends of the fifteen bins, where rounding would join two bins in one.
    """
    bins = per_bin([predictions])
    return float((bins["cells"] * (bins["right"] - bins["confidence"]).abs()).sum() / bins["cells"].sum())


def kept(predictions: Predictions) -> pd.DataFrame:
    """Return the curve of abstention: share of cells kept, most confident first, and their accuracy, both 0-1.

    Cells of equal confidence are kept or left together: the curve has a row per distinct confidence, ``threshold``.
    """
    sure, right = confidence(predictions)
    table = pd.DataFrame({"threshold": sure, "right": right}).groupby("threshold")["right"].agg(["sum", "size"])
    table = table[::-1].cumsum()
    shares = {"share": table["size"] / len(sure), "accuracy": table["sum"] / table["size"]}
    return pd.DataFrame(shares).reset_index()


def area(predictions: Predictions) -> float:
    """Return the mean accuracy over all shares kept, 0-1, higher is better; equal confidences in random order."""
    sure, right = confidence(predictions)
    table = pd.DataFrame({"sure": sure, "right": right})
    expected = table.groupby("sure")["right"].transform("mean").to_numpy()[np.argsort(-sure, kind="stable")]
    return float(np.mean(expected.cumsum() / np.arange(1, len(sure) + 1)))


def share_kept(several: list[Predictions], target: float, **resampling: int) -> tuple[float, float, float]:
    """Return `shares_kept` at one accuracy."""
    return shares_kept(several, [target], **resampling)[0]


def shares_kept(
    several: list[Predictions], targets: Sequence[float], *, n_resamples: int = 500, seed: int = 0
) -> list[tuple[float, float, float]]:
    """Return the largest share of cells that can be kept at each accuracy, with its 95 % interval; means over runs.

    The interval is a percentile bootstrap over the scored cells, the same resample for every run, the threshold set
    anew in each.  The threshold looks at the truth of the scored cells, so that the share is the best one possible.
    """
    weights = _draws(len(several[0].truth), n_resamples, seed)
    shares = np.mean([_largest(predictions, weights, targets) for predictions in several], axis=0)
    ends = np.quantile(shares[:, 1:], [0.025, 0.975], axis=1)
    return [tuple(map(float, found)) for found in zip(shares[:, 0], *ends, strict=True)]


@lru_cache(maxsize=2)  # models of one panel are scored on the same cells
def _draws(n: int, n_resamples: int, seed: int) -> np.ndarray:
    """Return how often each cell is drawn, first the cells as they are: (1 + n_resamples, n)."""
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=n_resamples)
    weights = np.vstack([np.ones(n, dtype=int), weights]).astype(np.int32)
    weights.flags.writeable = False
    return weights


def largest_share(several: list[Predictions], target: float) -> float:
    """Return the share of `share_kept` without its interval; nan without predictions."""
    if not several:
        return float("nan")
    everyone = np.ones((1, len(several[0].truth)), dtype=int)
    return float(np.mean([_largest(predictions, everyone, [target]) for predictions in several]))


def _largest(predictions: Predictions, weights: np.ndarray, targets: Sequence[float]) -> np.ndarray:
    """Return the largest share whose accuracy reaches each target, by row of weights: (n_targets, n_draws)."""
    sure, right = confidence(predictions)
    order = np.argsort(-sure, kind="stable")
    right, last = right[order], np.append(np.diff(sure[order]) != 0, True)  # of cells that are equally confident
    blocks = np.array_split(weights, max(1, weights.size // IN_CACHE))
    return np.concatenate([_reached(rows[:, order], right, last, targets) for rows in blocks], axis=1)


def _reached(drawn: np.ndarray, right: np.ndarray, last: np.ndarray, targets: Sequence[float]) -> np.ndarray:
    """Return `_largest` of draws of cells that are in order already; the sure ones come first."""
    cells, hits = (counts.cumsum(axis=1, dtype=counts.dtype)[:, last] for counts in (drawn, drawn * right))
    reached = [np.where(hits >= target * cells - 1e-9, cells, 0).max(axis=1) for target in targets]
    return np.stack(reached) / cells[:, -1]
