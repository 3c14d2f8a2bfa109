"""A re-executable evaluation of single-cell foundation models on cell-type annotation."""

import os
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec

__version__ = "0.1.0"

# Threads of torch that wait for each other sleep.  By default they spin: where a machine has other work as well, what
# comes in small parts then takes up to ten times as long.  It is read once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Folders that are named from here: kernels of the book run in another one.
for _variable in ("BENCH_RESULTS", "BENCH_CACHE", "BENCH_MIRROR"):
    if (os.environ.get(_variable) or "~")[0] not in "~/":
        os.environ[_variable] = os.path.abspath(os.environ[_variable])

# Paths of the first version, on the book's page of functions then: they lead to the rooms where the modules are now.
MOVED = {
    "bench.bootstrap": "bench.statistics.bootstrap",
    "bench.datasets.sample": "bench.models.sample",
    "bench.effects": "bench.report.effects",
    "bench.errors": "bench.core.errors",
    "bench.experiments": "bench.protocol.experiments",
    "bench.figures": "bench.report.figures",
    "bench.metrics": "bench.statistics.metrics",
    "bench.notebooks": "bench.protocol.notebooks",
    "bench.predictions": "bench.statistics.predictions",
    "bench.records": "bench.protocol.records",
    "bench.splits": "bench.datasets.splits",
    "bench.tables": "bench.report.tables",
    "bench.trials": "bench.protocol.trials",
}


class _Moved:  # no subclass of `importlib.abc`, whose import would double the time of ``bench --help``
    """Finder and loader that import a module of `MOVED` as the very module that it has become."""

    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if name in MOVED else None

    def create_module(self, spec):
        return None  # a new one, which `exec_module` replaces

    def exec_module(self, module):
        sys.modules[module.__name__] = import_module(MOVED[module.__name__])


sys.meta_path.append(_Moved())
