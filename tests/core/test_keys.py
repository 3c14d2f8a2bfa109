"""A setting added later leaves keys and identities as they are while it has its neutral value, and only then."""

from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.core.keys import added, canonical, digest, settled, settled_of
from bench.models.baselines.knn import KNN, KNNConfig
from bench.models.scbert.recipes import RECIPES, ScBERTPretraining
from bench.protocol.trial import Trial
from bench.protocol.trials import Grid
from bench.training.blocks import Selection
from bench.training.recipes import named

TRIAL = Trial("hao", "ab", "random", "paired", "knn", "default", "clean", "{}", "", 0.1, 0, "1.1")
IDENTITIES = {  # of weights from cells of the content below
    "cellplm_quick": "1c4c461fae928330",
    "cellplm_standin": "7fc0017b77d4d347",
    "geneformer_quick": "fc64c7b348c45027",
    "geneformer_standin": "2ef1d73768f7f275",
    "scbert_quick": "65a619040babb16b",
    "scbert_quick_no_gene2vec": "9d115d135fd0d292",
    "scbert_standin": "d88b2e6685350c2c",
    "scbert_standin_gpu": "195ccb7727db864f",
    "scbert_standin_gpu_no_gene2vec": "65079dc8deaf9fe9",
    "scbert_standin_no_gene2vec": "99570e54ce79c38f",
    "scfoundation_quick": "ce1c4fb27c170712",
    "scfoundation_standin": "52eb75cb95d2cdb4",
    "scgpt_quick": "66e7295a48a36cd9",
    "scgpt_standin": "71fd3612b6f7e43d",
}


@dataclass(frozen=True)
class LongerTrial(Trial):
    query: str = added("")


@dataclass(frozen=True)
class LongerConfig(KNNConfig):
    metric: str = added("euclidean")


@dataclass(frozen=True)
class LongerRecipe(ScBERTPretraining):
    redraw: bool = added(True)


@dataclass(frozen=True)
class LongerSelection(Selection):
    layer: str = added("X")


def test_a_key_is_the_hash_of_canonical_json():
    assert canonical({"b": (1, 2.0), "a": None}) == '{"a":null,"b":[1,2.0]}'
    assert digest([1, "x"]) == digest((1, "x")) != digest(["1", "x"])
    assert len(digest({})) == 16


def test_a_field_added_to_a_trial_is_in_its_key_at_other_values_alone():
    assert LongerTrial(**asdict(TRIAL)).key == TRIAL.key
    other = LongerTrial(**asdict(TRIAL), query="query.h5ad")
    assert other.key != TRIAL.key
    assert other.key != replace(other, query="another.h5ad").key


def test_a_hyper_parameter_added_to_a_model_is_in_keys_at_other_values_alone(monkeypatch):
    def trial(**overrides) -> Trial:
        (task,) = Grid("keys", "quick", "hao", "knn", overrides={"knn": overrides}).tasks()
        return task.trial

    before = trial()
    monkeypatch.setattr(KNN, "Config", LongerConfig)
    assert trial() == trial(metric="euclidean") == before and "metric" not in before.hyperparameters
    assert '"metric":"cosine"' in trial(metric="cosine").hyperparameters
    assert trial(metric="cosine").key != before.key
    assert trial(n_neighbors=3).key not in (before.key, trial(n_neighbors=3, metric="cosine").key)


class Stored:
    content = "0123456789abcdef"  # of the cells of a pretraining


@pytest.mark.parametrize("name", RECIPES)
def test_a_setting_added_to_a_recipe_is_in_the_identity_of_weights_at_other_values_alone(name):
    recipe = RECIPES[name]
    longer = LongerRecipe(**{field.name: getattr(recipe, field.name) for field in fields(recipe)})
    assert longer.identity(Stored) == recipe.identity(Stored)
    assert replace(longer, redraw=False).identity(Stored) != recipe.identity(Stored)


def test_named_recipes_are_known_by_the_same_identity_as_ever():
    """Committed records know weights by it, whatever becomes of the classes that hold the settings."""
    assert {name: named()[name].identity(Stored) for name in IDENTITIES} == IDENTITIES


def test_what_a_store_of_cells_is_named_after_grows_likewise():
    assert settled_of(LongerSelection("hao", ("random",))) == settled_of(Selection("hao", ("random",)))
    assert settled_of(LongerSelection("hao", layer="counts"))["layer"] == "counts"


def test_settings_of_a_model_without_a_dataclass_are_all_kept():
    assert settled({"strength": 1.0, "metric": "euclidean"}, None) == {"strength": 1.0, "metric": "euclidean"}
    assert settled({"strength": 1.0, "metric": "euclidean"}, LongerConfig) == {"strength": 1.0}


def test_a_key_holds_no_address():
    assert canonical([Path("a"), int]) == '["a","<class \'int\'>"]'
    for value in (object(), lambda: 0, [print.__init__], {"a": MISSING}):
        with pytest.raises(BenchError, match="has no content that a key could be made of"):
            digest(value)


def test_settings_may_be_arrays():
    assert set(settled({"weights": np.ones(2), "metric": "euclidean"}, LongerConfig)) == {"weights"}
