"""Figures of the book: one colour and one marker per model on every page, a dot per run and an interval.

Every function takes tidy tables and returns a matplotlib or altair figure; none reads a file.
Colours: Okabe & Ito 2008, safe for colour-blind readers.
"""

import json
from itertools import zip_longest

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from bench.records import GROUP
from bench.statistics import t_interval

MODELS = {  # name -> label, colour, marker
    "l1_logistic": ("L1 logistic regression", "#0072B2", "o"),
    "scbert": ("scBERT", "#D55E00", "s"),
    "scgpt": ("scGPT", "#009E73", "D"),
    "knn": ("k nearest neighbours", "#E69F00", "^"),
    "majority": ("control: majority", "#666666", "_"),
    "random": ("control: random", "#999999", "x"),
    "shuffled_labels": ("control: shuffled labels", "#CC79A7", "+"),
}
VEGA_SHAPES = {"o": "circle", "s": "square", "D": "diamond", "^": "triangle-up", "v": "triangle-down", "P": "cross"}
VEGA_SHAPES |= {"_": "triangle-down", "x": "cross", "+": "triangle-right", "*": "triangle-left"}
OTHERS = [("#56B4E9", "v"), ("#000000", "P"), ("#7F3C8D", "*")]  # for models from outside
METRICS = {"accuracy": "Accuracy", "macro_f1_seen": "Macro F1 (as published)", "macro_f1": "Macro F1 (fixed labels)"}
TIERS = {"published": "Published", "paper": "Paper tier", "standin": "Stand-in", "quick": "Quick"}


def style() -> None:
    """Set the one style of all static figures."""
    sns.set_theme(context="notebook", style="ticks", font_scale=0.85)
    plt.rcParams.update(
        {
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlesize": "medium",
            "figure.dpi": 110,
            "legend.frameon": False,
            "savefig.bbox": "tight",
        }
    )


def runs_of(records: pd.DataFrame) -> pd.DataFrame:
    """Return one row per run and metric without class or epoch, with a column ``series`` that tells models apart.

    Two settings of one model on the same data are two series, named by the hyper-parameters in which they differ:
    they never mix in one mean.
    """
    rows = records[(records["status"] == "ok") & (records["class"] == "") & records["epoch"].isna()].copy()
    rows["series"] = rows["model"].map(label_of)
    default = rows["variant"].isin(["default", "pretrained"])
    rows.loc[~default, "series"] += ", " + rows.loc[~default, "variant"].str.replace("_", " ")
    for _, group in rows.groupby(["experiment", "tier", "dataset", "model", "variant"]):
        settings = group[GROUP].drop_duplicates()
        if len(settings) > 1:
            rows.loc[group.index, "series"] += " (" + _difference(group) + ")"
    return rows


