"""Figures of the book: one colour and one marker per model on every page, a dot per run and an interval.

Every function takes tidy tables and returns a matplotlib or altair figure; none reads a file.
"""

from bench.figures.bins import recall_per_bin
from bench.figures.cell_types import per_class
from bench.figures.claims import claims
from bench.figures.dots import ablation, masked
from bench.figures.effects import effect_curves, effects
from bench.figures.equivalence import equivalence
from bench.figures.held_out import held_out
from bench.figures.learning_curves import few_shot, few_shot_hover
from bench.figures.panels import complete_runs, title_of
from bench.figures.pareto import pareto
from bench.figures.reliability import abstention, reliability
from bench.figures.runs import published_panels, runs_of
from bench.figures.schedules import schedules
from bench.figures.settings import keep
from bench.figures.style import (
    METRICS,
    MODELS,
    TIERS,
    VARIANTS,
    VEGA_SHAPES,
    colour_of,
    label_of,
    rank,
    series_of,
    style,
)
from bench.figures.training import curves, sensitivity

__all__ = [
    "METRICS",
    "MODELS",
    "TIERS",
    "VARIANTS",
    "VEGA_SHAPES",
    "ablation",
    "abstention",
    "claims",
    "colour_of",
    "complete_runs",
    "curves",
    "effect_curves",
    "effects",
    "equivalence",
    "few_shot",
    "few_shot_hover",
    "held_out",
    "keep",
    "label_of",
    "masked",
    "pareto",
    "per_class",
    "published_panels",
    "rank",
    "recall_per_bin",
    "reliability",
    "runs_of",
    "schedules",
    "sensitivity",
    "series_of",
    "style",
    "title_of",
]
