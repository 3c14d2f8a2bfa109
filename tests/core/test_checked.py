"""Settings with bounds: what is wrong is said before anything runs, all of it at once; every setting has some."""

import math
from dataclasses import dataclass, fields, is_dataclass
from typing import ClassVar

import pytest

from bench.core.checked import Checked
from bench.core.errors import BenchError
from bench.models.classifiers import CLASSIFIERS, ClassifierConfig
from bench.models.registry import by_kind
from bench.models.spec import describe, find
from bench.training.schedule import Schedule


@dataclass(frozen=True)
class Parent(Checked):
    sizes: ClassVar = ("width",)
    above: ClassVar = {"rate": 0}

    width: int = 4
    rate: float = 0.5


@dataclass(frozen=True)
class Child(Parent):
    least: ClassVar = {"steps": 2}
    shares: ClassVar = ("dropout",)
    fractions: ClassVar = ("part",)
    choices: ClassVar = {"kind": ("a", "b")}

    steps: tuple[int, ...] = (2,)
    dropout: float = 0.0
    part: float = 1.0
    kind: str = "a"


@dataclass(frozen=True)
class Divided(Checked):
    multiples: ClassVar = (("batch", "part"),)

    batch: int = 8
    part: int = 4


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"width": 0}, "width=0 should be a whole number of at least 1."),
        ({"rate": 0.0}, "rate=0.0 should be above 0."),
        ({"rate": math.inf}, "rate=inf should be above 0."),
        ({"steps": (2, 1)}, "steps=(2, 1) should be one or more, each a whole number of at least 2."),
        ({"steps": ()}, "steps=() should be one or more, each a whole number of at least 2."),
        ({"dropout": 1.0}, "dropout=1.0 should be at least 0 and below 1."),
        ({"part": 1.1}, "part=1.1 should be from 0 to 1."),
        ({"part": math.nan}, "part=nan should be from 0 to 1."),
        ({"kind": "c"}, "Unknown kind 'c'. Valid: a, b."),
        (
            {"width": -1, "kind": "c"},
            "width=-1 should be a whole number of at least 1.\nUnknown kind 'c'. Valid: a, b.",
        ),
    ],
)
def test_what_a_class_and_its_parents_declare_is_checked(wrong, said):
    with pytest.raises(BenchError) as error:
        Child(**wrong)
    assert str(error.value) == said


def test_multiples():
    assert Divided(batch=12).batch == 12
    with pytest.raises(BenchError, match=r"^batch=10 should be a multiple of part=4; set both\.$"):
        Divided(batch=10)


def settings() -> list[tuple[str, str, object]]:
    """Return model, setting and a value that makes no sense, for every setting of every model but switches."""
    found = []
    for name in (name for models in by_kind().values() for name in models):
        config = getattr(find(name), "Config", None)
        for field in fields(config) if is_dataclass(config) else ():
            default = field.default[0] if isinstance(field.default, tuple) else field.default
            if not isinstance(default, bool):
                value = "nonsense" if isinstance(default, str) else type(default)(-7)
                found.append((name, field.name, [value] if isinstance(field.default, tuple) else value))
    return found


@pytest.mark.parametrize(("model", "setting", "value"), settings())
def test_a_value_that_makes_no_sense_is_refused_before_anything_runs(model, setting, value):
    text = f"{model}@vectors.npy" if model == "embedding" else model
    with pytest.raises(BenchError, match=setting):
        describe(text, {setting: value})


def test_the_classifiers_that_can_be_chosen_are_those_that_there_are():
    assert ClassifierConfig.choices["classifier"] == tuple(CLASSIFIERS)


def test_a_rate_below_0_is_said():
    with pytest.raises(BenchError, match=r"The learning rate falls to -0\.5; it should be 0 or more"):
        Schedule(3, 8, lambda epoch: 0.5 - 0.5 * epoch)
