"""A foundation model is one folder and one line here, or a package with an entry point elsewhere."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from forked import Script
from pretraining import own_weights
from safetensors.numpy import save_file

from bench.cli import main
from bench.core import families
from bench.models import registry
from bench.protocol import records
from bench.protocol.runner import run
from bench.protocol.trials import Grid
from bench.weights import read

pytestmark = pytest.mark.usefixtures("warm")

TEMPLATE = Path(__file__).parents[2] / "examples" / "pocket"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    with own_weights(tmp_path_factory.mktemp("cache")) as folder:
        yield folder


@pytest.fixture
def one_line(weights, monkeypatch):
    """The folder of the template is on the path, and the register has its line."""
    monkeypatch.syspath_prepend(TEMPLATE)
    monkeypatch.setitem(families.FAMILIES, "pocket", "pocket:FAMILY")
    monkeypatch.setitem(registry.MODELS, "pocket", "pocket.annotator:Pocket")


def bench(*words: str) -> str:
    result = CliRunner().invoke(main, list(map(str, words)))
    assert result.exit_code == 0, result.output
    return result.output


def checkpoint(folder: Path) -> tuple[Path, Path]:
    """Write what the authors of a pocket might have: a torch file with a wrapper, and the genes."""
    rng = torch.Generator().manual_seed(0)
    shapes = {"encoder.weight": (8, 40), "encoder.bias": (8,), "decoder.weight": (40, 8), "decoder.bias": (40,)}
    tensors = {f"module.{name}": torch.randn(*shape, generator=rng) for name, shape in shapes.items()}
    torch.save({"state_dict": tensors, "epoch": 3}, folder / "authors.pt")
    (folder / "genes.txt").write_text("\n".join(f"GENE{i}" for i in range(40)))
    return folder / "authors.pt", folder / "genes.txt"


def golden(folder: Path) -> Path:
    """Write a golden case with NumPy in the place of the authors' code."""
    rng = np.random.default_rng(0)
    W, b, V, c = (rng.normal(0, 0.1, shape).astype(np.float32) for shape in ((8, 40), (8,), (40, 8), (40,)))
    levels = rng.integers(0, 6, (5, 40)).astype(np.float32)
    embedding = np.maximum(levels @ W.T + b, 0)
    tensors = {"encoder.weight": W, "encoder.bias": b, "decoder.weight": V, "decoder.bias": c}
    results = {"input.levels": levels, "output.embedding": embedding, "output.levels": embedding @ V.T + c}
    folder.mkdir()
    save_file(results | {f"weights.{name}": t for name, t in tensors.items()}, folder / "pocket_forward.safetensors")
    (folder / "pocket_forward.json").write_text("{}")
    return folder


def test_it_is_listed_and_named_in_help(one_line):
    assert "pocket              pocket.annotator:Pocket" in bench("list")
    for command in ("pretrain", "weights"):
        assert ", ".join(families.FAMILIES) in " ".join(bench(command, "--help").split())


@pytest.mark.slow
def test_it_is_pretrained_and_fine_tuned(one_line, weights, own_results):
    said = bench("pretrain", "pocket", "-p", "steps", 30, "-p", "n_genes", 60)
    (file,) = weights.glob("pocket_own-*.safetensors")
    card = json.loads(file.with_suffix(".json").read_text())
    assert card["losses"][-1] < card["losses"][0]
    assert f"squared error {card['curve'][-1]['loss']:.3f}" in said
    assert np.load(file.with_suffix(".cells.npy")).shape == (1068,)  # none of the cells that are scored
    models = ["majority", "pocket", "pocket@probe", "pocket@random_probe"]
    overrides = {"pocket": {"weights": str(file), "classifier": "knn"}}
    run(Grid("family", "quick", "hao", models, overrides=overrides))
    table = records.read("family", committed=False)
    assert set(table["status"]) == {"ok"}, set(table["status"])
    accuracy = table[table["metric"] == "accuracy"].set_index(["model", "variant"])["value"]
    for variant in ("pretrained", "probe", "random_probe"):
        assert accuracy["pocket", variant] > accuracy["majority", "default"] + 0.2, variant
    audit = table.loc[table["model"] == "pocket", "weights"].iloc[0]
    assert audit == f"4 of 4 tensors, sha256 {read(file).sha256[:16]}"


def test_a_checkpoint_is_converted_and_every_tensor_accounted_for(one_line, tmp_path):
    file, genes = checkpoint(tmp_path)
    said = bench("weights", "pocket", "--path", file, "--genes", genes)
    assert "4 tensors, 688 floating-point numbers" in said
    assert "genes: 40" in said
    converted = read(Path(said.splitlines()[0]))
    assert converted.metadata["model"] == "pocket"
    original = torch.load(file)["state_dict"]
    assert all(torch.equal(converted.tensors[name.removeprefix("module.")], t) for name, t in original.items())
    torch.save({"state_dict": {"encoder.weight": torch.zeros(8, 40)}}, file)
    refused = CliRunner().invoke(main, ["weights", "pocket", "--path", str(file), "--genes", str(genes)])
    assert "is no checkpoint of pocket; it has encoder.weight" in refused.stderr


def test_it_is_verified(one_line, tmp_path):
    said = bench("verify", golden(tmp_path / "golden"))
    assert "pocket_forward" in said and "all within tolerance" in said


INSTALLED = """
from click.testing import CliRunner
from bench.cli import main
for words in {commands}:
    result = CliRunner().invoke(main, words)
    print(result.output)
    assert result.exit_code == 0, result.output
"""


@pytest.mark.slow
def test_the_template_is_installed_as_a_package_and_does_the_same_under_its_entry_point(weights, tmp_path, monkeypatch):
    shutil.copytree(TEMPLATE, tmp_path / "source")
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", site]
    subprocess.run([*pip, tmp_path / "source"], check=True, capture_output=True)
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    commands = [["list"], ["pretrain", "pocket"], ["weights", "pocket_quick"]]
    commands += [
        ["check", "pocket", "-p", "weights", "pocket_quick", "--data", "baron"],
        ["verify", str(golden(tmp_path / "golden"))],
    ]
    monkeypatch.setenv("PYTHONPATH", path)  # read where a process begins, forked or not
    done = Script(INSTALLED.format(commands=commands)).wait()
    assert done.returncode == 0, done.stdout + done.stderr
    for said in ("pocket.annotator:Pocket", "squared error", "4 tensors", "all promises kept", "all within tolerance"):
        assert said in done.stdout
