"""scGPT (Cui et al., Nature Methods 2024): a transformer over the expressed genes of a cell."""

from bench.core.families import Family, Option

_ON_GPU = {
    "scgpt_forward": "bench.models.scgpt.golden:forward",
    "scgpt_forward_keys_flash": "bench.models.scgpt.golden:forward",
    "scgpt_forward_keys_impl": "bench.models.scgpt.golden:forward",
    "scgpt_mvc": "bench.models.scgpt.golden:forward",
    "scgpt_finetune": "bench.models.scgpt.golden_training:finetune",
}

FAMILY = Family(
    name="scgpt",
    title="scGPT",
    annotators={"scgpt": "bench.models.scgpt.annotator:ScGPT"},
    published="bench.models.scgpt.sources:PUBLISHED",
    converter="bench.models.scgpt.checkpoint:convert",
    described="bench.models.scgpt.folder:described",
    objective="bench.models.scgpt.objective:ScGPTObjective",
    recipes="bench.models.scgpt.recipes:RECIPES",
    pretrained=("scgpt_quick", "scgpt_standin", "scgpt_standin_gpu"),
    golden=_ON_GPU
    | {
        "scgpt_binning": "bench.models.scgpt.golden_inputs:bins",
        "scgpt_tokenize": "bench.models.scgpt.golden_inputs:tokenize",
        "scgpt_losses": "bench.models.scgpt.golden_inputs:loss",
    },
    on_gpu=frozenset(_ON_GPU),
    weights_options={
        "continual": Option("Accept scGPT's continual pretraining, which is not the paper's.", {"continual": True})
    },
)
