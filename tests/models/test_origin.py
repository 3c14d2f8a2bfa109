"""What a model from outside rests on: every file of the user's own that it imports, packages' versions, settings."""

import json
import os
import py_compile
import sys
import zipfile
from dataclasses import replace
from functools import partial
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.models import describe
from bench.models.baselines.knn import KNN
from bench.models.origin import Origin, is_ours, origin_of, said, settings
from bench.models.origin.settings import settings_of

CHAPTERS = Path(__file__).parents[2] / "chapters"
VERBS = """
    def fit(self, train, *, seed, validation=None): return self
    def predict_proba(self, cells): ...
"""
MINE = f"class Mine:{VERBS}"
LATER = "    def embed(self, cells):\n        "
LAYOUTS = {  # files, and the one that is changed
    "the class": ({"mine.py": MINE}, "mine.py"),
    "a base class": (
        {"mine.py": "from basis import B\nclass Mine(B): ...", "basis.py": f"class B:{VERBS}"},
        "basis.py",
    ),
    "a helper": ({"mine.py": f"import helper\n{MINE}", "helper.py": ""}, "helper.py"),
    "a helper's helper": (
        {"mine.py": f"import helper\n{MINE}", "helper.py": "from further import x", "further.py": "x = 1"},
        "further.py",
    ),
    "two that import each other": (
        {"mine.py": f"import helper\n{MINE}", "helper.py": "def f():\n    import mine, further", "further.py": ""},
        "further.py",
    ),
    "imported in a method": ({"mine.py": f"{MINE}{LATER}import helper", "helper.py": ""}, "helper.py"),
    "imported by text": (
        {"mine.py": f"import importlib\n{MINE}{LATER}importlib.import_module('helper')", "helper.py": ""},
        "helper.py",
    ),
    "imported if it is there": (
        {"mine.py": f"try:\n    import helper\nexcept ImportError:\n    pass\n{MINE}", "helper.py": ""},
        "helper.py",
    ),
    "a package that holds the class elsewhere": (
        {"mine/__init__.py": "from .impl import Mine", "mine/impl.py": f"from .deep import x\n{MINE}"}
        | {"mine/deep/__init__.py": "", "mine/deep/x.py": ""},
        "mine/deep/x.py",
    ),
    "what is around an imported module": (
        {"mine.py": f"from lab.sub import helper\n{MINE}", "lab/__init__.py": "", "lab/sub/__init__.py": ""}
        | {"lab/sub/helper.py": ""},
        "lab/__init__.py",
    ),
    "a package without an __init__": (
        {"mine.py": f"{MINE}{LATER}from lab.sub.helper import x", "lab/sub/helper.py": "x = 1"},
        "lab/sub/helper.py",
    ),
    "a name of the standard library's": ({"mine.py": f"{MINE}{LATER}import this", "this.py": ""}, "this.py"),
}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder on the path; what is imported from it is forgotten after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    forget()


def forget() -> None:
    for name in {"mine", "helper", "basis", "lab", "further", "wrapped", "odd_name"}:
        for module in [module for module in sys.modules if module.partition(".")[0] == name]:
            del sys.modules[module]


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def origin(name: str = "mine:Mine", **overrides) -> Origin:
    return origin_of(describe(name, overrides))


def digest_in(folder: Path, files: dict[str, str], monkeypatch) -> str:
    """Return the digest of the model in a new folder, as another process or machine would find it."""
    write(folder, files)
    forget()
    with monkeypatch.context() as patch:
        patch.syspath_prepend(folder)
        return origin().digest


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_file_of_the_users_own_counts_and_no_other(layout, place, monkeypatch):
    files, changed = LAYOUTS[layout]
    write(place, files | {"unrelated.py": "", "lab/unrelated.py": ""})
    before = origin()
    assert before.missed == []
    write(place, {"unrelated.py": "x = 1", "lab/unrelated.py": "x = 1"})
    assert origin() == before
    text = (place / changed).read_text()
    write(place, {changed: f"{text}\n# changed"})
    assert origin().digest != before.digest
    assert digest_in(place / "another", files, monkeypatch) == before.digest  # in a folder of another name


def test_one_file_that_wraps_what_every_record_tells_goes_by_its_own_content(monkeypatch):
    monkeypatch.syspath_prepend(CHAPTERS)
    found = origin("nearest_centroid:NearestCentroid")
    assert (found.digest, found.packages) == ("7f2c808d", {})  # as in the committed records
    spec = describe("nearest_centroid:NearestCentroid")
    assert list(said(spec, found, settings_of(spec))) == []


