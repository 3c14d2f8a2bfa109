"""What keeps a model's class from being imported or made is said with file, line and what to do, in one sentence."""

import pytest

from bench.core.errors import BenchError
from bench.models import create, describe, find

BROKEN = {
    "needs_a_package": (
        "import no_such_package.part",
        "needs no_such_package, which is not installed: pip install no_s",
    ),
    "needs_images": ("import skimage_x\n", "pip install skimage_x"),
    "needs_a_part": ("import sklearn.no_such_part", r"needs sklearn.no_such_part, which scikit-learn \d.* lacks"),
    "needs_a_version": (
        "from numpy import no_such_name",
        r"no_such_name.*needs_a_version.py, line 1; numpy \d.* install",
    ),
    "needs_a_library": ("raise OSError('libGL.so.1: cannot open shared object file')", "library libGL.so.1 is missing"),
    "bad_syntax": ("x = 1\ndef f(:\n", r"bad_syntax.py, line 2: invalid syntax: def f\(:"),
    "bad_indent": ("if True:\nx = 1\n", "bad_indent.py, line 2: expected an indented block"),
    "raises": ("x = 1\nraise ValueError('no\\n way')", "ValueError: no way, in .*raises.py, line 2"),
    "ends": (
        "import sys\nsys.exit(3)",
        r"ends the process \(SystemExit: 3\) in .*ends.py, line 2; do so only if __name__",
    ),
}
MODELS = """
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, KW_ONLY
from bench.models.contract import Annotator

class Verbs:
    def fit(self, train, *, seed, validation=None): return self
    def predict_proba(self, cells): raise NotImplementedError
class Needs(Verbs):
    def __init__(self, depth, width: int = 3, *, rate): self.given = depth, width, rate
@dataclass(frozen=True)
class Settings:
    n: int
    hidden: list[int] = field(default_factory=lambda: [64, 32])
    total: int = field(init=False, default=7)
    _: KW_ONLY
    lr: float = 0.1
class Configured(Verbs, Annotator):
    Config = Settings
class Plain(Verbs):
    Config = Settings
    def __init__(self, config): self.config = config
class One(Verbs):
    variants = "only"
    def __init__(self, variant): self.variant = variant
def made(): return Verbs()
ready = Verbs()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize("module", BROKEN)
def test_what_is_wrong_with_a_module_is_said(module, folder):
    code, message = BROKEN[module]
    (folder / f"{module}.py").write_text(code)
    with pytest.raises(BenchError, match=f"^Model '{module}:Mine' cannot be imported: .*{message}") as raised:
        find(f"{module}:Mine")
    assert "\n" not in str(raised.value)


def test_a_module_that_is_not_found_is_looked_for_in_this_folder(folder, monkeypatch):
    with pytest.raises(
        BenchError, match=r"no module named 'not_there'. Expected module:Class, with the module on PYTHON"
    ):
        find("not_there:Mine")
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "lies_here.py").write_text(MODELS)
    monkeypatch.chdir(folder / "elsewhere")
    with pytest.raises(BenchError, match=r"Its file is in this folder: export PYTHONPATH=\$PWD"):
        find("lies_here:Needs")
    with pytest.raises(BenchError, match=r"names a file.*: write lies_here:Needs, .*\(export PYTHONPATH=.*elsewhere\)"):
        find("lies_here.py:Needs")


def test_what_is_no_class_or_no_model_is_said(folder):
    (folder / "of_a_user.py").write_text(MODELS)
    with pytest.raises(BenchError, match=r"Unknown class in of_a_user 'Need'. Did you mean 'Needs'"):
        find("of_a_user:Need")
    with pytest.raises(BenchError, match="is a function; expected the name of a class"):
        find("of_a_user:made")
    with pytest.raises(BenchError, match="is a Verbs; expected the name of a class"):
        find("of_a_user:ready")


def test_what_has_no_default_is_named_and_what_has_a_factory_is_made(folder):
    (folder / "with_settings.py").write_text(MODELS)
    with pytest.raises(
        BenchError, match="needs depth and rate, which have no default: bench check takes -p depth VALUE"
    ):
        describe("with_settings:Needs", {"width": 2})
    assert create(describe("with_settings:Needs", {"depth": 1, "rate": 0.5})).given == (1, 3, 0.5)
    for name in ("Configured", "Plain"):
        with pytest.raises(BenchError, match=f'needs n, .*overrides .{{"with_settings:{name}": {{"n": VALUE}}}}'):
            describe(f"with_settings:{name}")
        spec = describe(f"with_settings:{name}", {"n": 2})
        assert spec.hyperparameters == {"n": 2, "hidden": [64, 32], "lr": 0.1}
        assert create(spec).config.total == 7
    assert create(describe("with_settings:One")).variant == "only"
