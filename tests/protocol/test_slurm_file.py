"""The file that says what Slurm jobs ask for: all that is wrong with it is said, and what is right becomes a script."""

import re
import signal
import subprocess

import pytest

from bench.core.errors import BenchError
from bench.core.places import ROOT
from bench.protocol.cluster import slurm
from bench.protocol.cluster.asked import Asked, read
from bench.protocol.cluster.starting import check_installed

WHOLE = """
jobs: 8
memory: 32GB
time: 12:00:00
partition: gpu
account: cells
cpus: 4
gpus: 1
interface: lo
options: [--constraint=a100, --exclusive]
before: [module load cuda]
"""


@pytest.fixture
def file(tmp_path):
    return tmp_path / "jobs.yml"


def test_the_file_that_the_page_shows_and_a_whole_one_are_read(file):
    page = (ROOT / "chapters" / "scale.md").read_text(encoding="utf-8")
    file.write_text(re.search(r"^```yaml\n(# jobs\.yml.*?)^```", page, re.MULTILINE | re.DOTALL)[1])
    assert read(file) == Asked(jobs=2, memory="3GB", time="00:30:00", cpus=1)
    file.write_text(WHOLE)
    whole = read(file)
    assert (whole.time, whole.gpus, whole.before) == ("12:00:00", 1, ("module load cuda",))
    assert whole.options == ("--constraint=a100", "--exclusive")
    named = set(re.findall(r"^\| `(\w+)`(?:, `(\w+)`)?", page, re.MULTILINE))
    assert {name for names in named for name in names if name} == set(Asked.__dataclass_fields__)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jobs: 2", "should say memory, too"),
        ("jobs: 2\nmemory: 3GB\npartitoin: gpu", "Unknown name in .* 'partitoin'. Did you mean 'partition'"),
        ("jobs: two\nmemory: 3GB", "jobs='two' should be of type int"),
        ("jobs: 0\nmemory: 3GB", "jobs=0 should be 1 or more"),
        ("jobs: 2\nmemory: 3", "memory=3 should be of type str"),
        ("jobs: 2\nmemory: much", "memory='much' should be a number and its unit, such as 16GB"),
        ("jobs: 2\nmemory: 3GB\ngpus: 4", "gpus=4 should be 0 or 1: a job runs one trial at a time; ask for more jobs"),
        ("jobs: 2\nmemory: 3GB\noptions: --exclusive", "options='--exclusive' should be a list"),
        ("- jobs", "should hold names and values, such as jobs: 4 and memory: 16GB"),
        ("jobs: [2", "cannot be read"),
    ],
)
def test_what_is_wrong_is_a_sentence(text, said, file):
    file.write_text(text)
    with pytest.raises(BenchError, match=said):
        read(file)


def test_all_that_is_wrong_is_said_at_once_and_a_file_that_is_not_there_too(file):
    with pytest.raises(BenchError, match=r"jobs.yml, which should say what Slurm jobs ask for, cannot be read"):
        read(file)
    file.write_text("jobs: 0\ncores: 2")
    with pytest.raises(BenchError) as error:
        read(file)
    assert len(str(error.value).splitlines()) == 3


def test_a_job_is_one_worker_of_one_trial_with_all_that_was_asked_for(file, tmp_path):
    ctrl_c = signal.getsignal(signal.SIGINT)
    try:
        check_installed("dask_jobqueue")
    except BenchError as error:
        pytest.skip(str(error))
    assert signal.getsignal(signal.SIGINT) is ctrl_c
    from dask_jobqueue import slurm as jobqueue  # only now: its first import changes what Ctrl-C does

    file.write_text(WHOLE)
    options = slurm._options(read(file), tmp_path)
    del options["scheduler_options"]
    script = jobqueue.SLURMJob("tcp://scheduler:1", name="one", **options).job_script()
    asked = set(re.findall(r"^#SBATCH (.*)$", script, re.MULTILINE))
    assert {"-p gpu", "-A cells", "-t 12:00:00", "--cpus-per-task=4", "--gres=gpu:1"} <= asked
    assert {"--constraint=a100", "--exclusive", "--mem=30G"} <= asked  # 32 GB are 29.8 GiB
    lines = script.splitlines()
    (worker,) = (number for number, line in enumerate(lines) if "dask_worker" in line)
    assert lines.index("module load cuda") < worker
    assert any(line.startswith("export OMP_NUM_THREADS=4 ") for line in lines[:worker])
    for words in ("--nthreads 1", "--resources GPU=1", "--interface lo"):
        assert words in lines[worker]
    assert lines[worker].endswith("--memory-limit 0") or "--memory-limit 0 " in lines[worker]


def test_what_slurm_refuses_and_a_machine_without_it_are_sentences(file, monkeypatch):
    def refused(*_, **__):
        raise subprocess.CalledProcessError(1, "sbatch", stderr="sbatch: error: invalid partition specified: gpu\n")

    def absent(*_, **__):
        raise FileNotFoundError

    for run, said in (
        (refused, r"takes no such job as .*jobs\.yml .*: invalid partition"),
        (absent, "sbatch is not here"),
    ):
        monkeypatch.setattr(slurm.subprocess, "run", run)
        with pytest.raises(BenchError, match=said):
            slurm._check_accepted("#!/bin/sh", file)