def test_modules_of_one_name_are_told_apart_by_content(place, monkeypatch):
    digests = [digest_in(place / name, {"mine.py": f"# {name}\n{MINE}"}, monkeypatch) for name in ("a", "b")]
    assert len(set(digests)) == 2


def test_of_two_modules_of_one_name_the_first_on_the_path_counts(place, monkeypatch):
    write(place, {"mine.py": f"import helper\n{MINE}", "helper.py": "x = 1", "first/helper.py": "x = 2"})
    before = origin()
    write(place, {"helper.py": "x = 3"})
    monkeypatch.syspath_prepend(place / "first")
    forget()
    shadowed = origin()
    write(place, {"helper.py": "x = 4"})
    assert origin() == shadowed != before


def test_modules_in_an_archive_or_without_source_count(place, monkeypatch):
    write(place, {"mine.py": f"import helper, basis\n{MINE}", "source.py": "x = 1"})
    with zipfile.ZipFile("lib.zip", "w") as archive:
        archive.writestr("helper.py", "import further")
    py_compile.compile("source.py", "basis.pyc")
    write(place, {"further.py": ""})
    monkeypatch.syspath_prepend(place / "lib.zip")
    before = origin()
    assert set(before.modules) == {"mine", "helper", "basis", "further"}
    assert before.missed == ["what basis, which is compiled, imports"]
    write(place, {"source.py": "x = 2"})
    py_compile.compile("source.py", "basis.pyc")
    assert origin().digest != before.digest


def test_what_cannot_be_covered_is_said(place):
    later = f"{LATER}import helper, further\n        importlib.import_module(self.name)\n        self.eval()"
    reading = "\n    WEIGHTS = 'w.npz'\n    note: str = 'defaults.json'"
    write(
        place,
        {
            "mine.py": f"import importlib\n{MINE}{later}{reading}",
            "further.py": "x = (",
            "w.npz": "",
            "defaults.json": "",
        },
    )
    (place / f"helper{EXTENSION_SUFFIXES[0]}").write_bytes(b"compiled")
    found = origin()
    assert sorted(found.missed) == [
        "the file w.npz that mine names",
        "what further, which is no valid Python, imports",
        "what helper, which is compiled, imports",
        "what mine loads in line 7 with import_module",
    ]
    (place / f"helper{EXTENSION_SUFFIXES[0]}").write_bytes(b"compiled otherwise")
    assert origin().digest != found.digest
    spec = describe("mine:Mine")
    changes, sentence = said(spec, found, settings_of(spec))
    assert changes == "mine:Mine is run anew when one of these changes: further, helper, mine."
    assert sentence.startswith("The keys of mine:Mine do not cover what mine loads in line 7 with import_module, ")


def package(folder: Path, name: str, version: str, holds: str, **more: str) -> None:
    files = {"METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"} | more
    write(
        folder, {f"{name}.dist-info/{file}": text for file, text in files.items()} | {f"{holds}.py": f"v='{version}'"}
    )


@pytest.mark.parametrize("name", ["wrapped", "odd-name"])
def test_a_wrapped_package_counts_with_major_and_minor_version(name, place, monkeypatch):
    write(place, {"mine.py": f"{MINE}{LATER}import wrapped"})
    monkeypatch.syspath_prepend(place / "installed")
    digests = []
    for version in ("1.2.3", "1.2.9", "1.3.0", "2"):
        package(place / "installed", name, version, "wrapped", RECORD="wrapped.py,,\n")
        found = origin()
        assert found.packages == {name: ".".join(version.split(".")[:2])} and set(found.modules) == {"mine"}
        digests.append(found.digest)
    assert digests[0] == digests[1] and len(set(digests)) == 3


def test_a_module_among_packages_that_belongs_to_none_is_the_users(place, monkeypatch):
    write(place, {"mine.py": f"import helper\n{MINE}", "installed/helper.py": ""})
    package(place / "installed", "wrapped", "1.0", "wrapped")
    monkeypatch.syspath_prepend(place / "installed")
    assert set(origin().modules) == {"mine", "helper"}


def test_a_package_in_parts_of_which_one_is_installed_is_taken_by_parts(place, monkeypatch):
    write(place, {"mine.py": f"from lab import core, own\n{MINE}", "parts/lab/own.py": "", "installed/lab/core.py": ""})
    package(place / "installed", "lab_core", "1.0", "lab/core", RECORD="lab/core.py,,\n")
    monkeypatch.syspath_prepend(place / "parts")
    monkeypatch.syspath_prepend(place / "installed")
    found = origin()
    assert found.packages == {"lab_core": "1.0"} and set(found.modules) == {"mine", "lab.own"}


