"""Differences with their intervals against a margin: what is shown, and whether it is that there is none."""

import matplotlib.pyplot as plt

from bench.report.figures.style import look_of, style
from bench.statistics.intervals import Equivalence

STEP, GAP = 0.42, 1.0  # between designs of one metric, between metrics


def equivalence(found: dict[tuple[str, str], Equivalence], series: str, label: str):
    """Return a row per metric and design: the difference, the interval of its two one-sided tests, the margin shaded.

    Equivalence is shown where a bar lies within the shaded band.  The first design is drawn filled, others hollow.

    Parameters
    ----------
    found
        Tests with one margin by (metric, design), as `bench.report.findings.equivalences` returns them.
    series
        Whose colour and marker to use, such as ``scBERT``.
    label
        Of the axis: what minus what.
    """
    style()
    metrics, designs = (list(dict.fromkeys(key[place] for key in found)) for place in (0, 1))
    colour, marker, _ = look_of(series)
    figure, axis = plt.subplots(figsize=(6.4, 0.62 * len(metrics) + 1.4), layout="constrained")
    for (metric, design), test in found.items():
        y = metrics.index(metric) * GAP + designs.index(design) * STEP
        fill = colour if design == designs[0] else "white"
        axis.hlines(y, test.low, test.high, color=colour, lw=1.8, ls="-" if design == designs[0] else (0, (4, 1.5)))
        n = " and ".join(str(n) for n in dict.fromkeys(test.n))
        name = f"{design} ({n} {'pairs' if test.paired else 'each'})" if metric == metrics[0] else None
        axis.plot(test.difference, y, marker, color=colour, mfc=fill, ms=7, mew=1.4, ls="none", label=name)
    margin = next(iter(found.values())).margin
    axis.axvspan(-margin, margin, color="0.9", zorder=0, lw=0, label=f"margin ± {margin:g}")
    axis.axvline(0, color="0.5", lw=0.8, zorder=1)
    axis.set_yticks([place * GAP + STEP * (len(designs) - 1) / 2 for place in range(len(metrics))], metrics)
    axis.set(ylim=((len(metrics) - 1) * GAP + STEP * len(designs), -STEP), xlabel=label)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3)
    return figure
