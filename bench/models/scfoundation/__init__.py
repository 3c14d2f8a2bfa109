"""scFoundation (Hao et al., Nature Methods 2024): a transformer over expressed genes, a Performer over all genes."""

from bench.core.families import Family, Option

_ON_GPU = {
    "scfoundation_token_embed": "bench.models.scfoundation.golden:token_embed",
    "scfoundation_forward": "bench.models.scfoundation.golden:forward",
    "scfoundation_cell_embed": "bench.models.scfoundation.golden:cell_embed",
    "scfoundation_ckpt_layout": "bench.models.scfoundation.golden:layout",
    "scfoundation_pretrain": "bench.models.scfoundation.golden_training:pretrain",
    "scfoundation_finetune": "bench.models.scfoundation.golden_training:finetune",
}

FAMILY = Family(
    name="scfoundation",
    title="scFoundation",
    annotators={"scfoundation": "bench.models.scfoundation.annotator:ScFoundation"},
    published="bench.models.scfoundation.sources:PUBLISHED",
    converter="bench.models.scfoundation.checkpoint:convert",
    described="bench.models.scfoundation.checkpoint:described",
    objective="bench.models.scfoundation.objective:ScFoundationObjective",
    recipes="bench.models.scfoundation.recipes:RECIPES",
    pretrained=("scfoundation_quick", "scfoundation_standin", "scfoundation_standin_gpu"),
    golden=_ON_GPU | {"scfoundation_preprocess": "bench.models.scfoundation.golden_inputs:preprocess"},
    on_gpu=frozenset(_ON_GPU),
    weights_options={
        "cell": Option("Of scFoundation's three models, that of embeddings of cells.", {"part": "cell"}),
        "rde": Option("Of scFoundation's three models, that of other read depths.", {"part": "rde"}),
    },
)
