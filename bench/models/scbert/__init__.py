"""scBERT (Yang et al., Nature Machine Intelligence 2022): a Performer over all genes of a cell."""

from bench.core.families import Family, Option

_ON_GPU = {
    "scbert_pretrain": "bench.models.scbert.golden:masked_language",
    "scbert_pretrain_nog2v": "bench.models.scbert.golden:masked_language",
    "scbert_embed": "bench.models.scbert.golden:masked_language",
    "scbert_classify": "bench.models.scbert.golden:classify",
    "scbert_finetune": "bench.models.scbert.golden_training:finetune",
}

FAMILY = Family(
    name="scbert",
    title="scBERT",
    annotators={
        "scbert": "bench.models.scbert.annotator:ScBERT",
        "scbert_head": "bench.models.scbert.head:ScBERTHead",
    },
    published="bench.models.scbert.sources:PUBLISHED",
    converter="bench.models.scbert.checkpoint:convert",
    objective="bench.models.scbert.objective:ScBERTObjective",
    recipes="bench.models.scbert.recipes:RECIPES",
    pretrained=(
        "scbert_quick",
        "scbert_quick_no_gene2vec",
        "scbert_standin",
        "scbert_standin_no_gene2vec",
        "scbert_standin_gpu",
        "scbert_standin_gpu_no_gene2vec",
    ),
    golden=_ON_GPU
    | {
        "scbert_mask": "bench.models.scbert.golden_training:mask",
        "scbert_schedule": "bench.models.scbert.golden_training:schedule",
        "scbert_preprocess": "bench.models.scbert.golden_inputs:preprocess",
        "scbert_redraw": "bench.models.scbert.golden:redraw",
    },
    on_gpu=frozenset(_ON_GPU),
    pretrain_options={"no_gene2vec": Option("scBERT without gene vectors, as in the ablation.", {"gene2vec": False})},
    commands={"gene2vec": "bench.models.scbert.command:gene2vec"},
)