def test_a_package_to_be_edited_counts_with_version_and_content(place, monkeypatch):
    write(place, {"mine.py": f"import wrapped\n{MINE}", "source/wrapped.py": ""})
    linked = json.dumps({"url": "file:///source", "dir_info": {"editable": True}})
    package(place / "installed", "wrapped", "1.2.3", "unrelated", **{"direct_url.json": linked})
    monkeypatch.syspath_prepend(place / "installed")
    monkeypatch.syspath_prepend(place / "source")
    found = origin()
    assert found.packages == {"wrapped": "1.2"} and set(found.modules) == {"mine", "wrapped"}


def test_an_installed_package_that_holds_the_model_counts_with_its_content(place, monkeypatch):
    package(place, "mine", "0.1.0", "mine")
    write(place, {"mine.py": f"import helper\n{MINE}", "helper.py": ""})
    monkeypatch.setattr("bench.models.origin.known", lambda: {"named": "mine:Mine"})
    monkeypatch.setattr("bench.models.registry.known", lambda: {"named": "mine:Mine"})
    found = origin("named")
    assert found.packages == {"mine": "0.1"} and set(found.modules) == {"mine", "helper"}


def test_the_version_of_a_class_of_this_project_counts_for_those_derived_from_it(place, monkeypatch):
    write(place, {"mine.py": "from bench.models.baselines.knn import KNN\nclass Mine(KNN):\n    protocol = '10x v3'"})
    before = origin()
    assert before.protocol == 1 and set(before.modules) == {"mine"}
    monkeypatch.setattr(KNN, "protocol", 2, raising=False)
    assert origin().digest != before.digest


def test_models_of_this_project_are_its_own_by_whatever_name(monkeypatch):
    monkeypatch.syspath_prepend(CHAPTERS)
    assert is_ours(describe("knn")) and is_ours(describe("bench.models.baselines.knn:KNN"))
    assert not is_ours(describe("nearest_centroid:NearestCentroid"))


def test_a_class_of_a_notebook_is_refused_with_what_to_do(monkeypatch):
    cls = type("Mine", (KNN,), {"fit": print, "predict_proba": print, "__module__": "__main__"})
    monkeypatch.setattr(sys.modules["__main__"], "Mine", cls, raising=False)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", None, raising=False)
    with pytest.raises(BenchError, match=r"is defined in no file, as in a notebook, .* name it my_model:MyModel"):
        origin("__main__:Mine")


TAKES = (
    """
from enum import Enum
import numpy as np
class Loss(Enum):
    SQUARED = 1
class Nothing: ...
def plain(x): return x
class Mine:
    def __init__(self, value=None, made=Nothing(), missing=object(), later=lambda x: x, loss=Loss.SQUARED, f=plain,
                 kind=Nothing, weights_=np.ones(3), chosen=np.random.default_rng(0)): ...
"""
    + VERBS
)


def values(value=None) -> dict:
    return settings_of(describe("mine:Mine", {"value": value})).values


def test_objects_as_defaults_have_stable_names(place):
    write(place, {"mine.py": TAKES})
    ones = "array float64 (3,) sha256:"
    assert values() == {
        "value": None,
        "made": "default mine.Nothing",
        "missing": "default builtins.object",
        "later": "default builtins.function",
        "loss": "default mine.Loss",
        "f": "mine:plain",
        "kind": "mine:Nothing",
        "weights_": ones + settings_of(describe("mine:Mine")).values["weights_"].removeprefix(ones),
        "chosen": "default numpy.random._generator.Generator",
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, 0.5),
        ("lbfgs", "lbfgs"),
        ({"b": (1, 2), "a": {3, 1}}, {"b": [1, 2], "a": [1, 3]}),
        (np.arange(3), "array int64 (3,) sha256:ab25350e3e65efeb"),
        (np.float32(2), "2.0"),
        (Path("no/such.pt"), "no/such.pt"),
        (np.mean, "numpy:mean"),
    ],
)
def test_what_is_given_stands_with_its_content(value, text, place):
    write(place, {"mine.py": TAKES})
    assert values(value)["value"] == text


@pytest.mark.parametrize("value", [object(), partial(print, 1), lambda x: x, [object()], np.array([object()])])
def test_a_given_object_without_a_content_of_its_own_is_refused(value, place):
    write(place, {"mine.py": TAKES})
    with pytest.raises(BenchError, match=r"mine:Mine\.value is an object of type .*, whose content no key can cover"):
        values(value)


