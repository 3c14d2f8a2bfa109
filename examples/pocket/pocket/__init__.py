"""A template of a foundation model: everything that is special to it in one package, declared in one object."""

from bench.core.families import Family

FAMILY = Family(
    name="pocket",
    title="Pocket",
    annotators={"pocket": "pocket.annotator:Pocket"},
    published="pocket.weights:PUBLISHED",
    converter="pocket.weights:convert",
    objective="pocket.pretraining:PocketObjective",
    recipes="pocket.pretraining:RECIPES",
    pretrained=("pocket_quick",),
    golden={"pocket_forward": "pocket.golden:forward"},
)
