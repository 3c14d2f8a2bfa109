"""How a process ends that has imported much: taking down pandas, SciPy and torch takes a second of the processor."""

import atexit
import os
import sys
import threading
from contextlib import suppress
from typing import NoReturn


def leave() -> NoReturn:
    """End this process once its threads and what is registered for its end have run, as `multiprocessing` does."""
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, or who would read it has gone
            stream.flush()
    os._exit(0)
