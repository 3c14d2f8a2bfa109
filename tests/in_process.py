"""Trials in the process of the test, which can reach into models there."""

from bench.protocol import runner
from bench.protocol.trial import Task


def run_task(task: Task) -> str:
    """Run and record a trial; return why it failed, or an empty string."""
    result = runner.run_task(task)
    result.write()
    return result.failure
