"""What pretrainings are given: counted on their own draws, compared with counts of cells and with real weights."""

import numpy as np
import pytest
from pretraining import SMALL, own_weights, small

from bench.core.families import families, with_part
from bench.training.budget import budget
from bench.training.pretrain import pretrain
from bench.weights import identity, read

pytestmark = pytest.mark.usefixtures("cache")

MODELS = [family.name for family in with_part("recipes")]
MORE = {"scgpt": {"max_seq_len": 21}, "geneformer": {"max_seq_len": 20}}
MORE |= {"scfoundation": {"thinned": 0.0, "hidden_values": 1e-9, "hidden_zeros": 0.0}}  # so that all is seen
DRAWN = SMALL["steps"] * SMALL["batch_size"]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with own_weights(tmp_path_factory.mktemp("cache")) as folder:
        yield folder


def recipe_of(model: str, **more):
    return small(model, **MORE.get(model, {}) | more)


def expressed(recipe) -> np.ndarray:
    """Return how many genes the cells express that the steps draw."""
    cells = recipe.cells()
    rows = cells.split(recipe.validation_share, recipe.seed)[0]
    draws = [np.random.default_rng([recipe.seed, n]).choice(rows, recipe.batch_size) for n in range(recipe.steps)]
    return np.diff(cells.sparse(np.concatenate(draws)).indptr)


def test_every_family_that_is_pretrained_says_what_it_reads():
    assert {name for name, family in families().items() if family.recipes} == set(MODELS)
    for model in MODELS:
        assert callable(families()[model].load("objective").read), model


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_tokens_are_those_of_the_cells_that_are_drawn(model):
    recipe = recipe_of(model)
    found, n_expressed = budget("small", recipe), expressed(recipe)
    kept_of_a_pass = int(SMALL["micro_batch"] * (1 - 0.3))  # CellPLM leaves three cells in ten out
    passes = 2 * SMALL["steps"] * kept_of_a_pass if model == "cellplm" else DRAWN
    tokens = {
        "scbert": DRAWN * 121,
        "scgpt": (1 + n_expressed.clip(max=20)).sum(),
        "geneformer": n_expressed.clip(min=1, max=20).sum(),
        "scfoundation": (2 + n_expressed).sum(),
        "cellplm": passes,
    }
    assert (found.cell_passes, found.tokens) == (passes, tokens[model])
    assert (found.genes, found.cells) == (120, 1068 - round(0.05 * 1068 + 0.5))


def test_hidden_genes_are_not_read_by_the_encoder():
    seen = budget("small", recipe_of("scfoundation", steps=40, hidden_values=0.5))
    whole = budget("small", recipe_of("scfoundation", steps=40))
    of_genes = [found.tokens - 2 * found.cell_passes for found in (seen, whole)]
    assert of_genes[0] / of_genes[1] == pytest.approx(0.5, abs=0.03)


def test_it_is_told_of_the_weights_that_a_pretraining_makes():
    recipe = recipe_of("scgpt")
    file, found = pretrain("small", recipe), budget("small", recipe)
    assert found.identity == identity(file)
    assert found.parameters == sum(tensor.numel() for tensor in read(file).tensors.values())


def test_of_a_named_recipe_nothing_else_is_asked(monkeypatch):
    recipe = recipe_of("geneformer")
    monkeypatch.setattr("bench.training.budget.named", lambda: {"geneformer_some": recipe})
    assert budget("geneformer_some").weights == "geneformer_some" and budget("geneformer_some").model == "geneformer"
    with pytest.raises(KeyError):
        budget("geneformer_other")
