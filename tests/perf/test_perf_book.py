"""Wall and CPU seconds of the book's build from committed records: pytest tests/perf/test_perf_book.py -o addopts= -s.

Reports only.  With ``BENCH_BEFORE=FOLDER``, another checkout, both are built in turns and compared: on a busy machine
only the ratio says something.
"""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[2]
ROUNDS = 2
COMMAND = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build"]


def cost_of_build(source: Path, out: Path) -> tuple[float, float]:
    """Return wall seconds and CPU seconds, those of all processes together."""
    env = os.environ | {"PYTHONPATH": str(source), "BENCH_RESULTS": str(out / "nothing")}
    command = [*COMMAND, str(source), "-n", "-W", "--keep-going", "--path-output", str(out)]
    used, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=env, cwd=source, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall_s, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall_s, after.ru_utime - used.ru_utime + after.ru_stime - used.ru_stime


@pytest.mark.timeout(3600)
def test_build_from_committed_records(tmp_path, capsys):
    sources = {"here": ROOT} | ({"before": Path(os.environ["BENCH_BEFORE"])} if "BENCH_BEFORE" in os.environ else {})
    costs = {name: [] for name in sources}
    for turn in range(ROUNDS):
        for name, source in sources.items():
            costs[name].append(cost_of_build(source, tmp_path / f"{name}-{turn}"))
    medians = {name: [median(values) for values in zip(*found, strict=True)] for name, found in costs.items()}
    with capsys.disabled():
        for name, (wall_s, cpu_s) in medians.items():
            print(f"\n{name}: {wall_s:.1f} s, {cpu_s:.1f} CPU s", end="")
        if "before" in medians:
            ratios = [ours / theirs for ours, theirs in zip(medians["here"], medians["before"], strict=True)]
            print("\nhere / before: {:.2f} of the time, {:.2f} of the CPU seconds".format(*ratios))
