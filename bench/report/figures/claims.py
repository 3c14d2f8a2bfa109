"""All claims of the paper at a glance: every comparison behind a claim with its interval and verdict, tier by tier."""

from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from bench.report.figures.style import TIERS, style
from bench.statistics.intervals import MARGIN

LOOKS = {  # verdict -> marker, fill, colour; no model's colour
    "holds": ("o", "#222222", "#222222"),
    "not decided": ("o", "white", "#777777"),
    "does not hold": ("X", "#A50F15", "#A50F15"),
}
LIMITS = (-0.22, 0.32)  # of a difference; beyond, an arrow at the edge says how much
STEP, GAP, LABEL = 1.0, 2.4, 4  # comparisons of a claim, claims, least room for a claim's words


def claims(comparisons: pd.DataFrame):
    """Return a block of rows per claim and a column per tier that has a difference.

    Parameters
    ----------
    comparisons
        Of `overview.comparisons`; differences are in the direction that is claimed.  Those in other units than a
        score, and those without a verdict, are left out.
    """
    style()
    shown = comparisons[comparisons["verdict"].isin(list(LOOKS)) & ~comparisons["metric"].str.startswith("log ")]
    shown = shown[shown["value"].notna()]
    tiers = [tier for tier in TIERS if tier in set(shown["tier"])]
    places, centres = _places(shown, tiers)
    height = max(places.values()) + GAP
    figure, axes = plt.subplots(
        *(1, len(tiers)),
        figsize=(8.6, 0.09 * height + 1.1),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    same = shown.drop_duplicates("says").set_index("says")["same"]
    for axis, tier in zip(axes[0], tiers, strict=True):
        axis.set_title(TIERS[tier])
        axis.axvline(0, color="0.5", lw=0.8, zorder=1)
        for says, (top, bottom) in centres.items():
            region = (-MARGIN, MARGIN) if same[says] else (0, LIMITS[1])
            axis.fill_betweenx([top - GAP / 3, bottom + GAP / 3], *region, color="0.92", lw=0, zorder=0)
        for index, row in shown[shown["tier"] == tier].iterrows():
            _draw(axis, row, places[index])
        axis.set(xlim=LIMITS, ylim=(height, -GAP))
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
    middles = [np.mean(ends) for ends in centres.values()]
    axes[0, 0].set_yticks(middles, [fill(says, 36) for says in centres], fontsize=9)
    for axis in axes[0]:
        axis.set_xlabel("difference in the direction claimed")
    handles = [
        Line2D([], [], ls="none", marker=m, mfc=f, color=c, label=verdict) for verdict, (m, f, c) in LOOKS.items()
    ]
    handles.append(plt.Rectangle((0, 0), 1, 1, color="0.92", label="where the claim holds"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def _places(shown: pd.DataFrame, tiers: list[str]) -> tuple[dict, dict]:
    """Return the height of every comparison by its index, and top and bottom of every claim."""
    places, centres, y = {}, {}, 0.0
    for says, group in shown.groupby("says", sort=False):
        most = max(LABEL, *((group["tier"] == tier).sum() for tier in tiers))
        for tier in tiers:
            rows = group.index[group["tier"] == tier]
            places |= {index: y + STEP * (k + (most - len(rows)) / 2) for k, index in enumerate(rows)}
        centres[says] = y, y + STEP * (most - 1)
        y += STEP * (most - 1) + GAP
    return places, centres


def _draw(axis, row: pd.Series, y: float) -> None:
    marker, fill_colour, colour = LOOKS[row["verdict"]]
    low, high = LIMITS
    if not low < row["value"] < high:
        text, x, side = (
            (f"← {row['value']:.2f}", 0.02, "left") if row["value"] < 0 else (f"{row['value']:.2f} →", 0.98, "right")
        )
        axis.text(x, y, text, transform=axis.get_yaxis_transform(), color=colour, ha=side, va="center", fontsize=7.5)
        return
    axis.hlines(y, row["low"], row["high"], color=colour, lw=1.1, zorder=2)
    axis.plot(row["value"], y, marker, color=colour, mfc=fill_colour, ms=3.8, mew=0.9, zorder=3)
