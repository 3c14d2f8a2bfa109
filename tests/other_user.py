"""Another user of the same machine, and small disks, for tests that root runs; nothing of them outlives the test."""

import os
import subprocess
import sys
from pathlib import Path

# An interpreter in root's home is out of reach for others: in a namespace of its own the home is replaced by one that
# holds the interpreter alone.
REACHABLE = """
home=$1; shift
mount -t tmpfs -o size=1m,mode=755 tmpfs /mnt && mkdir -p /mnt/python && mount --bind "$home" /mnt/python
top=/$(echo "$home" | cut -d/ -f2); rest=${home#"$top"}
mkdir -p "/mnt$rest" && mount --bind /mnt/python "/mnt$rest" && mount --rbind /mnt "$top" && exec "$@"
"""


def as_user(uid: int, *command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run a command of this interpreter as another user, with a home that does not exist unless one is given."""
    drop = ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", sys.executable, *command]
    python = Path(sys.executable).resolve().parents[1]
    if not _reachable(python):
        drop = ["unshare", "-m", "--propagation", "private", "sh", "-c", REACHABLE, "sh", str(python), *drop]
    env = {name: value for name, value in os.environ.items() if name not in ("BENCH_CACHE", "BENCH_RESULTS")}
    env |= {"HOME": "/nonexistent", "PYTHONPATH": str(Path(__file__).parents[1])} | environment
    return subprocess.run(drop, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300)


def _reachable(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in (path, *path.parents))


def small_disk(folder: Path, size: str) -> None:
    """Mount a disk of a size such as 2m; the caller unmounts it."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=777", "tmpfs", folder], check=True)
