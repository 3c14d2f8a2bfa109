"""How models, variants, metrics and tiers look and what readers see them called, the same on every page.

Colours: Okabe & Ito 2008 and, where its eight do not suffice, Tol 2021 (his qualitative schemes), safe for colour-blind
readers; two dozen cannot all be told apart by hue, so that those of one page differ in the marker, too.
"""

import re
from functools import cache
from itertools import product
from typing import NamedTuple
from zlib import crc32

import matplotlib.pyplot as plt
import seaborn as sns

from bench.models.registry import ELSEWHERE

MODELS = {  # name -> label, colour, marker
    "l1_logistic": ("L1 logistic regression", "#0072B2", "o"),
    "scbert": ("scBERT", "#D55E00", "s"),
    "scbert_head": ("scBERT head on bins", "#882255", "p"),
    "scgpt": ("scGPT", "#009E73", "D"),
    "geneformer": ("Geneformer", "#AA3377", "^"),
    "scfoundation": ("scFoundation", "#DDAA33", "X"),
    "cellplm": ("CellPLM", "#4B2E83", "P"),
    "knn": ("k nearest neighbours", "#E69F00", "^"),
    "nearest_centroid": ("nearest centroid", "#997700", "d"),
    "l2_logistic": ("L2 logistic regression", "#33BBEE", "D"),
    "linear_svm": ("linear SVM", "#117733", "s"),
    "shrinkage_lda": ("shrinkage LDA on components", "#CC6677", "P"),
    "pca_logistic": ("logistic regression on components", "#CCBB44", "X"),
    "projection": ("projection", "#7A4419", "P"),
    "rank_linear": ("linear on ranks", "#AA4499", "h"),
    "celltypist_recipe": ("CellTypist's recipe", "#EE3377", "*"),
    "boosted_trees": ("gradient-boosted trees", "#994455", "<"),
    "mlp": ("multilayer perceptron", "#6699CC", "p"),
    "streaming_logistic": ("streaming logistic regression", "#004488", ">"),
    "scanvi": ("scANVI", "#EE7733", "H"),
    "mode_per_cell": ("most common bin of the cell", "#999933", "v"),
    "mode_per_gene": ("most common bin of the gene", "#44AA99", "^"),
    "gene_depth_regression": ("regression on gene and depth", "#332288", "h"),
    "majority": ("control: majority", "#666666", "_"),
    "random": ("control: random", "#999999", "x"),
    "shuffled_labels": ("control: shuffled labels", "#CC79A7", "+"),
}
CONTROLS = ("majority", "random", "shuffled_labels")
PLAIN = ("", "default", "pretrained")  # variants that go by the name of the model alone
NAMED = ("embedding",)  # models whose variants are names that a user gave
VARIANTS = {  # name -> label, marker, line style; the colour is the model's
    "no_pretraining": ("no pretraining", "v", "--"),
    "no_pretraining_frozen_embeddings": ("no pretraining, frozen embeddings", ">", (0, (5, 1, 1, 1))),
    "scratch_tuned": ("tuned from scratch", "^", ":"),
    "no_gene2vec": ("no gene2vec", "d", ":"),
    "shuffled_genes": ("shuffled genes", "<", "-."),
    "probe": ("probe", "p", "-."),
    "random_probe": ("probe of random weights", "h", (0, (3, 1, 1, 1))),
    "pca": ("principal components", "o", "-"),
    "variable_genes": ("variable genes", "d", ":"),
    "random_directions": ("random directions", "*", "--"),
    "genes_of_weights": ("genes of the weights", "x", "--"),
    "same_data": ("fitted on the same data set", ">", "--"),
    "reported_by_yang": ("as reported by Yang et al.", "P", "-"),
}
VEGA_SHAPES = {"o": "circle", "s": "square", "D": "diamond", "^": "triangle-up", "v": "triangle-down", "P": "cross"}
VEGA_SHAPES |= {"_": "triangle-down", "x": "cross", "+": "triangle-right", "*": "triangle-left"}
VEGA_SHAPES |= {"d": "diamond", "<": "triangle-left", ">": "triangle-right"}
VEGA_SHAPES |= {"X": "M-1,-0.5L-0.5,-1L0,-0.5L0.5,-1L1,-0.5L0.5,0L1,0.5L0.5,1L0,0.5L-0.5,1L-1,0.5L-0.5,0Z"}
VEGA_SHAPES |= {"8": "M-0.4,-1L0.4,-1L1,-0.4L1,0.4L0.4,1L-0.4,1L-1,0.4L-1,-0.4Z"}
VEGA_SHAPES |= {"H": "M-0.5,-0.87L0.5,-0.87L1,0L0.5,0.87L-0.5,0.87L-1,0Z"}
VEGA_SHAPES |= {"p": "M0,-1L0.95,-0.31L0.59,0.81L-0.59,0.81L-0.95,-0.31Z"}
VEGA_SHAPES |= {"h": "M0,-1L0.87,-0.5L0.87,0.5L0,1L-0.87,0.5L-0.87,-0.5Z"}
OTHERS = list(product(("#56B4E9", "#000000", "#7F3C8D", "#661100"), ("v", "P", "*", ">")))  # for models from outside
MORE = [(marker, line) for line in ("-", ":", "-.", "--") for marker in ("X", "8", "H", "*")]  # where one is taken
MORE += [(marker, line) for line in (":", "-.", "--") for marker in ("o", "s", "D", "^")]
METRICS = {
    "accuracy": "Accuracy",
    "macro_f1_seen": "Macro F1 (as published)",
    "macro_f1": "Macro F1 (fixed labels)",
    "hard_accuracy": "Accuracy, hard pair",
    "hard_f1": "F1, hard pair",
    "recall": "Recall",
    "f1": "F1",
    "masked_accuracy": "Accuracy, replaced positions",
    "masked_accuracy_all": "Accuracy, all selected positions",
    "predictions_equal_most_common_bin": "Predictions equal to the cell's most common bin",
    "cells_predicting_most_common_bin": "Cells given nothing but their most common bin",
    "recall_bin": "Recall",
    "train_loss": "Training loss",
    "validation_loss": "Validation loss",
    "validation_accuracy": "Validation accuracy",
    "validation_macro_f1": "Validation macro F1",
    "predicted_types": "Different types predicted",
    "abstained": "Cells given no type",
    "contradicted": "Cells whose label is not the most probable type",
}
TIERS = {"published": "Published", "paper": "Paper tier", "standin": "Stand-in", "quick": "Quick"}


