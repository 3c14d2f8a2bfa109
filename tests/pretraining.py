"""What the tests of pretraining share: a cache of their own, processes that are started and killed, comparisons."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import Done, Script

from bench.datasets import load
from bench.datasets.sources import cache_folder
from bench.training.choice import chosen

SMALL = {"selections": [["hao", ["random"]]], "steps": 3, "n_genes": 120, "dim": 32, "depth": 1, "heads": 2}
SMALL |= {"batch_size": 16, "micro_batch": 8}
COMMAND = "from bench.cli import main; main()"
# torchrun and the two commands that it starts; each of the latter is a light process that has a forked one do the work
TORCHRUN = """
import sys
from torch.distributed.run import main
main(["--nproc-per-node", "2", "--no-python", sys.executable, "-c", *sys.argv[1:]])
"""
BENCH = f"""
import sys
from forked import Script
done = Script({COMMAND!r}, *sys.argv[1:]).wait()
sys.stdout.write(done.stdout)
sys.stderr.write(done.stderr)
sys.exit(done.returncode)
"""

# kills the process at the n-th call of a function, again and again, and says each time what is left on disk
KILLED = """
import json, os, shutil, signal, sys
import gensim.models, torch
from bench.training import pretrain as module
from bench.training.choice import chosen

OWNERS = {"step": module, "evaluate": module, "_finish": module, "save": torch, "replace": os, "rmtree": shutil}

def die_at(name, n):
    original, calls = getattr(OWNERS[name], name), []
    def counted(*args, **more):
        calls.append(name)
        if len(calls) == n:
            if name == "save":  # half a checkpoint
                args[1].write(bytes(100))
                args[1].flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **more)
    setattr(OWNERS[name], name, counted)

recipe = chosen(sys.argv[1], "quick", json.loads(sys.argv[2]))[1]
for name, n in json.loads(sys.argv[3]):
    child = os.fork()
    if not child:
        die_at(name, n)
        module.pretrain("killed", recipe, checkpoint_s=0)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    files = os.listdir(os.path.join(os.environ["BENCH_CACHE"], "weights"))
    print(json.dumps([code, sorted(f.partition("-")[2][8:] for f in files if f.startswith(("killed-", ".part")))]))
"""


def small(model: str, **more):
    """Return a recipe of any model that is trained in no time."""
    return chosen(model, "quick", SMALL | ({"gene2vec": False} if model == "scbert" else {}) | more)[1]


@contextmanager
def own_weights(folder: Path) -> Iterator[Path]:
    """Use a cache of one's own, which finds the downloads in the user's; give its folder of weights."""
    load("hao")
    before = cache_folder()
    (folder / "datasets").symlink_to((before / "datasets").absolute())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder))
        patch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))  # of processes that are started, too
        yield folder / "weights"


def card_of(path: Path) -> dict:
    """Return the card of weights."""
    return json.loads(path.with_suffix(".json").read_text())


def files_of(name: str, weights: Path) -> list[str]:
    """Return the suffixes of what is on disk of a run, locks aside."""
    return sorted(path.name.partition("-")[2][8:] for path in weights.glob(f"{name}-*"))


def same(path: Path, other: Path) -> bool:
    """Say whether two pretrainings gave the same bytes."""
    cards = [{k: v for k, v in card_of(p).items() if k != "seconds"} for p in (path, other)]
    ids = [np.load(p.with_suffix(".cells.npy")) for p in (path, other)]
    return cards[0] == cards[1] and path.read_bytes() == other.read_bytes() and np.array_equal(*ids)


def run_scripts(*scripts: Script) -> list[Done]:
    """Wait for scripts that run at the same time and must end well."""
    done = [script.wait() for script in scripts]
    assert [one.returncode for one in done] == [0] * len(done), "".join(one.stderr for one in done)
    return done


def run_in_two(code: str, *arguments) -> list[Done]:
    """Run a script in two processes that train together, as torchrun would start them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        together = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    return run_scripts(*(Script(code, *arguments, RANK=rank, LOCAL_RANK=rank, **together) for rank in "01"))
