"""A model of somebody else's whose base class, helper or checkpoint changes is run anew; the shared cases' files."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from bench.protocol import records
from bench.protocol.runner import run
from bench.protocol.trials import Grid

CASES = Path(os.environ.get("BENCH_CASES") or "no cases")
MODELS = ["mine:Inherits", "mine:UsesHelper", "mine:ReadsCheckpoint"]
EDITS = {"base_model.py": ("n_genes = 5", "n_genes = 200"), "helper.py": ("TOP = 5", "TOP = 200")}
EDITS |= {"ckpt.json": ('"n_genes": 5', '"n_genes": 200')}

pytestmark = [
    pytest.mark.skipif(not CASES.is_dir(), reason="BENCH_CASES names no folder with the shared cases"),
    pytest.mark.usefixtures("warm"),
]


def checkout(folder: Path, monkeypatch) -> Path:
    """Put the models and the cells into a new folder, and go there."""
    shutil.copytree(CASES / "models", folder)
    shutil.copy(CASES / "islets.h5ad", folder)
    for name in ("mine", "base_model", "helper", "v1", "v2"):
        sys.modules.pop(name, None)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(folder)
    return folder


def grid(*models: str, **overrides) -> Grid:
    return Grid("few_shot", "quick", "islets.h5ad", list(models), overrides=overrides)


def keys(*models: str, **overrides) -> list[str]:
    return [task.trial.key for task in grid(*models, **overrides).tasks()]


def edit(folder: Path, name: str) -> None:
    text = (folder / name).read_text()
    (folder / name).write_text(text.replace(*EDITS[name]))


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_makes_new_trials_and_undoing_it_finds_the_old_ones(name, tmp_path, monkeypatch):
    folder = checkout(tmp_path / "one", monkeypatch)
    model = {"base_model.py": MODELS[0], "helper.py": MODELS[1], "ckpt.json": MODELS[2]}[name]
    before = keys(model)
    edit(folder, name)
    assert set(before).isdisjoint(keys(model))
    shutil.copy(CASES / "models" / name, folder)
    assert keys(model) == before


def test_two_checkouts_agree_and_two_classes_of_one_name_do_not(tmp_path, monkeypatch):
    first = checkout(tmp_path / "one", monkeypatch)
    before = keys(*MODELS)
    checkout(tmp_path / "two" / "deeper", monkeypatch)
    path = {"mine:ReadsCheckpoint": {"checkpoint": str(first / "ckpt.json")}}
    assert keys(*MODELS) == keys(*MODELS, **path) == before
    assert len(set(keys("v1:MyModel", "v2:MyModel"))) == 2


@pytest.mark.slow
def test_the_right_value_takes_the_place_of_the_old_one(tmp_path, monkeypatch, capsys):
    folder, model = checkout(tmp_path / "one", monkeypatch), "mine:UsesHelper"
    for accuracy in (0.583, 0.979):
        for said in ("0 of 1 trials recorded, 1 to run", "1 of 1 trials recorded, 0 to run"):
            run(grid(model))
            assert said in capsys.readouterr().err
        found = records.read("few_shot", committed=False).query("metric == 'accuracy'").set_index("key")["value"]
        assert found[keys(model)].round(3).tolist() == [accuracy]
        edit(folder, "helper.py")
