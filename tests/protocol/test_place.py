"""Own results lie where nothing cleans them, earlier ones are found, and no file among them breaks reading."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.core import places, provenance
from bench.core.errors import BenchError
from bench.protocol import place, records
from bench.statistics.predictions import Predictions

ROOT = Path(__file__).parents[2]
KEY = "0" * 16
PREDICTIONS = (np.array(["a", "b"]), Predictions(["T", "B"], np.eye(2), ["T", "B"]))


def row(key: str = KEY, **values) -> dict:
    trial = {"experiment": "few_shot", "tier": "quick", "dataset": "hao", "model": "knn", "metric": "accuracy"}
    return trial | {"class": "", "value": 0.5, "fraction": 1.0, "seed": 0, "status": "ok", "key": key} | values


@pytest.fixture(autouse=True)
def checkout(tmp_path, monkeypatch) -> Path:
    """A folder in the place of this checkout, with no ``BENCH_RESULTS``."""
    folder = tmp_path / "checkout"
    (folder / "chapters").mkdir(parents=True)
    for name in ("pyproject.toml", "chapters/page.md"):
        (folder / name).touch()
    for module in (places, place):
        monkeypatch.setattr(module, "ROOT", folder)
    monkeypatch.setattr("bench.protocol.place.committed_folder", lambda: folder / "chapters" / "results")
    monkeypatch.delenv("BENCH_RESULTS")
    return folder


@pytest.fixture
def earlier(checkout, monkeypatch):
    """Return a writer of records as earlier versions wrote them."""

    def _earlier(rows: list[dict], *predictions, age_s: float = 0) -> Path:
        with monkeypatch.context() as patch:
            patch.setenv("BENCH_RESULTS", str(checkout / "_build" / "results"))
            records.write(rows, *predictions)
            path = records.path_of("few_shot", "quick", rows[0]["key"])
        os.utime(path, (time.time() - age_s,) * 2)
        return path

    return _earlier


def values() -> dict[str, float]:
    return records.read("few_shot").set_index("key")["value"].to_dict()


def test_results_and_notebooks_lie_outside_of_the_build(checkout):
    assert place.own_folder() == checkout / "results"
    assert place.notebooks_folder() == checkout / "results" / "notebooks"


def test_a_variable_names_the_only_place_that_is_looked_at(earlier, tmp_path, monkeypatch, capsys):
    earlier([row()])
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "named"))
    assert place.own_folder() == tmp_path / "named"
    assert values() == {}
    place.tell()
    assert capsys.readouterr().err == ""


def test_an_installed_package_keeps_results_in_the_data_folder_and_records_its_version(checkout, tmp_path, monkeypatch):
    (checkout / "chapters").rename(tmp_path / "chapters")  # some packages install a pyproject.toml among all others
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert place.own_folder() == tmp_path / "data" / "scfm-bench" / "results"
    assert place.earlier_folder() is None
    provenance.commit.cache_clear()
    assert provenance.commit() == "v0.1.0"
    provenance.commit.cache_clear()
    with pytest.raises(BenchError, match="Committed records need a clone of the project"):
        records.commit("few_shot")


def test_what_earlier_versions_recorded_is_found_and_never_run_again(earlier):
    earlier([row()], *PREDICTIONS)
    assert values() == {KEY: 0.5}
    assert records.is_done("few_shot", "quick", KEY) and records.adopt("another", "quick", KEY)
    assert records.read_predictions("few_shot", "quick", KEY)[0].tolist() == ["a", "b"]
    records.write([row(value=0.9)])
    assert values() == {KEY: 0.5}


@pytest.mark.parametrize(("age_s", "found"), [(60, 0.9), (-1e6, 0.9), (0, 0.1)], ids=["older", "future", "newer"])
def test_of_two_files_of_one_trial_the_newer_counts(earlier, age_s, found):
    records.write([row(value=0.9)])
    path = records.path_of("few_shot", "quick", KEY)
    os.utime(path, (time.time() - 30,) * 2)
    earlier([row(value=0.1)], age_s=age_s)
    assert values() == {KEY: found}


def test_a_failure_of_an_earlier_version_gives_way_even_if_its_clock_was_wrong(earlier):
    earlier([row(metric="", value=np.nan, status="failed: ValueError: no")], age_s=-1e6)
    assert not records.is_done("few_shot", "quick", KEY)
    records.write([row(value=0.9)])
    assert values() == {KEY: 0.9} and records.is_done("few_shot", "quick", KEY)


def test_one_sentence_tells_where_and_its_advice_moves_everything(earlier, checkout):
    earlier([row(value=0.1)], *PREDICTIONS)
    earlier([row("b")])
    (checkout / "_build" / "runs").mkdir()
    (checkout / "_build" / "runs" / "page.ipynb").write_text("{}")
    ask = CliRunner()
    told = ask.invoke(main, ["records", "few_shot"])
    assert told.stderr.count("\n") == 1 and "2 of your own records lie in" in told.stderr
    advice = told.stderr.split("with: bench ")[1].split()
    moved = ask.invoke(main, advice)
    assert moved.output == f"4 files moved to {checkout / 'results'}\n"
    assert values() == {KEY: 0.1, "b": 0.5}
    assert not list((checkout / "_build").rglob("*.*"))
    assert (checkout / "results" / "notebooks" / "page.ipynb").is_file()
    assert ask.invoke(main, ["records", "few_shot"]).stderr == ""


def test_moving_keeps_the_newer_of_two(earlier):
    records.write([row(value=0.9)])
    earlier([row(value=0.1)], age_s=60)
    earlier([row("b", value=0.2)])
    assert place.gather() == 2
    assert values() == {KEY: 0.9, "b": 0.2}


def _folder(path):
    path.unlink()
    path.mkdir()


def _dangling(path):
    path.unlink()
    path.symlink_to("nowhere")


def _forbidden(path):
    path.chmod(0)


DAMAGE = {"a folder": _folder, "a dangling link": _dangling, "noise": lambda path: path.write_bytes(b"\xff\x00" * 99)}
if os.geteuid():  # root reads everything
    DAMAGE["forbidden"] = _forbidden


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
@pytest.mark.parametrize("kind", DAMAGE)
def test_whatever_lies_in_the_place_of_a_record_it_breaks_nothing(kind, suffix, caplog):
    records.write([row()], *PREDICTIONS)
    records.write([row("b")])
    DAMAGE[kind](records.path_of("few_shot", "quick", KEY, suffix))
    assert values().keys() == ({"b"} if suffix == ".csv" else {KEY, "b"})
    if suffix == ".npz":
        with pytest.raises(BenchError, match="run the chapter"):
            records.read_predictions("few_shot", "quick", KEY)
    else:
        assert not records.is_done("few_shot", "quick", KEY)
    assert f"{KEY}{suffix}" in caplog.text or kind == "a dangling link"
    if suffix == ".csv":
        records.write([row(value=0.7)], *PREDICTIONS)
        assert values() == {KEY: 0.7, "b": 0.5}


def test_a_copy_under_another_name_is_not_counted_twice(caplog):
    records.write([row()])
    path = records.path_of("few_shot", "quick", KEY)
    path.with_name(f"{KEY} (conflicted copy).csv").write_bytes(path.read_bytes())
    assert len(records.read("few_shot")) == 1
    assert "is a copy of the record" in caplog.text


def test_a_disk_without_links_keeps_records(monkeypatch):
    def refused(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    records.write([row()], *PREDICTIONS)
    assert values() == {KEY: 0.5}


def test_what_git_and_make_clean_leaves_own_results(tmp_path, checkout):
    subprocess.run(["git", "init", "-q", checkout], check=True)
    for name in (".gitignore", "Makefile"):
        (checkout / name).write_bytes((ROOT / name).read_bytes())
    records.write([row()], *PREDICTIONS)
    git = ["git", "-C", checkout, "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "add", "-A"], check=True)
    assert "results" not in subprocess.run([*git, "status", "--short"], capture_output=True, text=True).stdout
    subprocess.run([*git, "commit", "-qm", "start"], check=True)
    (checkout / "Makefile").write_text((checkout / "Makefile").read_text() + "\n")
    subprocess.run([*git, "clean", "-fdq"], check=True)
    subprocess.run([*git, "stash", "-u", "-q"], check=True)
    subprocess.run(["make", "-s", "-C", checkout, "clean"], check=True, capture_output=True)
    assert values() == {KEY: 0.5}


def test_jupyter_book_cleans_the_build_alone(checkout, earlier):
    """Asked in a process of its own, because it ends the one in which it is asked."""
    (checkout / "_config.yml").write_text("title: a\n")
    records.write([row()])
    earlier([row("b")])
    code = "from jupyter_book.cli.main import main; main()"
    subprocess.run([sys.executable, "-c", code, "clean", checkout, "--all"], check=True, capture_output=True)
    assert values() == {KEY: 0.5}