def few_shot(records: pd.DataFrame, published: dict[str, pd.DataFrame], metrics=("accuracy", "macro_f1_seen")):
    """Return the few-shot figure: published panels, then one panel per tier and data set of the records.

    Parameters
    ----------
    records
        Records of one experiment.
    published
        Tables of `bench.published.few_shot` by panel title.
    metrics
        Rows of the figure.  The paper's macro F1 is compared with the project's metric of the same definition.
    """
    style()
    panels = published_panels(published) | _panels(records)
    n_columns = min(3, len(panels))
    n_rows = -(-len(panels) // n_columns)  # per metric
    figure, axes = plt.subplots(
        *(len(metrics) * n_rows, n_columns),
        figsize=(2.9 * n_columns + 0.6, 2.5 * len(metrics) * n_rows + 0.9),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    handles = {}
    for block, metric in enumerate(metrics):
        rows = axes[block * n_rows : (block + 1) * n_rows]
        for axis in rows[:, 0]:
            axis.set_ylabel(METRICS.get(metric, metric))
        for axis, (title, runs) in zip_longest(rows.flat, panels.items(), fillvalue=("", None)):
            axis.set_visible(runs is not None)
            if runs is not None:
                axis.set_title(title)
                handles |= _curves(axis, runs[runs["metric"] == metric])
    figure.supxlabel("Share of the training cells (%)", fontsize="medium")
    names = sorted(handles, key=rank)
    figure.legend([handles[n] for n in names], names, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3)
    figure.tight_layout()
    return figure


def few_shot_hover(records: pd.DataFrame, published: dict[str, pd.DataFrame], metric: str = "accuracy"):
    """Return the few-shot runs as an altair chart: every run tells its seed, settings, cost and commit on hover."""
    import altair as alt

    published_runs = pd.concat(runs.assign(panel=title) for title, runs in published_panels(published).items())
    runs = pd.concat([published_runs, *(r.assign(panel=title) for title, r in _panels(records).items())])
    runs = runs[runs["metric"] == metric]
    columns = ["panel", "series", "fraction", "value", "seed", "n_train", "seconds", "chosen_C", "source"]
    runs = runs.reindex(columns=columns).assign(fraction=lambda t: 100 * t["fraction"])
    names = sorted(set(runs["series"]), key=rank)
    colours, shapes = [colour_of(name) for name in names], [VEGA_SHAPES[_look(name)[1]] for name in names]
    chart = alt.Chart(runs).mark_point(filled=True, size=55, opacity=0.75)
    chart = chart.encode(
        x=alt.X("fraction:Q", title="Training cells (%)", scale=alt.Scale(domain=[0, 105])),
        y=alt.Y("value:Q", title=METRICS.get(metric, metric), scale=alt.Scale(zero=False)),
        color=alt.Color("series:N", title=None, scale=alt.Scale(domain=names, range=colours)),
        shape=alt.Shape("series:N", title=None, scale=alt.Scale(domain=names, range=shapes)),
        tooltip=[alt.Tooltip(f"{column}:{'N' if column in _TEXT else 'Q'}") for column in columns],
    )
    legend = alt.Legend(orient="bottom", columns=3)
    chart = chart.encode(color=chart.encoding.color.copy(), shape=chart.encoding.shape.copy())
    chart.encoding.color.legend = chart.encoding.shape.legend = legend
    return chart.properties(width=190, height=220).facet(
        facet=alt.Facet("panel:N", title=None, sort=list(dict.fromkeys(runs["panel"]))), columns=3
    )


_TEXT = ("panel", "series", "source")


def label_of(model: str) -> str:
    """Return the name that readers see; a model from outside goes by its class."""
    return MODELS[model][0] if model in MODELS else model.rpartition(":")[2]


def colour_of(series: str) -> str:
    """Return the colour of a series of `runs_of`."""
    return _look(series)[0]


def rank(series: str) -> int:
    """Return the place of a series in legends: models in the order of ``MODELS``, then those from outside."""
    return next((i for i, (label, *_) in enumerate(MODELS.values()) if series.startswith(label)), len(MODELS))


def _look(series: str) -> tuple[str, str]:
    for label, colour, marker in MODELS.values():
        if series == label or series.startswith((f"{label},", f"{label} (")):
            return colour, marker
    return OTHERS[sum(series.encode()) % len(OTHERS)]


def _panels(records: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return runs by panel title, best tier first; tiers and data sets never share a panel."""
    runs, panels = runs_of(records), {}
    chosen = runs[runs["metric"] == "chosen_C"].set_index(["tier", "key"])["value"]
    pairs = runs.set_index(["tier", "key"]).index
    runs = runs.assign(source="this project, " + runs["commit"], chosen_C=chosen.reindex(pairs).to_numpy())
    for tier in [t for t in TIERS if t in set(runs["tier"])]:
        for dataset, group in runs[runs["tier"] == tier].groupby("dataset"):
            panels[f"{TIERS[tier]}: {dataset}"] = group
    return panels


def published_panels(published: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return published runs by panel title, with the columns that the project's own runs have in `runs_of`."""
    from bench.published import COUNTERPART

    return {
        f"Published: {title}": runs.assign(
            series=runs["model"].map(label_of),
            metric=runs["metric"].replace(COUNTERPART),
            source="published, " + runs["origin"],
        )
        for title, runs in published.items()
    }


def _curves(axes, runs: pd.DataFrame) -> dict:
    """Draw a dot per run, the mean, and its 95 % t interval where there are three runs or more."""
    handles = {}
    for series, group in runs.groupby("series", sort=False):
        colour, marker = _look(series)
        means = group.groupby("fraction")["value"].agg(list)
        x = 100 * means.index.to_numpy()
        axes.plot(100 * group["fraction"], group["value"], marker, color=colour, alpha=0.45, ms=4, mew=1.2, ls="none")
        line = axes.plot(x, means.map(np.mean), color=colour, lw=1.5, marker=marker, ms=5)[0]
        spread = means[means.map(len) >= 3].map(t_interval)
        low, high = spread.map(lambda i: i.low), spread.map(lambda i: i.high)
        axes.vlines(100 * spread.index, low, high, color=colour, lw=1.5, alpha=0.8)
        handles[series] = line
    axes.set(ylim=(0, 1), xticks=[10, 25, 50, 75, 100])
    axes.tick_params(labelbottom=True)
    return handles


def _difference(group: pd.DataFrame) -> pd.Series:
    """Return, for each row, the settings in which it differs from the other rows of the same model."""
    plain = [c for c in ("split", "subset", "recipe", "protocol") if group[c].nunique() > 1]
    parts = group[plain].agg(lambda row: ", ".join(f"{c}={row[c]}" for c in plain), axis=1)
    settings = group["hyperparameters"].map(json.loads)
    varying = [k for k in settings.iloc[0] if settings.map(lambda s, k=k: str(s.get(k))).nunique() > 1]
    more = settings.map(lambda s: ", ".join(f"{k}={s.get(k)}" for k in varying))
    return (parts.astype(str) + ", " + more).str.strip(", ")
