"""`bench check`: models that break one promise each are refused for that one, on real and on drawn cells."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.core.errors import BenchError
from bench.models import create, describe, sample
from bench.models.candidate import Candidate
from bench.models.conformance import CHECKS, check, notes
from bench.protocol import records
from bench.report import figures, tables

CHAPTERS = Path(__file__).parents[2] / "chapters"
REFUSED = {  # class of chapters/refused_models.py -> promises that it breaks, words of the first message
    "Logits": (["probabilities"], "expected >= 0. Apply softmax to logits"),
    "OneForEachType": (["probabilities"], "expected 1 within 0.001. Divide each row by its sum"),
    "NoColumnForTheLast": (["probabilities"], "one column per entry of classes_"),
    "Diverged": (["probabilities"], "NaN or infinite probabilities"),
    "LooksForLabels": (["probabilities"], "predict_proba raised KeyError: 'cell_type'"),
    "MostFrequentFirst": (["types"], "expected the types of the training cells, sorted: ["),
    "OwnSeed": (["seed"], "draw everything from the seed"),
    "ScaledByTheBatch": (["company"], "or declare batch_dependent = True"),
    "SmoothedAlongTheFile": (["order", "company"], "predict each cell by itself"),
    "NormalisesInPlace": (["unchanged"], "fit changed X.data of the cells it was given; work on a copy"),
    "NeedsTwoCells": (["one_cell"], "single training cell of a type: fit raised ValueError: every type needs two"),
    "DividesByTheSum": (["empty_cell"], "Of cells without any count: 3 cells have NaN"),
}


@pytest.fixture(autouse=True)
def chapters_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(CHAPTERS))


@pytest.fixture(scope="module", params=["real", "drawn"])
def cells(request, hao):
    return sample.sides(hao if request.param == "real" else sample.drawn())


def missed(name: str, cells, **overrides) -> dict[str, str]:
    return {found: reason for found, reason in check(describe(name, overrides), *cells) if reason}


@pytest.mark.parametrize("model", REFUSED)
def test_a_broken_promise_is_named_with_what_to_do(model, cells):
    promises, words = REFUSED[model]
    found = missed(f"refused_models:{model}", cells)
    assert list(found) == promises
    assert words in found[promises[0]]


def test_every_promise_is_broken_by_an_example_and_every_example_is_tried():
    import refused_models

    assert {promise for promises, _ in REFUSED.values() for promise in promises} == set(CHECKS)
    examples = [name for name, cls in vars(refused_models).items() if isinstance(cls, type)]
    assert {*examples} == {*REFUSED, "NoProbabilities", "NearestCentroid"}
    with pytest.raises(BenchError, match="has no method predict_proba; what a model promises"):
        describe("refused_models:NoProbabilities")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["nearest_centroid:NearestCentroid", "majority", "random", "shuffled_labels", "knn"])
def test_a_model_that_keeps_its_promises_is_accepted(model, cells):
    assert missed(model, cells) == {}
    assert len(list(check(describe(model), *cells))) == len(CHECKS)


def test_a_declared_dependence_on_the_batch_is_accepted(cells):
    spec = describe("refused_models:ScaledByTheBatch")
    declared = type("Declared", (spec.cls,), {"batch_dependent": True})
    assert [name for name, reason in check(replace(spec, cls=declared), *cells) if reason] == []


def test_a_model_that_calls_itself_certain_is_held_to_it(cells):
    spec = describe("random")
    certain = type("Certain", (spec.cls,), {"stochastic": False})
    found = dict(check(replace(spec, cls=certain), *cells))
    assert "stochastic is False, but another seed gives other labels" in found["seed"]


def test_two_fits_may_differ_by_rounding(cells):
    spec = describe("nearest_centroid:NearestCentroid")

    class Rounds(spec.cls):
        off = iter(np.geomspace(1e-7, 1e-5, 1000))

        def predict_proba(self, cells):
            found = super().predict_proba(cells) * (1 - next(self.off))
            return found / found.sum(axis=1, keepdims=True) * (1 - next(self.off))

    assert [name for name, reason in check(replace(spec, cls=Rounds), *cells) if reason] == []


def test_a_model_at_chance_and_labels_against_the_probabilities_are_notes(cells):
    assert notes(Candidate(lambda: create(describe("knn")), *cells)) == []
    (at_chance,) = notes(Candidate(lambda: create(describe("majority")), *cells))
    assert "by chance: it may have learnt nothing" in at_chance

    class Least(describe("knn").cls):
        def predict(self, cells):
            return self.classes_[self.predict_proba(cells).argmin(axis=1)]

    against, *_ = notes(Candidate(Least, *cells))
    assert against.startswith("predict and predict_proba disagree in ")


def test_the_first_miss_that_others_build_on_ends_the_checks(cells):
    assert list(dict(check(describe("refused_models:Logits"), *cells))) == ["types", "probabilities"]


def test_a_sample_is_small_real_and_drawn_by_its_seed(hao):
    train, scored = sample.sides(hao)
    assert not set(train.obs_names) & set(scored.obs_names)
    assert set(train.obs["cell_type"]) == set(scored.obs["cell_type"])
    assert (train.shape, scored.shape) == ((160, 500), (80, 500))
    for part in (train, scored):
        np.testing.assert_array_equal(part.X.toarray(), hao[part.obs_names, part.var_names].X.toarray())
    again, other = sample.sides(hao)[0], sample.sides(hao, seed=1)[0]
    assert again.obs_names.equals(train.obs_names)
    assert set(other.obs_names) != set(train.obs_names)


def bench(*arguments: str):
    return CliRunner().invoke(main, ["check", *arguments])


def test_command_lists_every_promise_and_exits_with_0(warm):
    result = bench("nearest_centroid:NearestCentroid", "-p", "temperature", "2")
    assert result.exit_code == 0, result.output
    assert [line.split()[:2] for line in result.output.splitlines()[:-1]] == [[name, "ok"] for name in CHECKS]
    assert result.output.endswith("all promises kept\n")


def test_command_names_what_was_missed_and_exits_with_1(warm):
    result = bench("refused_models:OwnSeed")
    assert result.exit_code == 1
    assert "seed           MISS  Two fits with seed=0 differ" in result.output
    assert result.output.endswith("missed: seed\n")
    result = bench("refused_models:Diverged")
    assert "order          MISS  not run" in result.output


ENDS = {
    "signal.raise_signal(signal.SIGSEGV)": "the process was killed by SIGSEGV.",
    "os._exit(3)": "the process ended itself with exit code 3.",
    "raise_interrupt()": "KeyboardInterrupt.",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_model_that_ends_its_process_misses_the_promise_that_was_tried(end, tmp_path, monkeypatch, warm):
    monkeypatch.syspath_prepend(str(tmp_path))
    code = f"""
