"""Which room a module is in, what it may import, and that only a model's own room names the model."""

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import grimp
import pytest
from importlinter.cli import lint_imports

import bench
from bench.core.families import families

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "bench"
ROOMS = {"core", "datasets", "models", "published", "protocol", "report", "statistics", "training", "verify", "weights"}
FREE = ("report", "published", "datasets")  # may name models: what the paper compares, where data are from
LINES = {"core/families.py"}  # the register
SOON = ("geneformer", "scfoundation", "cellplm")


def test_ten_rooms_and_two_modules():
    entries = {path.name for path in BENCH.iterdir() if not path.name.startswith("__")}
    assert entries == ROOMS | {"cli.py", "preprocess.py"}


def test_imports_point_downwards(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("importlinter.cli._configure_logging", lambda verbose: None)  # it would silence ours for good
    status = lint_imports(config_filenames=("pyproject.toml",), no_cache=True, no_logo=True)
    assert status == 0, capsys.readouterr().out


def test_no_module_imports_itself_in_a_circle_not_even_inside_a_function():
    graph = grimp.build_graph("bench", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(list(TopologicalSorter(imports).static_order())) == len(graph.modules)  # raises where there is a circle


@pytest.mark.parametrize("old", bench.MOVED)
def test_paths_of_the_first_version_lead_to_the_same_module(old):
    assert import_module(old) is import_module(bench.MOVED[old])
    parent, _, name = old.rpartition(".")
    assert getattr(import_module(parent), name) is import_module(bench.MOVED[old])


def named(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of every identifier and every string of a module, docstrings aside."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    with_docstring = [node for node in ast.walk(tree) if isinstance(node, documented) and ast.get_docstring(node)]
    docstrings = {node.body[0].value for node in with_docstring}
    for node in ast.walk(tree):
        fields = ("id", "attr", "name", "asname", "arg", "module") + ("value",) * (node not in docstrings)
        for text in (getattr(node, field, None) for field in fields):
            if isinstance(text, str):
                yield getattr(node, "lineno", 0), text


def of_models(rooms: Path) -> list[str]:
    """Return where a module outside the rooms that may do so names a model."""
    models = [*families(), *SOON]
    pattern = re.compile("|".join(models), re.IGNORECASE)
    own = tuple(f"models/{model}/" for model in models)
    modules = {path.relative_to(rooms).as_posix(): path for path in sorted(rooms.rglob("*.py"))}
    generic = {name: path for name, path in modules.items() if name not in LINES and not name.startswith((*own, *FREE))}
    return [f"{name}:{at} {text}" for name, path in generic.items() for at, text in named(path) if pattern.search(text)]


@pytest.mark.parametrize("package", ["bench.datasets", "bench.weights"])
def test_what_is_imported_when_first_touched_has_the_name_of_no_module(package):
    room = import_module(package)
    assert all(hasattr(room, name) for name in room.__all__)
    assert not {module.name for module in iter_modules(room.__path__)} & set(room.__all__)


@pytest.mark.slow
def test_generic_code_names_no_model():
    assert of_models(BENCH) == []


@pytest.mark.parametrize(
    "code",
    [
        "def fit_scbert(): pass",
        "x = 'scgpt_human'",
        "f'{x} of scGPT'",
        "from bench.models.scbert import head",
        "import scGPT",
        "f(scbert=1)",
        "x.scbert_head",
        "class Geneformer: pass",
        "def f(cellplm): pass",
    ],
)
def test_a_name_of_a_model_is_found_in_generic_rooms_alone(code, tmp_path):
    for name, expected in (("weights/a.py", True), ("models/a.py", True), ("report/a.py", False)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(f'"""Docstrings may say scBERT."""\n\n{code}\n')
        assert bool(of_models(tmp_path)) is expected
        (tmp_path / name).unlink()
