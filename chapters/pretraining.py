"""Keep what the pretrainings of five models were given and what they learned, which `five_models.md` tells.

python chapters/pretraining.py: a few minutes; data are needed, nothing is trained.  What was learned is told of the
weights that are in the cache.
"""

from bench.report.budgets import budgets, write

MODELS = ("scbert", "scgpt", "geneformer", "scfoundation", "cellplm")
TIERS = ("quick", "standin")

print(write(budgets(f"{model}_{tier}" for tier in TIERS for model in MODELS)))