def test_the_module_of_a_given_function_counts(place):
    write(place, {"mine.py": TAKES, "helper.py": "def f(): ..."})
    import helper

    assert set(origin(value=helper.f).modules) == {"mine", "helper"}


def test_files_and_folders_stand_with_name_and_content_wherever_they_lie(place, monkeypatch):
    write(place, {"mine.py": TAKES, "a/w.json": "{}", "b/w.json": "{}", "a/f/x": "1", "b/f/x": "1", "b/f/g/y": "2"})
    first = values("a/w.json")["value"]
    assert first == "w.json sha256:44136fa355b3678a"
    assert values(str(place / "b" / "w.json"))["value"] == values(Path("b/w.json"))["value"] == first
    assert values({"of": ["a/w.json"]})["value"] == {"of": [first]}
    monkeypatch.setenv("HOME", str(place))
    assert values("~/a/w.json")["value"] == first
    folder = values("a/f")["value"]
    assert folder.startswith("f sha256:") and values("b/f/")["value"] != folder
    (place / "b/f/g/y").unlink()
    (place / "b/f/g/back").symlink_to(place / "b/f", target_is_directory=True)
    assert values("b/f")["value"] == folder
    write(place, {"a/w.json": "[]", "a/f/x": "2"})
    assert values("a/w.json")["value"] != first and values("a/f")["value"] != folder


def test_the_folder_in_which_a_command_runs_is_no_setting_and_that_is_said(place):
    write(place, {"mine.py": TAKES})
    found = settings_of(describe("mine:Mine", {"value": "."}))
    assert (found.values["value"], found.files) == (".", [])
    assert found.missed == ["the folder . of mine:Mine.value, in which this command runs"]


def test_a_file_that_cannot_be_read_is_refused(place, monkeypatch):
    write(place, {"mine.py": TAKES, "w.json": "{}"})

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(settings, "sha256_of", refuse)
    with pytest.raises(BenchError, match=r"mine:Mine\.value='w\.json' cannot be read \(Permission denied\)"):
        values("w.json")


def test_a_big_file_is_hashed_once_and_again_when_it_changes(place, monkeypatch):
    write(place, {"mine.py": TAKES, "w.pt": "1" * 100})
    monkeypatch.setenv("BENCH_CACHE", str(place / "cache"))
    monkeypatch.setattr(settings, "BIG", 10)
    monkeypatch.setattr(settings, "SETTLED_S", -1)
    asked, hashed = [], settings.sha256_of
    monkeypatch.setattr(settings, "sha256_of", lambda path: (asked.append(path), hashed(path))[1])
    before = values("w.pt")
    assert values("w.pt") == before and len(asked) == 1
    write(place, {"w.pt": "2" * 100})
    os.utime("w.pt", (0, 0))  # as a copy that keeps times might have
    assert values("w.pt") != before and len(asked) == 2


def test_what_a_factory_makes_is_a_default_each_time(place, monkeypatch):
    write(place, {"mine.py": f"class Adam:\n    def __init__(self, lr): self.lr = lr\n{MINE}"})
    spec, adam = describe("mine:Mine"), sys.modules["mine"].Adam
    monkeypatch.setattr(settings, "defaults", lambda cls, variant: {"optimizer": adam(1)})
    same, other = (replace(spec, hyperparameters={"optimizer": adam(lr)}) for lr in (1, 2))
    assert settings_of(same).values == {"optimizer": "default mine.Adam"}
    with pytest.raises(BenchError, match=r"mine:Mine\.optimizer is an object of type mine\.Adam"):
        settings_of(other)


def test_what_is_left_of_installations_does_no_harm(place, monkeypatch):
    write(
        place, {"mine.py": f"import wrapped, further\n{MINE}", "installed/wrapped.py": "", "installed/further.py": ""}
    )
    write(place, {"installed/wrapped-1.0.dist-info/direct_url.json": "not JSON", "installed/~urther.dist-info/x": ""})
    monkeypatch.syspath_prepend(place / "installed")
    found = origin()
    assert found.packages == {} and set(found.modules) == {"mine", "further", "wrapped"}


def test_an_installed_model_is_told_by_its_version_where_its_code_tells_nothing(place):
    package(place, "mine", "0.1.0", "mine")
    write(place, {"mine.py": f"import importlib\n{MINE}{LATER}importlib.import_module(self.name)"})
    assert origin().missed == []
