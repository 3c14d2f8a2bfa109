"""A chapter's kernel in a user's folder: modules there are found and replace nothing, and what should run last does."""

from pathlib import Path

import nbformat
import pytest
from jupyter_client.provisioning import KernelProvisionerFactory
from nbclient import NotebookClient

from bench import __version__
from bench.core.forked import ADDRESS
from bench.protocol import kernels

TASKS = {"__import__('bench').__version__": __version__, "__import__('mine').NAME": "of the user"}
IMPORTS = f"""
import mine
from bench.core.workers import answers
print(mine.NAME, list(answers(eval, {list(TASKS)}, 1)))
"""
ENDS = """
import atexit, pathlib, threading, time

def late():
    time.sleep(0.3)
    pathlib.Path("thread").write_text("done")

threading.Thread(target=late).start()
atexit.register(pathlib.Path("atexit").write_text, "done")
print("begun")
"""


@pytest.fixture
def started(monkeypatch):
    """Have kernels started, not forked."""
    monkeypatch.delenv(ADDRESS, raising=False)
    monkeypatch.setattr(KernelProvisionerFactory.instance(), "default_provisioner_name", "local-provisioner")
    kernels.use()


def executed(code: str, folder: Path) -> str:
    """Return what a cell prints in a kernel that runs in a folder."""
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(page, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    return page.cells[0].outputs[0]["text"]


@pytest.mark.slow
def test_a_folder_called_bench_takes_no_place_in_kernels_and_processes_of_trials(started, tmp_path):
    for name in ("bench", "numpy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('a folder of the user')")
    (tmp_path / "mine.py").write_text("NAME = 'of the user'")
    assert executed(IMPORTS, tmp_path) == f"of the user {list(TASKS.items())}\n"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["started", "warm"])
def test_threads_and_what_is_registered_for_the_end_still_run(how, request, tmp_path, capfd):
    request.getfixturevalue(how)
    assert executed(ENDS, tmp_path) == "begun\n"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"atexit": "done", "thread": "done"}
    assert "destroyed" not in capfd.readouterr().err
