"""Keep what the recipe optimum of L1 logistic regression finds where the published one is recorded.

python chapters/recipes.py: each committed trial of all training cells with a search for C, once more.
It takes minutes; `calibration_and_cost.md` shows both side by side.
"""

import sys

import pandas as pd

from bench.protocol import records
from bench.report.recipes import optimum, published, write

EXPERIMENTS = ("few_shot_pbmc", "few_shot_scgpt", "baselines")

recorded = pd.concat([records.read(name, own=False) for name in EXPERIMENTS], ignore_index=True)
rows = []
for row in optimum(published(recorded).sort_values("seconds")):
    rows.append(row)
    print(row, file=sys.stderr, flush=True)
    write(rows)
