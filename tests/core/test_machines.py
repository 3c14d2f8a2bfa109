"""Homes, disks, users and kernels as they are elsewhere: each works, or is a sentence that names the place."""

import errno
import importlib
import json
import os
import stat
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import nbformat
import pytest
import torch
from anndata import read_h5ad
from click.testing import CliRunner
from full_disk import largest_file
from jupyter_client.provisioning import KernelProvisionerFactory
from nbclient import NotebookClient
from other_user import as_user, small_disk

import bench
from bench.cli import main
from bench.core import atomic, forked, home, places, provenance
from bench.core.errors import BenchError
from bench.core.shared import cannot_keep, filled, lock_of
from bench.datasets.loading import _write
from bench.datasets.sources import cache_folder
from bench.protocol import kernels
from bench.training import rows
from bench.training.rows import Store

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="other users and small disks need root")
NOBODY = 61_234  # a user that the system does not know
PAGE = """---
jupytext: {text_representation: {extension: .md, format_name: myst}}
kernelspec: {display_name: Python 3, language: python, name: python3}
---
```{code-cell} ipython3
:tags: [parameters]
compute = False
```
```{code-cell} ipython3
import matplotlib.pyplot, bench
```
"""


@pytest.fixture
def without_home(monkeypatch):
    """A user without a home, whom the system does not know either, as in many containers."""
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "BENCH_CACHE", "BENCH_RESULTS", *home.PLACES):
        monkeypatch.delenv(name, raising=False)


def test_without_a_home_the_sentence_names_the_variable(without_home):
    with pytest.raises(BenchError, match="no home folder to keep files in; name a folder in BENCH_CACHE"):
        cache_folder()
    with pytest.raises(BenchError, match="name a folder in BENCH_RESULTS"):
        places.system_folder("data", "BENCH_RESULTS")


