"""What models are given of one cell, a small panel each: the same genes, and what stands for them."""

from textwrap import wrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from bench.report.figures.style import colour_of, label_of, style
from bench.report.inputs import Inputs, counted, other_tokens

COLUMNS = 3
WIDTH = 35  # letters of a line below a title
NOTE, LINE = 8, 10.2  # points of a letter and of a line there
DOT = 9.0  # area of a gene, in points squared
KEY = {1: 0.56, 10: 0.44, 50: 0.26}  # genes of the dots that are explained, and where
STRIP = 0.045  # of a panel's height, in which genes are marked that a model is not given
GIVEN = {  # what stands for a gene; what a model keeps and loses of it
    "scbert": ("token", "and 0 become {values} tokens; finer differences are lost"),
    "scgpt": (
        "bin",
        "become {values} bins of like size, ties parted by lot; amounts and further genes are lost",
    ),
    "geneformer": (
        "rank, 1 is first",
        "become {values} ranks, over medians of genes; amounts and further ranks are lost",
    ),
    "scfoundation": (
        "ln(1 + CP10K)",
        "become {values} values, scaled over its own genes; depth is told, T = {T:.3g}, S = {S:.3g}",
    ),
    "cellplm": ("ln(1 + count)", "become {values} values, depth not taken out; it sees the other cells, too"),
}
OTHERS = ("value", "become {values} values")


def inputs(given: Inputs):
    """Return a panel per model: counts per 10,000 of a cell's genes against what the model is given for them.

    Dots are larger where several genes coincide; the marks at the bottom are expressed genes that a model is not given.
    Below a title stands what is kept and lost.

    Parameters
    ----------
    given
        Of `bench.report.inputs`.
    """
    style()
    numbers = counted(given)
    notes = {model: _note(model, numbers.loc[model].to_dict() | other_tokens(given, model)) for model in given.models}
    n_rows = -(-(len(notes) + 1) // COLUMNS)
    figure, axes = plt.subplots(n_rows, COLUMNS, figsize=(8.3, 2.7 * n_rows), squeeze=False, layout="constrained")
    nothing = given.genes.loc[given.genes["count"] > 0, "cp10k"].min() / 4
    most = max(map(len, notes.values()))
    for axis, (model, note) in zip(axes.flat, notes.items(), strict=False):
        _draw(axis, given.genes.assign(x=given.genes["cp10k"].clip(lower=nothing)), model)
        _scale(axis, given.genes["cp10k"].max(), nothing, zeros=numbers["unexpressed"].any())
        axis.set_title(label_of(model), loc="left", fontweight="bold", pad=6 + LINE * most)
        said = {"xytext": (0, 4 + LINE * most), "textcoords": "offset points", "va": "top", "annotation_clip": False}
        axis.annotate("\n".join(note), (0, 1), xycoords="axes fraction", fontsize=NOTE, **said).set_in_layout(False)
    for axis in axes.flat[len(notes) :]:
        axis.set_axis_off()
    _explain(axes.flat[len(notes)], given.about)
    figure.supxlabel("Counts per 10,000 (CP10K) of a gene in the cell", fontsize="medium")
    return figure


def _note(model: str, numbers: dict) -> list[str]:
    """Return the lines below the title of a panel."""
    zeros = f", {numbers['unexpressed']} silent" if numbers["unexpressed"] else ""
    lost = GIVEN.get(model, OTHERS)[1].format(**numbers)
    share = f"{numbers['given']:,} of {numbers['expressed']:,} expressed genes{zeros}"
    return [share, *wrap(f"{numbers['counts']} different counts {lost}", WIDTH)]


def _draw(axis, genes: pd.DataFrame, model: str) -> None:
    measured = genes[genes["count"].notna()]
    dots, colour = measured.groupby(["x", model], as_index=False).size(), colour_of(label_of(model))
    axis.scatter(dots["x"], dots[model], DOT * dots["size"], color=colour, alpha=0.6, lw=0, zorder=3, clip_on=False)
    missing = measured.loc[measured[model].isna() & (measured["count"] > 0), "x"].unique()
    foot = np.full(len(missing), STRIP / 2)
    axis.plot(missing, foot, "|", color="0.45", ms=5, mew=0.8, transform=axis.get_xaxis_transform(), zorder=2)
    axis.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    quantity = GIVEN.get(model, OTHERS)[0]
    axis.set_ylabel(quantity)
    low, high = axis.get_ylim()
    below = 2 * STRIP * (high - low)
    axis.set_ylim(*((high + below, low) if quantity.startswith("rank") else (low - below, high)))


def _scale(axis, highest: float, nothing: float, *, zeros: bool) -> None:
    """Make the axis of counts logarithmic, with a place for genes without a count."""
    axis.set_xscale("log")
    tens = {ten: f"{ten:,.0f}" for ten in 10.0 ** np.arange(6) if 2 * nothing < ten < 1.5 * highest}
    ticks = ({nothing: "0"} if zeros else {}) | tens
    axis.set_xticks(list(ticks), list(ticks.values()))
    axis.minorticks_off()
    axis.set_xlim(nothing / 2, highest * 1.5)
    axis.grid(color="0.92", lw=0.8)
    axis.set_axisbelow(True)


def _explain(axis, about: dict[str, str]) -> None:
    """Say which cell it is, and what dots and marks mean."""
    expressed, measured, counts = (int(about[key]) for key in ("expressed genes", "genes measured", "counts"))
    said = f"One cell of {about['data set']} ({about['cell type']}): "
    said += f"{expressed:,} of {measured:,} genes are expressed, {counts:,} counts in all."
    inside = {"transform": axis.transAxes, "clip_on": False}
    axis.text(0, 1.2, "\n".join(wrap(said, WIDTH - 3)), va="top", fontsize=9, **inside).set_in_layout(False)
    for n, height in KEY.items():
        axis.scatter(0.07, height, DOT * n, color="0.5", lw=0, **inside)
        axis.text(0.17, height, f"{n} gene{'s' if n > 1 else ''}", va="center", fontsize=8.5, **inside)
    axis.plot(0.07, 0.06, "|", color="0.45", ms=5, mew=0.8, **inside)
    axis.text(0.17, 0.06, "expressed, not given", va="center", fontsize=8.5, **inside)
