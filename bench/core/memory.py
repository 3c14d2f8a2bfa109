"""How much memory is free, and what sets the limit: the machine, a control group (a container, a job), or the shell."""

import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

GROUPS = Path("/sys/fs/cgroup")
FILES = {  # of a control group: its limit, what is in use, and which of that the system gives back when asked
    "": ("memory.max", "memory.current", "inactive_file"),  # version 2
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


class Free(NamedTuple):
    """What this process and those that it starts can still take."""

    size: float  # bytes
    limit: str  # what sets it, in words


def free() -> Free:
    """Return the least of what the machine, the control groups above this process and its own limit leave."""
    import psutil  # here: a machine that only pretrains needs none

    found = [Free(psutil.virtual_memory().available, "of the machine"), *_of_groups()]
    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    if most != resource.RLIM_INFINITY:
        found.append(Free(most - psutil.Process().memory_info().vms, "of this process (ulimit -v)"))
    least = min(found)
    return Free(max(least.size, 0), least.limit)


def said(size: float) -> str:
    """Return bytes as one says them, such as ``1.3 GB`` or ``40 MB``."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _of_groups(mine: Path = Path("/proc/self/cgroup"), groups: Path = GROUPS) -> Iterator[Free]:
    """Yield what each control group above this process leaves; none where the system has no groups."""
    with suppress(OSError):
        for line in mine.read_text(encoding="utf-8").splitlines():
            _, kind, place = line.split(":", 2)
            if kind not in FILES:
                continue
            folder = groups / kind / place.strip("/")
            # In a container the path may be one of the host; then the top is the container's own group.
            for group in (folder, *folder.parents):
                if (left := _left(group, *FILES[kind])) is not None:
                    yield Free(left, "of the container or job (control group)")
                if group == groups / kind:
                    break


def _left(group: Path, limit: str, used: str, given_back: str) -> float | None:
    """Return the bytes that a group leaves; None where it sets no limit or is not there."""
    with suppress(OSError, ValueError):  # "max" is no number, and means none
        most, now = (int((group / name).read_text()) for name in (limit, used))
        cached = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return most - now + int(cached.get(given_back, 0))
    return None
