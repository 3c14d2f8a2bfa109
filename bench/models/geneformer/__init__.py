"""Geneformer (Theodoris et al., Nature 2023; Chen et al. 2024): BERT over the genes of a cell, ordered by rank."""

from bench.core.families import Family

_ON_GPU = {
    "geneformer_forward_v1": "bench.models.geneformer.golden:forward",
    "geneformer_forward_v2": "bench.models.geneformer.golden:forward",
    "geneformer_forward_v1_keys_bin": "bench.models.geneformer.golden:forward",
    "geneformer_embed_v1": "bench.models.geneformer.golden:embed",
    "geneformer_embed_v2": "bench.models.geneformer.golden:embed",
    "geneformer_classify": "bench.models.geneformer.golden:classify",
    "geneformer_pretrain_v1": "bench.models.geneformer.golden_training:pretrain",
    "geneformer_pretrain_v2": "bench.models.geneformer.golden_training:pretrain",
    "geneformer_finetune_annotation": "bench.models.geneformer.golden_training:finetune",
    "geneformer_finetune_state": "bench.models.geneformer.golden_training:finetune",
}

FAMILY = Family(
    name="geneformer",
    title="Geneformer",
    annotators={"geneformer": "bench.models.geneformer.annotator:Geneformer"},
    published="bench.models.geneformer.sources:PUBLISHED",
    converter="bench.models.geneformer.checkpoint:convert",
    described="bench.models.geneformer.checkpoint:described",
    objective="bench.models.geneformer.objective:GeneformerObjective",
    recipes="bench.models.geneformer.recipes:RECIPES",
    pretrained=("geneformer_quick", "geneformer_standin", "geneformer_standin_gpu"),
    golden=_ON_GPU
    | {
        "geneformer_tokenize_v1": "bench.models.geneformer.golden_inputs:tokenize",
        "geneformer_tokenize_v2": "bench.models.geneformer.golden_inputs:tokenize",
        "geneformer_tokenize_dups": "bench.models.geneformer.golden_inputs:odd",
        "geneformer_tokenize_real": "bench.models.geneformer.golden_inputs:real",
        "geneformer_schedule": "bench.models.geneformer.golden_inputs:schedule",
        "geneformer_keys": "bench.models.geneformer.golden_inputs:keys",
    },
    on_gpu=frozenset(_ON_GPU),
)
