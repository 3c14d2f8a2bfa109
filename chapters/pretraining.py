"""Keep what the pretrainings of five models were given, which `five_models.md` tells.

python chapters/pretraining.py: a few minutes; data are needed, weights are not, and nothing is trained.
"""

from bench.report.budgets import budgets, write

MODELS = ("scbert", "scgpt", "geneformer", "scfoundation", "cellplm")
TIERS = ("quick", "standin")

print(write(budgets(f"{model}_{tier}" for tier in TIERS for model in MODELS)))
