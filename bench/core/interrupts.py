"""A Ctrl-C is never lost, wherever it falls."""

import _thread
import sys
import threading
from contextlib import contextmanager


@contextmanager
def interrupts_delivered():
    """Raise a Ctrl-C again that fell into a callback of the garbage collector, which prints and forgets it."""
    before = sys.unraisablehook

    def again(unraisable):
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            threading.Timer(0.1, _thread.interrupt_main).start()  # later: within this hook it would be forgotten too
        else:
            before(unraisable)

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before
