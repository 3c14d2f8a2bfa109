"""Whether cells of a type lie together in an embedding: types of a cell's nearest cells, and what pretraining adds."""

import numpy as np
import pandas as pd

from bench.core.places import to_run
from bench.protocol.maps import Map
from bench.report.figures.runs import by_source, complete, runs_of
from bench.report.figures.style import VARIANTS
from bench.report.prose import DASH
from bench.statistics.intervals import t_interval

PRETRAINED, RANDOM = (VARIANTS[name][0] for name in ("probe", "random_probe"))
NAMES = ["of its own type", "over seeds", "above random weights", "cells"]
Maps = dict[str, dict[str, list[Map]]]  # by data and series, of `bench.report.figures.maps_of`


def neighbours(maps: Maps) -> pd.DataFrame:
    """Return by data set and embedding the share of a cell's nearest cells that are of its type.

    Of several seeds, which random weights and directions have, it is the mean, with the lowest and the highest.
    ``above random weights`` is a pretrained network minus the same network with random weights, cell by cell, with half
    of its 95 % t interval over cells; it does not cover the seed.
    """
    rows = {}
    for title, of in maps.items():
        for series, several in of.items():
            shares = [float(one.own.mean()) for one in several]
            seeds = f"{min(shares):.3f} to {max(shares):.3f}" if len(shares) > 1 else DASH
            gain = above_random(maps, title, series)
            rows[title, series] = (own_type(maps, title, series), seeds, gain, len(several[0].types))
    index = pd.MultiIndex.from_tuples(list(rows) or [("", "")], names=["", "embedding"])[: len(rows)]
    return pd.DataFrame(list(rows.values()), index, columns=NAMES)


def own_type(maps: Maps, title: str, series: str) -> float:
    """Return the share of nearest cells of the own type, the mean over cells and seeds; nan where no map is kept."""
    of = maps.get(title, {})
    return float(_mean_own(of[series]).mean()) if series in of else float("nan")


def above_random(maps: Maps, title: str, series: str) -> str:
    """Return a pretrained network minus itself with random weights, with its interval; a dash where one is missing."""
    of, other = maps.get(title, {}), series.replace(f", {PRETRAINED}", f", {RANDOM}", 1)
    if series not in of or other not in of or series.startswith(other):
        return DASH
    pretrained, random = of[series], of[other]
    if len({one.cells for one in (*pretrained, *random)}) > 1:  # of other cells
        return DASH
    gain = t_interval(_mean_own(pretrained) - _mean_own(random))
    return f"{gain.mean:+.3f} ± {gain.half_width:.3f}"


def without_map(records: pd.DataFrame, maps: Maps) -> str:
    """Return in words of which embeddings no map is kept, and the command that makes it.

    An embedding is what has a map on some data; where data have none at all, nothing is known of theirs.
    """
    mapped, said = {series for of in maps.values() for series in of}, []
    for title, runs in by_source(complete(runs_of(records))).items():
        there, first = maps.get(title, {}), runs.iloc[0]
        missing = [name for name in dict.fromkeys(runs["series"]) if name in mapped and name not in there]
        if missing or not there:
            names = f" of {'; '.join(missing)}" if missing else ""
            command = to_run(first["experiment"], f"-p tier {first['tier']}")
            said.append(f"{title}: no map{names} is kept; make it with: {command}")
    return "\n".join(said) or "A map is kept of every embedding."


def _mean_own(several: list[Map]) -> np.ndarray:
    return np.mean([one.own for one in several], axis=0)
