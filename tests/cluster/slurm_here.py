"""A Slurm on this machine for as long as a test lasts: Debian's munged, slurmctld and slurmd.

    python tests/cluster/slurm_here.py FOLDER

starts it, says what to export and ends it at Ctrl-C.  Configuration, keys, state and logs lie in the folder, ports are
free ones: services that the machine has of its own are neither read nor changed.  It needs no systemd and no control
groups, so that it runs in a container too, as root or as another user.  Its GPUs are devices of another
kind: Slurm deals them out and sets ``CUDA_VISIBLE_DEVICES``, and nothing computes on them.
"""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

DAEMONS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch")
ABSENT = "Slurm is not installed: apt-get install slurmctld slurmd slurm-client munge"
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])  # where users have no daemons
GPUS = ("/dev/null", "/dev/zero")  # devices that every machine has
START_S, END_S = 60, 15
CONFIGURATION = """
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
DefMemPerCPU=2000
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={n_cpus} RealMemory=16000 Gres=gpu:{n_gpus} State=UNKNOWN
PartitionName=short Nodes=ALL Default=YES MaxTime=60 State=UP
"""


def is_installed() -> bool:
    """Return whether all of it is there."""
    return all(shutil.which(name, path=PATH) for name in DAEMONS)


@contextmanager
def started(folder: Path, n_cpus: int = 2, n_gpus: int = 2) -> Iterator[dict[str, str]]:
    """Give the environment in which sbatch, squeue and scancel speak to it, once its node takes jobs.

    Parameters
    ----------
    folder
        An empty one of its own.
    n_cpus, n_gpus
        What its node says it has, be it true or not; two GPUs at most.
    """
    environment = os.environ | {"PATH": PATH, "SLURM_CONF": str(folder / "slurm.conf")}
    _configure(folder, n_cpus, n_gpus)
    here = ["--key-file", "munge.key", "--socket", "munge.socket", "--pid-file", "munge.pid"]
    here = [word if word.startswith("--") else str(folder / word) for word in here]
    here += ["--log-file", str(folder / "munged.log"), "--seed-file", str(folder / "munge.seed")]
    with ExitStack() as stack:
        stack.enter_context(_running(["munged", "--foreground", "--force", *here], folder, environment))
        _wait_until((folder / "munge.socket").exists, folder)
        stack.enter_context(_running(["slurmctld", "-D", "-c"], folder, environment))
        stack.enter_context(_running(["slurmd", "-D"], folder, environment))
        _wait_until(lambda: _said(["sinfo", "-h", "-o", "%t"], environment) == "idle", folder)
        stack.callback(_cancel_all, environment)
        yield environment


def _configure(folder: Path, n_cpus: int, n_gpus: int) -> None:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    subprocess.run([shutil.which("mungekey", path=PATH), "--create", "--keyfile", folder / "munge.key"], check=True)
    host, user = socket.gethostname().partition(".")[0], getpass.getuser()
    text = CONFIGURATION.format(host=host, user=user, folder=folder, ports=_free_ports(2), n_cpus=n_cpus, n_gpus=n_gpus)
    (folder / "slurm.conf").write_text(text)
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")  # loaded and never asked; the other needs systemd
    (folder / "gres.conf").write_text("".join(f"Name=gpu File={device}\n" for device in GPUS[:n_gpus]))


def _free_ports(n: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def _running(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run a daemon in the foreground of a process of its own, and end it."""
    program = shutil.which(command[0], path=PATH)
    with open(folder / f"{command[0]}.out", "wb") as out:
        process = subprocess.Popen(
            [program, *command[1:]], stdout=out, stderr=out, env=environment, start_new_session=True
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _cancel_all(environment: dict[str, str]) -> None:
    subprocess.run(["scancel", "--user", getpass.getuser()], env=environment, check=False)
    until = time.monotonic() + END_S
    while _said(["squeue", "-h"], environment) and time.monotonic() < until:
        time.sleep(0.2)


def _said(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout.strip()


def _wait_until(condition, folder: Path) -> None:
    until = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > until:
            logs = "\n".join(path.read_text()[-2000:] for path in sorted(folder.glob("*.log")))
            raise RuntimeError(f"Slurm did not start within {START_S} s:\n{logs}")
        time.sleep(0.2)


if __name__ == "__main__":
    if not is_installed():
        sys.exit(ABSENT)
    place = Path(sys.argv[1]).absolute()
    place.mkdir(parents=True)
    with started(place) as told:
        print(f"export SLURM_CONF={told['SLURM_CONF']}", flush=True)
        with suppress(KeyboardInterrupt):
            time.sleep(86_400)
