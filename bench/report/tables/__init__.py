"""Tables of the book: tidy records in, a readable DataFrame or its HTML out."""

from bench.report.tables.answers import most_predicted
from bench.report.tables.budgets import pretraining
from bench.report.tables.comparisons import comparisons, models_compared, short_p
from bench.report.tables.conformance import promises, refusals
from bench.report.tables.designs import equivalences, pairing
from bench.report.tables.effects import effect_sizes, effects, own_variants
from bench.report.tables.growth import growth, recipes
from bench.report.tables.held_out import common_groups, groups_of, held_out, per_group
from bench.report.tables.html import show
from bench.report.tables.neighbours import above_random, neighbours, own_type, without_map
from bench.report.tables.project import (
    arrays,
    cost,
    coverage,
    datasets,
    failures,
    gaps,
    listed,
    metrics,
    models,
    provenance,
    sources,
    standin,
    versions,
)
from bench.report.tables.reliability import (
    TARGETS,
    abstention,
    calibration,
    calibration_by_run,
    fronts,
    on_every_front,
    seconds_again,
)
from bench.report.tables.requested import requested
from bench.report.tables.reruns import reruns
from bench.report.tables.schedules import collapse, gained, gains
from bench.report.tables.scores import ablations, few_shot, masked, per_class, run_by_run
from bench.report.tables.settings import changes
from bench.report.tables.training import sensitivity, slow_family

__all__ = [
    "TARGETS",
    "ablations",
    "above_random",
    "abstention",
    "arrays",
    "calibration",
    "calibration_by_run",
    "changes",
    "collapse",
    "common_groups",
    "comparisons",
    "cost",
    "coverage",
    "datasets",
    "effect_sizes",
    "effects",
    "equivalences",
    "failures",
    "few_shot",
    "fronts",
    "gained",
    "gains",
    "gaps",
    "groups_of",
    "growth",
    "held_out",
    "listed",
    "masked",
    "metrics",
    "models",
    "models_compared",
    "most_predicted",
    "neighbours",
    "on_every_front",
    "own_type",
    "own_variants",
    "pairing",
    "per_class",
    "per_group",
    "pretraining",
    "promises",
    "provenance",
    "recipes",
    "refusals",
    "requested",
    "reruns",
    "run_by_run",
    "seconds_again",
    "sensitivity",
    "short_p",
    "show",
    "slow_family",
    "sources",
    "standin",
    "versions",
    "without_map",
]