import os, signal
from nearest_centroid import NearestCentroid
def raise_interrupt(): raise KeyboardInterrupt
class Ends(NearestCentroid):
    def predict_proba(self, cells): {end}
"""
    (tmp_path / "ends_its_process.py").write_text(code)
    result = bench("ends_its_process:Ends")
    assert result.exit_code == 1
    assert result.output.splitlines()[0].split()[:2] == ["types", "ok"]
    assert result.output.splitlines()[1] == f"probabilities  MISS  While this was tried: {ENDS[end]}"
    assert "seed           MISS  not run" in result.output


STRANGER = '''
import numpy as np
from sklearn.naive_bayes import MultinomialNB


class CountsAlone:
    """Multinomial naive Bayes on counts."""

    def __init__(self, alpha: float = 1.0):
        self.alpha = alpha

    def fit(self, train, *, seed, validation=None):
        self.model = MultinomialNB(alpha=self.alpha).fit(train.X, train.obs["cell_type"].astype(str))
        self.classes_ = self.model.classes_
        return self

    def predict_proba(self, cells):
        return self.model.predict_proba(cells.X)
'''


@pytest.mark.slow
def test_a_model_of_twenty_lines_stands_beside_the_others_in_figure_and_table(tmp_path, monkeypatch, warm):
    (tmp_path / "stranger.py").write_text(STRANGER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert bench("stranger:CountsAlone", "-p", "alpha", "0.5").exit_code == 0
    asked = ["-p", "models", '["stranger:CountsAlone"]', "-p", "fractions", "[0.5, 1.0]", "-p", "seeds", "[0]"]
    result = CliRunner().invoke(main, ["run", "few_shot_pbmc", *asked])
    assert result.exit_code == 0, result.output
    every = records.read("few_shot_pbmc")
    legend = figures.few_shot(every, {}).legends[0]
    looks = {
        text.get_text(): line.get_color() for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)
    }
    assert {"CountsAlone", "L1 logistic regression", "control: majority"} <= set(looks)
    assert list(looks.values()).count(looks["CountsAlone"]) == 1
    table = tables.few_shot(every[every["tier"] == "quick"], {}, ["accuracy"]).reset_index()
    rows = table[table["model"] == "CountsAlone"]
    assert len(rows) == 1
    assert len(table) > 3


def test_what_keys_cover_is_said_once_all_promises_are_kept(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_centroid.py").write_text("from nearest_centroid import NearestCentroid as Centroid\nW = 'w.npz'\n")
    (tmp_path / "w.npz").write_bytes(b"")
    said = CliRunner().invoke(main, ["check", "my_centroid:Centroid"]).output
    assert "my_centroid:Centroid is run anew when one of these changes: my_centroid, nearest_centroid." in said
    assert "The keys of my_centroid:Centroid do not cover the file w.npz that my_centroid names." in said
