"""Seconds and memory against the number of training cells, on logarithmic axes: what a larger data set costs."""

import matplotlib.pyplot as plt
import pandas as pd

from bench.report.figures.style import label_of, look_of, natural, style
from bench.report.growth import LEAST_MB

COSTS = {"seconds": "Seconds, fit and prediction", "memory_mb": "Memory beyond the cells (MB)"}


def growth(table: pd.DataFrame):
    """Return two panels, seconds and memory against training cells; a line is a model, a mark a fit.

    The dotted line of memory is the matrix of the training cells itself; memory below ten megabytes is not drawn.

    Parameters
    ----------
    table
        Of `bench.report.growth.kept`.
    """
    style()
    figure, axes = plt.subplots(1, len(COSTS), figsize=(8.3, 4.4), layout="constrained")
    parts = {called(*name): part for name, part in table.groupby(["model", "setting"], sort=False)}
    for axis, (cost, name) in zip(axes, COSTS.items(), strict=True):
        for series in sorted(parts, key=natural):
            look, part = look_of(series), parts[series]
            there = part[part[cost] >= (LEAST_MB if cost == "memory_mb" else 0)]
            line = {"color": look.colour, "marker": look.marker, "ls": look.line, "ms": 5, "lw": 1.2}
            axis.plot(there["n_train"], there[cost], label=series, **line)
        axis.set(xscale="log", yscale="log", xlabel="Training cells", title=name)
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_formatter("{x:g}")
    matrix = table.groupby("n_train")["matrix_mb"].median()
    axes[-1].plot(matrix.index, matrix, ls=":", color="0.3", label="matrix of the training cells")
    handles, names = axes[-1].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize="small")
    return figure


def called(model: str, setting: str) -> str:
    """Return the name of a series, with what was set."""
    return f"{label_of(model)} ({setting})" if setting else label_of(model)
