"""Keep what five models are given of one cell, which `five_models.md` draws.

python chapters/inputs.py: weights that are not there are pretrained first, minutes each.
The cell is the monocyte with the median number of expressed genes, of those trained on.
"""

from bench.datasets import load
from bench.report.inputs import inputs_of, middle_cell, write

MODELS = ("scbert", "scgpt", "geneformer", "scfoundation", "cellplm")

hao = load("hao")
cell = middle_cell(hao, "Monocytes")
overrides = {model: {"weights": f"{model}_quick"} for model in MODELS}
overrides["scgpt"]["max_tokens"] = 129  # as on the page
print(write(inputs_of(hao, cell, overrides)))
