"""Installed as a wheel, without a clone: what needs no chapters works, and what needs them says so in a sentence."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import installed
import pandas as pd
import pytest
from anndata import AnnData

from bench import __version__
from bench.core.places import NAME

ROOT = Path(__file__).parents[2]
TO_BUILD = ("pip", "setuptools", "venv")  # torch needs the second, so that every environment of this project has it
CLONE = "need a clone of the project, and this package is installed without one: in a clone, pip install -e ."

FIRST = {  # what is asked, with nothing recorded yet: the exit code and some of what is said
    "--help": (0, "Usage: bench "),
    "--version": (0, f"bench, version {__version__}"),
    "list": (0, f"none: chapters {CLONE}"),
    "data hao": (0, "Hao PBMC (sample): 1,336 cells"),
    "data my.h5ad": (0, "bench split my.h5ad --out splits.csv"),
    "check my_module:NearestCentroid --data my.h5ad": (0, "all promises kept"),
    "weights nonsense": (2, "Unknown weights 'nonsense'"),
    "weights tiny.safetensors": (0, "3 layers, 2 heads, width 16"),
    "verify golden": (0, "all within tolerance"),
    "verify nowhere": (2, "as tests/golden of a clone of the project does"),
    "pretrain scgpt --recipe nonsense": (2, "Unknown recipe of scgpt 'nonsense'"),
    "cache": (0, "files as they were published"),
    "records": (2, "Nothing is recorded"),
    "predictions": (2, "No trial has predictions yet"),
    "run few_shot_pbmc": (2, f"bench: Chapters {CLONE}"),
    "run nonsense few_shot_pbmc -p nonsense 1": (2, f"bench: Chapters {CLONE}"),
    "run chapters/few_shot_pbmc.md": (2, f"bench: No file chapters/few_shot_pbmc.md, and chapters {CLONE}"),
    "standin --plan": (2, f"bench: The chapters of the stand-in tier {CLONE}"),
    "standin": (2, f"bench: The chapters of the stand-in tier {CLONE}"),
    "split my.h5ad --out splits.csv": (0, "then: bench score predictions.csv --splits splits.csv"),
    "score predicted.csv --splits splits.csv --name MyTool": (0, "it is listed by: bench records other_tools\n"),
}
THEN = {  # with these predictions and a trial recorded
    "records": (0, "own records: {data}/scfm-bench/results, or where BENCH_RESULTS says\n"),
    "records other_tools --commit": (2, f"bench: Committed records {CLONE}"),
    "predictions": (0, "other_tools quick my.h5ad random"),
    "list": (0, "  other_tools               quick 2"),
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not all(map(find_spec, TO_BUILD)), reason=f"a wheel is built with {', '.join(TO_BUILD)}"),
]


@pytest.fixture(scope="module")
def venv(tmp_path_factory) -> Path:
    """A virtual environment with the wheel, and with the packages of this one: all but this project."""
    folder = tmp_path_factory.mktemp("wheel")
    source, venv = folder / "source", folder / "venv"
    shutil.copytree(ROOT / "bench", source / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    of_venv, offline = ["pip", "--python", venv / "bin" / "python"], ["--no-index", "--no-deps"]
    for module in (
        ["venv", "--without-pip", venv],
        ["pip", "wheel", "--quiet", *offline, "--no-build-isolation", "--wheel-dir", folder, source],
        [*of_venv, "install", "--quiet", *offline, f"{NAME}=={__version__}", "--find-links", folder],
    ):
        subprocess.run([sys.executable, "-m", *module], check=True)
    packages = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    own = sysconfig.get_path("purelib", "venv", {"base": str(venv)})
    Path(own, "others.pth").write_text("\n".join(packages))  # paths alone: no .pth in them is read
    return venv


@pytest.fixture(scope="module")
def folder(tmp_path_factory, small, tiny_scgpt) -> Path:
    """A folder of the user's: cells, a model, weights and a golden case."""
    folder = tmp_path_factory.mktemp("mine")
    obs, var = small.obs[["cell_type"]], pd.DataFrame(index=small.var_names)
    AnnData(small.X, obs=obs, var=var).write_h5ad(folder / "my.h5ad")
    obs.rename_axis("cell").to_csv(folder / "predicted.csv")
    shutil.copy(ROOT / "chapters" / "nearest_centroid.py", folder / "my_module.py")
    shutil.copy(tiny_scgpt(), folder / "tiny.safetensors")
    (folder / "golden").mkdir()
    for case in (ROOT / "tests" / "golden").glob("scgpt_binning.*"):
        shutil.copy(case, folder / "golden")
    return folder


@pytest.fixture(scope="module")
def environment(folder) -> dict[str, str]:
    """What a user's shell holds who keeps results in the usual place, and has said where an own module lies."""
    ours = {"PYTHONPATH", "BENCH_RESULTS"}
    env = {name: value for name, value in os.environ.items() if name not in ours}
    return env | {"XDG_DATA_HOME": str(folder / "data"), "PYTHONPATH": str(folder)}


@pytest.fixture(scope="module")
def found(venv, folder, environment) -> dict:
    """What `installed` tells, asked all of it at once."""
    command = [venv / "bin" / "python", "-P", ROOT / "tests" / "installed.py"]
    asked = json.dumps([[words.split() for words in words_of] for words_of in (FIRST, THEN)])
    done = subprocess.run(
        command, cwd=folder, env=environment, input=asked, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("words", FIRST)
def test_a_command_works_or_says_what_it_needs(found, words):
    compare(found["first"][words], *FIRST[words])


@pytest.mark.parametrize("words", THEN)
def test_with_records_of_its_own(found, folder, words):
    code, said = THEN[words]
    compare(found["then"][words], code, said.format(data=folder / "data"))


def compare(answer: list, code: int, said: str) -> None:
    found = " ".join(answer[1].split(" "))
    assert (answer[0], said in found) == (code, True), answer


def test_a_record_names_the_version_and_the_keys_are_those_of_a_clone(found, venv, folder, monkeypatch):
    assert found["bench"].startswith(str(venv))
    record = {"model": ["elsewhere", "knn"], "origin": ["own"], "commit": [f"v{__version__}"], "status": ["ok"]}
    assert found["record"] == record
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    assert found["keys"] == installed.keys("my.h5ad")


def test_the_script_prints_one_sentence(venv, folder, environment):
    command = [venv / "bin" / "bench", "run", "few_shot_pbmc"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"bench: Chapters {CLONE}")
