"""The page on other tools: its command lines as they are written, from ``bench split`` to a row in the figure."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pynndescent
import pytest
from click.testing import CliRunner
from sklearn.neighbors import NearestNeighbors

from bench.cli import main
from bench.datasets import load
from bench.protocol import records, runner
from bench.protocol.trials import Grid
from bench.report import figures, tables

CHAPTERS = Path(__file__).parents[2] / "chapters"
PAGE = (CHAPTERS / "other_tools.md").read_text(encoding="utf-8")
INGEST = "scanpy's ingest"
SAME = 0.05  # share of cells that exact neighbours may label otherwise than those that are searched for


class Exact:
    """Nearest neighbours by scikit-learn: pynndescent takes a minute to compile its search."""

    def __init__(self, data, metric, **others):
        self._fitted = NearestNeighbors(metric=metric).fit(data)
        self.random_state = 0

    def query(self, cells, k, epsilon):
        distances, places = self._fitted.kneighbors(cells, k)
        return places, distances

    def __getattr__(self, name):  # what scanpy hands on to the search that is made here
        if name.startswith("__"):
            raise AttributeError(name)


@pytest.fixture
def here(monkeypatch, tmp_path) -> Path:
    """An empty folder and no committed records; scanpy is the real one, its search for neighbours exact."""
    committed = records.committed_folder()
    monkeypatch.setattr("bench.protocol.place.committed_folder", lambda: tmp_path / "committed")
    monkeypatch.setattr(pynndescent, "NNDescent", Exact)
    monkeypatch.setattr(pynndescent.rp_trees, "make_forest", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    return committed


def command_lines() -> list[list[str]]:
    """Return the words of each command of the page."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if not line.startswith("#")]


def run(words: list[str], monkeypatch) -> str:
    """Run a command in this process and return what it prints."""
    if words[0] == "bench":
        result = CliRunner().invoke(main, words[1:])
        assert result.exit_code == 0, result.stderr
        return result.output
    assert words[0] == "python"
    if words[1] == "-c":
        exec(words[2], {})
    else:
        monkeypatch.setattr(sys, "argv", words[1:])
        runpy.run_path(str(CHAPTERS.parent / words[1]))
    return ""


def as_others_write(splits: pd.DataFrame, truth: pd.Series) -> None:
    """Write what Seurat, SingleR and CellTypist would, had they been right, in the form that R and pandas give it."""
    cells = splits.query("fraction == 1 and seed == 0 and role == 'scored'")["cell"]
    labels = truth[cells]
    wide = pd.get_dummies(labels).astype(float)
    points = {name: "prediction.score." + re.sub("[^A-Za-z0-9]", ".", name) for name in wide}
    seurat = wide.rename(columns=points).assign(**{"prediction.score.max": 1.0})
    seurat.insert(0, "predicted.id", labels)
    seurat.to_csv("seurat.csv", quoting=2, index_label="")
    singler = pd.DataFrame({"cell": cells.to_numpy(), "label": labels.to_numpy()}, index=range(1, len(cells) + 1))
    singler.to_csv("singler.csv", quoting=2, index_label="")
    Path("celltypist").mkdir()
    labels.rename("predicted_labels").to_csv("celltypist/predicted_labels.csv", index_label="")
    (wide * 0.9 + 0.01).to_csv("celltypist/probability_matrix.csv", index_label="")


@pytest.mark.slow
def test_every_command_of_the_page_does_what_it_says(hao, here, monkeypatch):
    truth = hao.obs["cell_type"].astype(str)
    printed = []
    for words in command_lines():
        if words == ["bench", "run", "other_tools"]:  # a model of it, in this process
            runner.run(Grid("other_tools", "quick", "hao", ["majority"], fractions=[0.1, 1.0], seeds=[0, 1]))
            continue
        if "seurat.csv" in words:
            as_others_write(pd.read_csv("splits.csv"), truth)
        printed.append(run(words, monkeypatch))
    said = "".join(printed)
    assert all(f"{name} on hao, split random, 100 % " in said for name in (INGEST, "Seurat", "SingleR", "CellTypist"))
    assert said.count("accuracy 1.000") == 3
    assert "do not sum to one and are divided by their sum" in said

    known = records.read("other_tools")
    legend = figures.few_shot(known, {}, ["accuracy"]).legends[0]
    names = {text.get_text() for text in legend.get_texts()}
    assert names == {"control: majority", INGEST, "Seurat", "SingleR", "CellTypist"}
    shown = tables.few_shot(known, {}, ["accuracy"]).reset_index().astype(str)
    assert INGEST in shown.to_string()
    _check_recorded(here)


def _check_recorded(committed: Path) -> None:
    """The labels that are committed are those of this script, apart from neighbours that the search has missed."""
    table = pd.read_csv(committed / "other_tools.csv", dtype={"key": str})
    (key,) = set(table.query("variant == @INGEST and fraction == 1.0")["key"])
    with np.load(committed / "other_tools" / f"{key}.npz") as file:
        theirs = pd.Series(file["classes"][file["predicted"]], file["cells"].astype(str))
    ours = pd.read_csv("predictions/ingest_random_1_0.csv", index_col="cell")["cell_type"]
    assert (ours[theirs.index] != theirs).mean() <= SAME


@pytest.mark.slow
def test_labels_of_ingest_depend_on_the_company_as_the_page_says(hao, here, monkeypatch):
    run(["bench", "split", "hao", "--out", "splits.csv"], monkeypatch)
    load("hao").write_h5ad("hao.h5ad")
    run(["python", "chapters/ingest.py", "hao.h5ad", "splits.csv", "together"], monkeypatch)
    splits = pd.read_csv("splits.csv")
    monocytes = hao.obs_names[hao.obs["cell_type"].astype(str) == "Monocytes"]
    others = (splits["role"] == "scored") & ~splits["cell"].isin(monocytes)
    splits[~others].to_csv("alone.csv", index=False)
    run(["python", "chapters/ingest.py", "hao.h5ad", "alone.csv", "alone"], monkeypatch)
    together, alone = (pd.read_csv(f"{name}/ingest_random_1_0.csv", index_col="cell") for name in ("together", "alone"))
    assert len(alone) == 30
    assert (together.loc[alone.index, "cell_type"] == "Monocytes").mean() > 0.9
    assert (alone["cell_type"] == "Monocytes").mean() < 0.1


def test_what_the_page_says_is_written_in_r_has_the_columns_that_bench_split_writes(hao, here, monkeypatch):
    run(["bench", "split", "hao", "--fractions", "0.1", "--out", "splits.csv"], monkeypatch)
    used = set(re.findall(r"(?:train|scored)\$(\w+)", PAGE)) | set(re.findall(r"(\w+) == ", PAGE))
    assert used == {"cell", "cell_type", "fraction", "seed", "role"} <= set(pd.read_csv("splits.csv", nrows=1))
