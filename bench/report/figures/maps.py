"""Maps of embeddings beside each other: the same cells in every panel, one colour and one number per type."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patheffects import withStroke

from bench.core.errors import BenchError
from bench.protocol.beside import read_map
from bench.protocol.maps import Map
from bench.report.figures.names import one_line
from bench.report.figures.runs import by_source, complete, runs_of
from bench.report.figures.style import natural, nothing_to_draw, style

COLUMNS = 4
NUMBERED = 20  # types, the most frequent ones; those beyond share a grey
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#332288", "#999933", "#882255", "#44AA99"]
COLOURS += ["#661100", "#000000"]
GREY = "0.75"


def maps_of(records: pd.DataFrame) -> dict[str, dict[str, list[Map]]]:
    """Return the maps that are kept of the runs on all training cells, by data and series, lowest seed first.

    Of several ways to run one series on one data set all are there: their names differ, see `runs_of`.
    """
    runs = complete(runs_of(records))
    runs = runs[runs["metric"] == "accuracy"].sort_values("seed", kind="stable")
    found = {}
    for title, of_data in by_source(runs).items():
        for run in of_data.itertuples():
            try:
                drawn = read_map(run.experiment, run.tier, run.key)
            except BenchError:  # of a model that is no embedding, or damaged, which is said
                continue
            found.setdefault(title, {}).setdefault(run.series, []).append(drawn)
    return {title: {name: of[name] for name in sorted(of, key=natural)} for title, of in found.items()}


def umap(maps: dict[str, dict[str, list[Map]]]):
    """Return a block per data set, in it a panel per embedding and the names of the types.

    Dots are scored cells, the same ones in every panel of a block; of several seeds the first is drawn.  Axes have no
    unit, and places, distances between groups and sizes of groups mean nothing.  Below a panel stands what can be
    compared: the share of a cell's nearest cells in the embedding that are of its type, see `maps.own_neighbours`.

    Parameters
    ----------
    maps
        Of `maps_of`.
    """
    if not maps:
        return nothing_to_draw()
    style()
    rows = {title: -(-(len(of) + 1) // COLUMNS) for title, of in maps.items()}  # the names take a panel
    figure = plt.figure(figsize=(8.3, 2.35 * sum(rows.values()) + 0.3 * len(rows)), layout="constrained")
    blocks = np.atleast_1d(figure.subfigures(len(maps), 1, height_ratios=list(rows.values())))
    for block, (title, of) in zip(blocks, maps.items(), strict=True):
        block.suptitle(title, x=0.01, ha="left", fontsize="medium", fontweight="bold")
        axes = block.subplots(rows[title], COLUMNS, squeeze=False).ravel()
        numbers = _numbers(next(iter(of.values()))[0].types)
        for axis, (series, several) in zip(axes, of.items(), strict=False):
            _draw(axis, series, several, numbers)
        _name_types(axes[len(of)], numbers)
        for axis in axes[len(of) + 1 :]:
            axis.set_axis_off()
    return figure


def _numbers(types: np.ndarray) -> dict[str, int]:
    """Return the number of each type that has one, the most frequent type first."""
    names, counts = np.unique(types, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:NUMBERED]
    return {str(name): number for number, name in enumerate(names[order], start=1)}


def _colour(number: int) -> str:
    return COLOURS[(number - 1) % len(COLOURS)]


def _draw(axis, series: str, several: list[Map], numbers: dict[str, int]) -> None:
    drawn, share = several[0], np.mean([one.own.mean() for one in several])
    colours = [_colour(numbers[name]) if name in numbers else GREY for name in drawn.types]
    axis.scatter(*drawn.places.T, s=5, c=colours, lw=0, alpha=0.7, rasterized=True)
    for name, number in numbers.items():
        if (own := drawn.types == name).any():
            place = np.median(drawn.places[own], axis=0)
            halo = [withStroke(linewidth=2, foreground="white")]
            axis.text(*place, str(number), ha="center", va="center", fontsize=7, path_effects=halo)
    middle = (drawn.places.max(axis=0) + drawn.places.min(axis=0)) / 2
    reach = 0.54 * max(np.ptp(drawn.places, axis=0).max(), 1e-6)
    ends = middle[:, None] + np.array([-reach, reach])
    axis.set(xlim=ends[0], ylim=ends[1], xticks=[], yticks=[])
    axis.set_box_aspect(1)
    axis.set_title(series.replace(", ", ",\n", 1), fontsize=8)
    axis.set_xlabel(f"own type: {share:.2f}", fontsize=8)


def _name_types(axis, numbers: dict[str, int]) -> None:
    axis.set_axis_off()
    for name, number in numbers.items():
        height = 1 - (number - 0.5) / max(len(numbers), 12)
        axis.text(0.08, height, str(number), ha="right", va="center", fontsize=7, color="0.15")
        axis.plot(0.15, height, "o", ms=4, color=_colour(number))
        axis.text(0.21, height, one_line(name, 24), va="center", fontsize=7)
    axis.set(xlim=(0, 1), ylim=(0, 1))
