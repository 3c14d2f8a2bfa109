"""Arrays in, numbers out: metrics, intervals and tests, bootstraps, calibration, effects."""

from importlib import import_module

_INTERVALS = "bench.statistics.intervals"  # SciPy's distributions take half a second to import


def __getattr__(name: str):
    """Import intervals and tests for who names one of them."""
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(import_module(_INTERVALS), name)
