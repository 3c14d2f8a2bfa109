"""Kernels of the book's build: warm, apart from each other, and gone with the build."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from jupyter_client.provisioning import KernelProvisionerFactory
from nbclient import NotebookClient

from bench.core import forked
from bench.protocol import kernels
from bench.report.book import warm_kernels
from bench.report.book.parallel import shared_out

ROOT = Path(__file__).parents[2]
CONF = """
extensions = ["myst_nb", "bench.report.book.parallel", "bench.report.book.warm_kernels"]
nb_execution_mode, nb_execution_raise_on_error, nb_execution_timeout = "force", True, 120
"""
TEPID = """
from bench.report.book import warm_kernels
warm_kernels.WARM = ("ipykernel.kernelapp",)
"""
PAGE = """---
jupytext: {{text_representation: {{extension: .md, format_name: myst}}}}
kernelspec: {{display_name: Python 3, language: python, name: python3}}
---
# Page {number}
```{{code-cell}} ipython3
import os, pathlib, sys, time
number = {number}
warm = "bench.report.figures" in sys.modules
fresh = not hasattr(sys, "seen")
sys.seen = True
pathlib.Path("said-{number}").write_text(f"{{os.getpid()}} {{os.getppid()}} {{warm}} {{fresh}} {{os.getcwd()}}")
{more}
```
"""


def project(folder: Path, n_pages: int, more: str = "", conf: str = CONF + TEPID) -> Path:
    """Write a small book; how its build ends does not depend on what the nursery has imported."""
    (folder / "conf.py").write_text(conf)
    pages = [f"page{number}" for number in range(n_pages)]
    (folder / "index.md").write_text("# Index\n```{toctree}\n" + "\n".join(pages) + "\n```\n")
    for number, page in enumerate(pages):
        (folder / f"{page}.md").write_text(PAGE.format(number=number, more=more))
    return folder


def build(folder: Path, **more) -> subprocess.Popen:
    """Start its build, in a process group of its own as a terminal would."""
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", str(folder), str(folder / "out")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    return subprocess.Popen(command, env=env, start_new_session=True, text=True, stderr=subprocess.PIPE, **more)


def said(folder: Path, number: int) -> list[str]:
    """Return what a page's cell wrote: process, its parent, whether it was warm, whether fresh, folder."""
    path = folder / f"said-{number}"
    return path.read_text().split() if path.exists() else []


def gone(*pids: int, within_s: float = 30) -> bool:
    """Wait for processes to end."""
    end = time.monotonic() + within_s
    while alive := [pid for pid in pids if psutil.pid_exists(pid)]:
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return not alive


@pytest.mark.slow
def test_pages_run_warm_in_processes_of_their_own(tmp_path):
    more = "import matplotlib.pyplot as plt\nplt.plot([1, 2], [0, number])"
    running = build(project(tmp_path, n_pages=6, more=more, conf=CONF))
    errors = running.communicate()[1]
    assert running.returncode == 0, errors
    assert len(list((tmp_path / "out" / "_images").glob("*.png"))) == 6, "a figure of each page"
    found = [said(tmp_path, number) for number in range(6)]
    assert len({pid for pid, *_ in found}) == 6
    nurseries = {parent for _, parent, *_ in found}
    assert len(nurseries) == 1
    assert {(warm, fresh, folder) for _, _, warm, fresh, folder in found} == {("True", "True", str(tmp_path))}
    assert gone(*(int(pid) for pid, *_ in found), int(nurseries.pop()))


@pytest.mark.slow
def test_a_failing_cell_fails_the_build_and_leaves_no_process(tmp_path):
    running = build(project(tmp_path, n_pages=6, more='assert os.path.basename(os.getcwd()) == "elsewhere"'))
    errors = running.communicate()[1]
    assert running.returncode != 0
    assert "ExecutionError" in errors
    found = [said(tmp_path, number) for number in range(6)]
    assert gone(*{int(pid) for told in found for pid in told[:2]})


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_build_that_is_ended_leaves_no_process(tmp_path, end):
    running = build(project(tmp_path, n_pages=6, more="time.sleep(100)"))
    while not (told := said(tmp_path, 0)) or len(told) < 5:
        assert running.poll() is None
        time.sleep(0.1)
    os.killpg(running.pid, end)
    running.communicate()
    assert gone(*map(int, told[:2]))


@pytest.mark.slow
def test_several_chapters_run_warm_and_end_with_ctrl_c(tmp_path, monkeypatch):
    monkeypatch.chdir(project(tmp_path, n_pages=2))
    (tmp_path / "page1.md").write_text(PAGE.format(number=1, more="time.sleep(100)"))
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "results"))
    command = [sys.executable, "-m", "bench", "run", "page0.md", "page1.md"]
    running = subprocess.Popen(command, start_new_session=True, text=True, stderr=subprocess.PIPE)
    while len(told := said(tmp_path, 1)) < 5:
        assert running.poll() is None
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)
    running.communicate()
    assert running.returncode == 130
    first = said(tmp_path, 0)
    assert first[1:] == told[1:]  # one nursery, warm and fresh, in the folder that was asked from
    assert first[2:4] == ["True", "True"]
    assert gone(*map(int, first[:2]), *map(int, told[:2]))


@pytest.mark.slow
def test_ports_of_kernels_are_none_that_the_system_gives_to_connections(warm):
    """Jupyter asks the system for a free port and lets it go; until the kernel binds it, any connection may get it."""
    client = NotebookClient(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")]), kernel_name="python3")
    with client.setup_kernel():
        ports = [client.km.get_connection_info()[name] for name in warm_kernels.PORTS]
        client.execute_cell(client.nb.cells[0], 0)
    assert client.nb.cells[0].outputs[0]["data"]["text/plain"] == "2"
    assert len(set(ports)) == 5 and set(ports) <= set(warm_kernels.RESERVED)
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert not set(ports) & set(range(first, last + 1))


def test_a_port_that_something_listens_on_is_not_chosen(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        free = warm_kernels.free_port("127.0.0.1")
        monkeypatch.setattr(warm_kernels, "RESERVED", [port] * 50 + [free - 1])
        assert warm_kernels.free_port("127.0.0.1") == free - 1


@pytest.mark.slow
def test_without_nursery_kernels_start_as_ever(tmp_path, monkeypatch):
    monkeypatch.setenv(forked.ADDRESS, str(tmp_path / "nobody"))
    monkeypatch.setattr(KernelProvisionerFactory.instance(), "default_provisioner_name", "local-provisioner")
    kernels.use(warm_kernels.WarmProvisioner)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    done = NotebookClient(notebook, kernel_name="python3").execute()
    assert done.cells[0].outputs[0].data["text/plain"] == "2"


def test_work_is_shared_out_heaviest_first_and_the_lightest_last():
    work = {f"page{i:02}": weight for i, weight in enumerate([0, 0, 9, 1, 8, 1, 7, 1, 6, 1, 5, 4] * 2)}
    order = shared_out(work, n_processes=2)
    assert sorted(order) == sorted(work)
    first, second, last = order[:10], order[10:20], order[20:]  # Sphinx reads at most ten or so in one go
    loads = [sum(work[name] for name in share) for share in (first, second, last)]
    assert abs(loads[0] - loads[1]) <= 2
    assert loads[2] < loads[1] / 3
    assert [work[name] for name in first] == sorted(work[name] for name in first)