class Look(NamedTuple):
    """Colour, marker and line style of a series."""

    colour: str
    marker: str
    line: str | tuple = "-"


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
            "text.parse_math": False,  # a name with dollar signs is a name, no formula
        }
    )


def nothing_to_draw():
    """Return a figure that says that nothing is recorded, so that a page without runs is still a page."""
    figure, axis = plt.subplots(figsize=(4.8, 1.0), layout="constrained")
    axis.text(0.5, 0.5, "nothing recorded yet that could be drawn", ha="center", va="center", color="0.4")
    axis.set_axis_off()
    return figure


def label_of(model: str) -> str:
    """Return the name that readers see; a model from outside goes by its class."""
    return MODELS[model][0] if model in MODELS else model.rpartition(":")[2]


def series_of(model: str, variant: str) -> str:
    """Return the name of a model in one of its variants, such as ``scBERT, no gene2vec``; of another tool its own."""
    if model == ELSEWHERE and variant:
        return variant
    if variant in PLAIN:
        return label_of(model)
    if model in NAMED:
        return f"{label_of(model)} {variant}"
    return f"{label_of(model)}, {VARIANTS[variant][0] if variant in VARIANTS else variant.replace('_', ' ')}"


def look_of(series: str) -> Look:
    """Return how a series of `runs_of` is drawn: the colour of its model, the marker and line of its variant.

    A series whose name says more, such as a setting, and a model from outside have a look that no other series of the
    page has: where it is taken, the next one that is free.
    """
    if series not in _LOOKS:
        looks, taken = _looks(series), set(_LOOKS.values())
        _LOOKS[series] = next((look for look in looks if look not in taken), looks[0])
    return _LOOKS[series]


_LOOKS: dict[str, Look] = {}  # by series; a page is one process


def _looks(series: str) -> list[Look]:
    """Return the looks that a series may have, the one that it should have first."""
    model, variant, further = _model_and_variant(series)
    if model is None:
        start = crc32(series.partition(" (")[0].encode()) % len(OTHERS)
        usual = [Look(*look) for look in OTHERS[start:] + OTHERS[:start]]
        return usual + [Look(look.colour, *more) for more in MORE for look in usual[::4]]
    colour, marker = MODELS[model][1:]
    if further:
        return [Look(colour, *more) for more in MORE]
    return [Look(colour, *VARIANTS[variant][1:]) if variant else Look(colour, marker)]


def colour_of(series: str) -> str:
    """Return the colour of a series of `runs_of`."""
    return look_of(series).colour


def rank(series: str) -> int:
    """Return the place of a series in legends: models in the order of ``MODELS``, those from outside last."""
    model, variant = _parts(series)
    place = list(MODELS).index(model) if model else len(MODELS)
    return place * (len(VARIANTS) + 1) + (list(VARIANTS).index(variant) + 1 if variant else 0)


def natural(series: str) -> tuple:
    """Return a key that sorts series as `rank` does, and ``batch_size=8`` before ``batch_size=16``."""
    return rank(series), [float(text) for text in re.findall(r"=(-?[\d.]+(?:e-?\d+)?)(?![\w.])", series)], series


def is_control(series: str) -> bool:
    """Return whether a series is a floor that says nothing of a model."""
    return _parts(series)[0] in CONTROLS


def is_known(series: str) -> bool:
    """Return whether a series goes by the name of a model of this project."""
    return _parts(series)[0] is not None


def _parts(series: str) -> tuple[str | None, str | None]:
    """Return the model and the variant, where they are known, that a series is named after."""
    return _model_and_variant(series)[:2]


@cache
def _model_and_variant(series: str) -> tuple[str | None, str | None, str]:
    """Return the model and the variant that a series is named after, and what else its name says."""
    for model, (label, *_) in MODELS.items():
        if series == label or series.startswith((f"{label},", f"{label} (")):
            rest = series.removeprefix(label)
            text = rest.partition(" (")[0]
            variant = next((name for name, (known, *_) in VARIANTS.items() if text == f", {known}"), None)
            return model, variant, rest.removeprefix(text) if variant else rest
    return None, None, series
