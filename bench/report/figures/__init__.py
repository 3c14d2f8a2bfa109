"""Figures of the book: one colour and one marker per model on every page, a dot per run and an interval.

Every function takes tidy tables and returns a matplotlib or altair figure; none reads a file.
"""

from bench.report.figures.bins import recall_per_bin
from bench.report.figures.cell_types import per_class
from bench.report.figures.claims import claims
from bench.report.figures.dots import ablation, masked
from bench.report.figures.effects import effect_curves, effects
from bench.report.figures.equivalence import equivalence
from bench.report.figures.growth import growth
from bench.report.figures.held_out import held_out
from bench.report.figures.inputs import inputs
from bench.report.figures.learning_curves import few_shot, few_shot_hover
from bench.report.figures.maps import maps_of, umap
from bench.report.figures.panels import best_tier, complete_runs, on_panels_of
from bench.report.figures.pareto import pareto
from bench.report.figures.ranking import ranking
from bench.report.figures.reliability import abstention, predictions_of, reliability
from bench.report.figures.runs import published_panels, runs_of
from bench.report.figures.schedules import schedules
from bench.report.figures.settings import keep
from bench.report.figures.style import (
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
from bench.report.figures.training import curves, sensitivity

__all__ = [
    "METRICS",
    "MODELS",
    "TIERS",
    "VARIANTS",
    "VEGA_SHAPES",
    "ablation",
    "abstention",
    "best_tier",
    "claims",
    "colour_of",
    "complete_runs",
    "curves",
    "effect_curves",
    "effects",
    "equivalence",
    "few_shot",
    "few_shot_hover",
    "growth",
    "held_out",
    "inputs",
    "keep",
    "label_of",
    "maps_of",
    "masked",
    "on_panels_of",
    "pareto",
    "per_class",
    "predictions_of",
    "published_panels",
    "rank",
    "ranking",
    "recall_per_bin",
    "reliability",
    "runs_of",
    "schedules",
    "sensitivity",
    "series_of",
    "style",
    "umap",
]
