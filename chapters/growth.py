"""Keep what models take as cells grow, which `calibration_and_cost.md` draws.

python chapters/growth.py [SECONDS]: fits that would take longer than that, by default five minutes, are left out.
Networks are those of the quick tier's records, with their settings and their weights.  Leave the machine alone
meanwhile; how busy it was at the start stands in the file.
"""

import json
import os
import sys

from bench.models.registry import BASELINES, CONTROLS
from bench.protocol import records
from bench.report.growth import Measure, growth, write

DATASET = "kang"
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)
ONE_C = {"Cs": [0.1]}

others = [name for name in (*BASELINES, *CONTROLS) if name not in ("l1_logistic", "shuffled_labels", "scanvi")]
asked = [Measure("l1_logistic", DATASET, 0, "optimum, one C", ONE_C | {"recipe": "optimum"})]
asked += [Measure(name, DATASET, 0) for name in others]
asked.append(Measure("l1_logistic", DATASET, 0, "published, one C", ONE_C))

runs = records.read("five_models", own=False)
networks = runs[(runs["tier"] == "quick") & (runs["variant"] == "pretrained")].drop_duplicates("model")
for run in networks.to_dict("records"):
    settings = json.loads(run["hyperparameters"]) | {name: run[name] for name in ("recipe", "weights")}
    asked.append(Measure(run["model"], DATASET, 0, "small, fine-tuned", settings))

busy = f"{os.cpu_count()} cores, {os.getloadavg()[0]:.1f} tasks in the minute before"
rows = []
for row in growth(asked, SIZES, float(sys.argv[1]) if len(sys.argv) > 1 else 300.0):
    rows.append(row)
    print(row, file=sys.stderr, flush=True)
    write(rows, DATASET, busy)
