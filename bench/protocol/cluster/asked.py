"""What each Slurm job asks for, as a small file of the user's says it."""

import re
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError, Faults, listed, unknown
from bench.core.settings import as_type, parse

MEMORY = r"\d+(\.\d+)?\s*[KMGT]i?B"
EXAMPLES = {"jobs": 4, "memory": "16GB", "options": ("--constraint=a100",), "before": ("module load cuda",)}


@dataclass(frozen=True)
class Asked:
    """What each job asks of Slurm, and how many there are."""

    jobs: int  # at a time, each with one trial at a time
    memory: str  # of a job, such as 16GB
    partition: str = ""  # empty: Slurm's default
    account: str = ""
    time: str = "01:00:00"  # of a job; a trial must fit into it
    cpus: int = 1  # of a job
    gpus: int = 0  # of a job: none, or the one that its trial is computed on
    interface: str = ""  # of the network that nodes see one another on, such as ib0; empty: the usual one
    options: tuple[str, ...] = ()  # more of sbatch's, such as --constraint=a100
    before: tuple[str, ...] = ()  # lines of the shell before a worker starts, such as: module load cuda


def read(path: Path) -> Asked:
    """Return what a file of names and values asks for, YAML or JSON.

    Raises
    ------
    BenchError
        If it cannot be read, or says something that is not understood; all of it is said at once.
    """
    try:
        said = parse(path.name, path.expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{path}, which should say what Slurm jobs ask for, cannot be read: {error}.") from error
    if not isinstance(said, dict):
        raise BenchError(f"{path} should hold names and values, such as jobs: 4 and memory: 16GB.")
    faults, given = Faults(), {}
    known = {field.name: field for field in fields(Asked)}
    for name, value in said.items():
        with faults.noted():
            given[name] = _value(path, name, value, known)
    if missing := [name for name, field in known.items() if field.default is MISSING and name not in said]:
        faults.add(f"{path} should say {listed(missing)}, too.")
    faults.raised()
    return Asked(**given)


def _value(path: Path, name: str, value: Any, known: dict[str, Any]) -> Any:
    if name not in known:
        raise unknown(f"name in {path}", name, known)
    found = as_type(f"{path}: {name}", value, EXAMPLES.get(name, known[name].default))
    if name in ("jobs", "cpus") and found < 1:
        raise BenchError(f"{path}: {name}={found} should be 1 or more.")
    if name == "gpus" and found not in (0, 1):
        raise BenchError(f"{path}: gpus={found} should be 0 or 1: a job runs one trial at a time; ask for more jobs.")
    if name == "memory" and not re.fullmatch(MEMORY, found):
        raise BenchError(f"{path}: memory={found!r} should be a number and its unit, such as 16GB.")
    return found
