"""Whether cells of a type lie together in an embedding: types of a cell's nearest cells, and what pretraining adds."""

import numpy as np
import pandas as pd

from bench.protocol.maps import Map
from bench.report.figures.style import VARIANTS
from bench.statistics.intervals import t_interval

PRETRAINED, RANDOM = (VARIANTS[name][0] for name in ("probe", "random_probe"))


def neighbours(maps: dict[str, dict[str, list[Map]]]) -> pd.DataFrame:
    """Return by data set and embedding the share of a cell's nearest cells that are of its type.

    Of several seeds, which random weights and directions have, it is the mean, with the lowest and the highest.
    ``above random weights`` is a pretrained network minus the same network with random weights, cell by cell, with half
    of its 95 % t interval over cells; it does not cover the seed.

    Parameters
    ----------
    maps
        Of `bench.report.figures.maps_of`.
    """
    rows = {}
    for title, of in maps.items():
        for series, several in of.items():
            shares = [float(one.own.mean()) for one in several]
            seeds = f"{min(shares):.3f} to {max(shares):.3f}" if len(shares) > 1 else "–"
            gain = gained(of, series)
            said = "–" if gain is None else f"{gain.mean:+.3f} ± {gain.half_width:.3f}"
            rows[title, series] = (float(np.mean(shares)), seeds, said, len(several[0].types))
    names = ["of its own type", "over seeds", "above random weights", "cells"]
    index = pd.MultiIndex.from_tuples(rows, names=["", "embedding"]) if rows else None
    return pd.DataFrame(list(rows.values()), index, columns=names)


def gained(of: dict[str, list[Map]], series: str):
    """Return the t interval over cells of a pretrained network minus itself with random weights, or None.

    Parameters
    ----------
    of
        Maps of one data set by series.
    series
        The pretrained one, such as ``scGPT, probe``; the other one's name is that of the same settings.
    """
    other = series.replace(f", {PRETRAINED}", f", {RANDOM}", 1)
    if other == series or other not in of or series.startswith(other):
        return None
    a, b = of[series], of[other]
    if len({one.cells for one in (*a, *b)}) > 1:  # other cells
        return None
    return t_interval(np.mean([one.own for one in a], axis=0) - np.mean([one.own for one in b], axis=0))
