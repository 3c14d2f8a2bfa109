"""A Ctrl-C is never lost, wherever it falls, and a SIGTERM ends a command as cleanly as a Ctrl-C does."""

import _thread
import signal
import sys
import threading
from contextlib import contextmanager


class Terminated(KeyboardInterrupt):
    """A SIGTERM: what schedulers send when a job's time is up, and systems when they are shut down."""


@contextmanager
def termination_raised():
    """Raise `Terminated` at a SIGTERM, which would end this process at once and leave to others what it has started."""

    def raised(*_):
        raise Terminated

    usual = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if usual:
        signal.signal(signal.SIGTERM, raised)
    try:
        yield
    finally:
        if usual:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


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
