"""CellPLM (Wen et al., ICLR 2024): a transformer whose tokens are cells; genes are summed up beforehand."""

from bench.core.families import Family

_ON_GPU = {
    "cellplm_forward": "bench.models.cellplm.golden:forward",
    "cellplm_embed": "bench.models.cellplm.golden:embed",
    "cellplm_context": "bench.models.cellplm.golden:context",
    "cellplm_annotate": "bench.models.cellplm.golden:annotate",
    "cellplm_finetune": "bench.models.cellplm.golden_training:finetune",
    "cellplm_finetune_masked": "bench.models.cellplm.golden_training:finetune_masked",
}

FAMILY = Family(
    name="cellplm",
    title="CellPLM",
    annotators={"cellplm": "bench.models.cellplm.annotator:CellPLM"},
    published="bench.models.cellplm.sources:PUBLISHED",
    converter="bench.models.cellplm.checkpoint:convert",
    described="bench.models.cellplm.checkpoint:described",
    objective="bench.models.cellplm.objective:CellPLMObjective",
    recipes="bench.models.cellplm.recipes:RECIPES",
    pretrained=("cellplm_quick", "cellplm_standin"),
    golden=_ON_GPU
    | {
        "cellplm_gmvae": "bench.models.cellplm.golden_latent:gmvae",
        "cellplm_pretrain": "bench.models.cellplm.golden_latent:pretrain",
        "cellplm_schedule": "bench.models.cellplm.golden_training:schedule",
        "cellplm_preprocess": "bench.models.cellplm.golden_inputs:preprocess",
        "cellplm_hvg": "bench.models.cellplm.golden_inputs:hvg",
        "cellplm_mask": "bench.models.cellplm.golden_inputs:mask",
        "cellplm_layout": "bench.models.cellplm.golden_inputs:layout",
    },
    on_gpu=frozenset(_ON_GPU),
)
