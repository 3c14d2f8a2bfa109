"""What is free is what the least of machine, control groups and the process's own limit leaves."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bench.core import memory


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.fixture
def groups(tmp_path):
    """A job within a container: the job may take 4 GB, the container 3 GB, and 1 GB of these can be given back."""
    group(tmp_path / "top/job", memory__max="4000000000", memory__current="1000000000", memory__stat="anon 5\n")
    stat = "anon 7\ninactive_file 1000000000\n"
    group(tmp_path / "top", memory__max="3000000000", memory__current="2500000000", memory__stat=stat)
    group(tmp_path, memory__max="max", memory__current="1", memory__stat="")
    return tmp_path


def test_each_group_above_a_process_counts_and_what_is_cached_is_free(groups, tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("0::/top/job\n")
    assert [left.size for left in memory._of_groups(mine, groups)] == [3e9, 1.5e9]


def test_groups_of_the_first_version(tmp_path):
    stat = "cache 9\ntotal_inactive_file 500\n"
    names = {"memory__limit_in_bytes": "2000", "memory__usage_in_bytes": "800", "memory__stat": stat}
    group(tmp_path / "memory/docker", **names)
    mine = tmp_path / "mine"
    mine.write_text("5:cpu,cpuacct:/docker\n4:memory:/docker\n")
    assert [left.size for left in memory._of_groups(mine, tmp_path)] == [1700]


def test_a_container_that_sees_the_path_of_its_host_finds_its_own_group(groups, tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("0::/kubepods/pod7\n")
    group(groups, memory__max="900", memory__current="100", memory__stat="")
    assert [left.size for left in memory._of_groups(mine, groups)] == [800]


def test_a_system_without_groups_has_none(tmp_path):
    assert list(memory._of_groups(tmp_path / "missing", tmp_path)) == []


def test_the_least_counts(monkeypatch):
    monkeypatch.setattr(memory, "_of_groups", lambda: iter([memory.Free(5e6, "of the job"), memory.Free(7e6, "")]))
    assert memory.free() == (5e6, "of the job")
    monkeypatch.setattr(memory, "_of_groups", lambda: iter(()))
    assert memory.free().limit == "of the machine"
    assert memory.free().size == pytest.approx(psutil.virtual_memory().available, rel=0.5)


def test_a_limit_of_the_shell_is_seen():
    code = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (3 * 10**9, resource.RLIM_INFINITY))
from bench.core.memory import free
print(int(free().size), free().limit)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    size, limit = said.strip().split(" ", 1)
    assert 1e9 < int(size) < 3e9
    assert limit == "of this process (ulimit -v)"


@pytest.mark.parametrize("size, text", [(40e6, "40 MB"), (1.26e9, "1.3 GB")])
def test_sizes_are_said_as_people_do(size, text):
    assert memory.said(size) == text