def test_a_home_of_nobody_in_a_variable_is_a_sentence(monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", "~no_such_user/cache")
    with pytest.raises(BenchError, match=r"BENCH_CACHE=~no_such_user/cache cannot be found: .* Name the whole path\."):
        cache_folder()


def test_folders_named_from_here_are_the_same_for_kernels_that_run_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_RESULTS", "mine")
    monkeypatch.setenv("BENCH_CACHE", "~/cache")
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    importlib.reload(bench)
    assert os.environ["BENCH_RESULTS"] == str(tmp_path / "mine")
    assert os.environ["BENCH_CACHE"] == "~/cache"


def test_other_tools_get_a_place_where_the_home_has_none(without_home, monkeypatch):
    with monkeypatch.context() as patch:
        for name in home.PLACES:
            patch.setenv(name, "")  # restored in the end
        patch.setenv("MPLCONFIGDIR", "/chosen")
        home.settle()
        assert os.environ["MPLCONFIGDIR"] == "/chosen"
        given = {Path(os.environ[name]) for name in home.PLACES if name != "MPLCONFIGDIR"}
        assert len(given) == len(home.PLACES) - 1 and all(folder.is_dir() for folder in given)


def test_a_home_that_can_be_used_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in home.PLACES:
        monkeypatch.delenv(name, raising=False)
    home.settle()
    assert not set(home.PLACES) & set(os.environ)
    assert list(tmp_path.iterdir()) == []


def test_no_folder_for_temporary_files_is_a_sentence(without_home, monkeypatch):
    def refused(**_):
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(home.tempfile, "mkdtemp", refused)
    with pytest.raises(BenchError, match=r"No usable temporary .* name a folder for temporary files in TMPDIR"):
        home.settle()


def test_a_long_path_of_temporary_files_only_costs_the_warm_process(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr(forked.tempfile, "tempdir", str(long))
    monkeypatch.delenv(forked.ADDRESS, raising=False)
    with forked.nursery(()):
        assert forked.ADDRESS not in os.environ


def test_without_git_or_in_a_checkout_of_somebody_else_the_commit_is_unknown(monkeypatch):
    def refused(*_, **__):
        raise subprocess.CalledProcessError(128, "git", stderr="fatal: detected dubious ownership in repository")

    for run in (refused, lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError("git"))):
        monkeypatch.setattr(provenance.subprocess, "run", run)
        monkeypatch.setattr(provenance, "is_checkout", lambda: True)
        assert provenance.commit.__wrapped__() == "unknown"


def test_every_user_can_take_a_lock_whoever_made_it(tmp_path):
    before = os.umask(0o077)
    try:
        with lock_of(tmp_path / "lock"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o666


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_the_umask_says_who_may_read_a_file(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        atomic.write(tmp_path / "file", lambda file: file.write(b"x"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/c/x.lock"), "/c/x.lock: Permission denied. Make it"),
        (OSError(errno.ENOSPC, "No space left on device"), "/c: No space left on device. Free some space"),
        (OSError("Can't write (errno = 28, error message = 'No space left on device', buf = 0x1)"), "Free some space"),
    ],
)
def test_what_the_disk_of_the_cache_refuses_is_a_sentence(error, said):
    assert said in str(cannot_keep(Path("/c"), error))
    assert str(cannot_keep(Path("/c"), error)).endswith("or name another folder in BENCH_CACHE.")


def test_a_cache_under_a_file_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BenchError, match=r"file: .* or name another folder in BENCH_CACHE"), filled(tmp_path / "file"):
        pass


def test_a_disk_that_fills_up_under_a_data_set_is_a_sentence_and_leaves_nothing(small, tmp_path):
    with largest_file(10_000), pytest.raises(BenchError, match=r"File too large\. Free some space"):
        _write(small.copy(), tmp_path / "datasets" / "small.h5ad")
    assert list((tmp_path / "datasets").iterdir()) == []
    _write(small.copy(), tmp_path / "datasets" / "small.h5ad")
    again = read_h5ad(tmp_path / "datasets" / "small.h5ad")
    assert (again.X != small.X).nnz == 0 and again.uns["bench"]["hash"] == small.uns["bench"]["hash"]


def test_frozen_layers_leave_a_nearly_full_disk_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(rows.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    store = Store("made", (4, 4), torch.float32)
    store.folder.parent.mkdir(parents=True)
    assert not rows._room(store, 64)
    assert "it is computed each time" in capsys.readouterr().err


def test_a_refusal_of_the_system_that_no_room_expects_is_a_sentence_of_the_command(monkeypatch):
    def refused(*_):
        raise PermissionError(errno.EACCES, "Permission denied", "/shared/hao-1.h5ad")

    monkeypatch.setattr(import_module("bench.datasets.loading"), "loaded", refused)
    done = CliRunner().invoke(main, ["data", "hao"])
    assert done.exit_code == 2
    assert done.stderr.startswith("bench: /shared/hao-1.h5ad: Permission denied. Make it readable")


@pytest.fixture
def foreign_kernel(tmp_path, monkeypatch):
    """A kernel called python3 in the user's home, whose interpreter there is not."""
    folder = tmp_path / "jupyter" / "kernels" / "python3"
    folder.mkdir(parents=True)
    argv = ["/nowhere/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "foreign", "language": "python", "env": {"FOREIGN": "1"}}
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setattr(KernelProvisionerFactory.instance(), "default_provisioner_name", "local-provisioner")


@pytest.mark.slow
def test_a_foreign_kernel_of_the_same_name_is_not_started(foreign_kernel):
    code = "import os, sys; print(sys.executable, os.environ.get('FOREIGN'))"
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    kernels.use()
    NotebookClient(page, kernel_name="python3").execute()
    assert page.cells[0].outputs[0]["text"] == f"{sys.executable} None\n"


def bench_as(user: int, *words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    return as_user(user, "-m", "bench", *words, folder=folder, **environment)


@pytest.fixture
def open_folder(tmp_path_factory):
    """A folder that other users can reach and write."""
    with TemporaryDirectory(prefix="bench-shared-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


@pytest.fixture
def disk(open_folder):
    """Return a function that mounts a small disk."""
    folder = open_folder / "disk"
    yield lambda size: small_disk(folder, size)
    subprocess.run(["umount", "-l", folder], check=False, capture_output=True)


@needs_root
@pytest.mark.campaign
def test_a_user_without_a_home_runs_a_chapter_without_noise(open_folder):
    (open_folder / "page.md").write_text(PAGE)
    given = {"BENCH_RESULTS": str(open_folder / "r"), "BENCH_CACHE": str(open_folder / "c")}
    done = bench_as(NOBODY, "run", "page.md", folder=open_folder, **given)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    done = bench_as(NOBODY, "data", "hao", folder=open_folder, HOME="/")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "/.cache: Permission denied" in done.stderr and "BENCH_CACHE" in done.stderr


@needs_root
@pytest.mark.campaign
def test_a_cache_that_another_user_made_can_be_used_and_what_it_lacks_is_a_sentence(hao, open_folder):
    cache = open_folder / "cache"
    kept = cache_folder() / "datasets" / "hao-1.h5ad"
    atomic.put(cache / "datasets" / kept.name, lambda file: file.write(kept.read_bytes()))
    given = {"BENCH_CACHE": str(cache), "folder": open_folder}
    assert bench_as(NOBODY, "data", "hao", **given).returncode == 0
    lacks = bench_as(NOBODY, "data", "baron", **given)
    assert lacks.returncode == 2 and "Permission denied. Make it writable for you" in lacks.stderr
    assert lacks.stderr.count("\n") == 1
    (cache / "datasets").chmod(0o700)
    closed = bench_as(NOBODY, "data", "hao", **given)
    assert closed.returncode == 2 and "Permission denied" in closed.stderr and closed.stderr.count("\n") == 1


@needs_root
@pytest.mark.campaign
def test_two_users_share_results(hao, open_folder):
    words = ["run", "few_shot_pbmc", "-p", "models", "[majority]", "-p", "fractions", "[1.0]", "--records-only"]
    for number, user in enumerate((NOBODY, NOBODY + 1)):
        shared = open_folder / "shared"
        shared.mkdir(exist_ok=True)
        shared.chmod(0o777)
        given = {"BENCH_RESULTS": str(shared), "BENCH_CACHE": str(open_folder / f"c{number}")}
        done = bench_as(user, *words, "-p", "seeds", f"[{number}]", folder=open_folder, **given)
        for folder in (f for f in shared.rglob("*") if f.is_dir()):
            folder.chmod(0o777)
        assert done.returncode == 0, done.stderr
    assert len(list(shared.glob("few_shot_pbmc/quick/*.csv"))) == 2
    shared.chmod(0o755)
    refused = bench_as(NOBODY, *words, "-p", "seeds", "[2]", folder=open_folder, **given)
    assert refused.returncode == 2 and refused.stderr.count("Results cannot be written to") == 1
    assert "Traceback" not in refused.stderr


@needs_root
@pytest.mark.campaign
@pytest.mark.parametrize("size", ["300k", "1500k", "4m"], ids=["a wheel", "a wheel, unpacked", "a data set"])
def test_a_disk_that_the_cache_fills_is_a_sentence(disk, size, open_folder):
    disk(size)
    command = [sys.executable, "-m", "bench", "data", "hao"]
    env = os.environ | {"BENCH_CACHE": str(open_folder / "disk")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "No space left on device. Free some space" in done.stderr


@needs_root
@pytest.mark.campaign
def test_results_on_a_mounted_disk_are_recorded_until_it_is_full(hao, disk, open_folder):
    disk("200k")
    words = ["run", "few_shot_pbmc", "-p", "models", "[majority, random]", "-p", "fractions", "[1.0]", "--records-only"]
    env = os.environ | {"BENCH_RESULTS": str(open_folder / "disk")}
    command = [sys.executable, "-m", "bench", *words, "-p", "seeds", str(list(range(8)))]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "Results cannot be written to" in done.stderr and "free some space" in done.stderr
    assert "Traceback" not in done.stderr
    kept = list((open_folder / "disk").glob("few_shot_pbmc/quick/*.csv"))
    assert kept and all(path.with_suffix(".npz").is_file() for path in kept)
    subprocess.run(["mount", "-o", "remount,size=4m", open_folder / "disk"], check=True)
    assert subprocess.run(command, env=env, capture_output=True, check=False).returncode == 0
