"""Keep what models take as cells grow, which `calibration_and_cost.md` draws.

python chapters/growth.py [SECONDS [MODEL ...]]: fits that would take longer than that, by default five minutes, are
left out; rows of models that are not named stay as they are.  Networks are those of the quick tier's five models, with
their settings and weights.  Leave the machine alone meanwhile; how busy it was at the start stands in the file.
"""

import os
import sys

from bench.models.registry import BASELINES, CONTROLS, FOUNDATION
from bench.protocol.notebooks import trials_of
from bench.report.growth import Measure, growth, kept, write

DATASET = "kang"
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)
ONE_C = {"Cs": [0.1]}

seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 300.0
others = [name for name in (*BASELINES, *CONTROLS) if name not in ("l1_logistic", "shuffled_labels", "scanvi")]
asked = [Measure("l1_logistic", DATASET, 0, "optimum, one C", ONE_C | {"recipe": "optimum"})]
asked += [Measure(name, DATASET, 0) for name in others]
asked.append(Measure("l1_logistic", DATASET, 0, "published, one C", ONE_C))

planned = {task.spec.name: task.spec for task, _ in trials_of("five_models", {}) if task.spec.variant == "pretrained"}
for name in [name for name in planned if name in FOUNDATION]:
    settings = planned[name].hyperparameters | {"recipe": planned[name].recipe, "weights": planned[name].weights}
    asked.append(Measure(name, DATASET, 0, "small, fine-tuned", settings))

wanted = set(sys.argv[2:]) or {one.model for one in asked}
rows = [row for row in kept()[0].to_dict("records") if row["model"] not in wanted] if sys.argv[2:] else []
busy = f"{os.cpu_count()} cores, {os.getloadavg()[0]:.1f} tasks in the minute before"
for row in growth([one for one in asked if one.model in wanted], SIZES, seconds):
    rows.append(row)
    print(row, file=sys.stderr, flush=True)
    write(rows, DATASET, busy)
