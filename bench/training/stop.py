"""Ctrl-C, and the SIGTERM of a scheduler, held back until a step is done and saved."""

import signal
import threading
import time

SIGNALS = (signal.SIGINT, signal.SIGTERM)
IMPATIENT_S = 2.0  # torchrun passes a Ctrl-C on to processes that have had it already; a later one is meant


class Stop:
    """While entered, the first signal is only noted; another one after two seconds acts at once.

    Attributes
    ----------
    asked
        The signal that came, or None.
    """

    def __init__(self):
        self.asked: int | None = None
        self._since, self._before = 0.0, {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():  # Python allows no other to do this
            self._before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def act(self) -> None:
        """Let the signal do what it does outside; where another process had it, behave as after a Ctrl-C."""
        self.__exit__()
        if self.asked is not None:
            signal.raise_signal(self.asked)
        raise KeyboardInterrupt

    def _hear(self, number: int, _frame) -> None:
        if self.asked is None:
            self.asked, self._since = number, time.monotonic()
        elif time.monotonic() - self._since > IMPATIENT_S:
            self.__exit__()
            signal.raise_signal(number)
