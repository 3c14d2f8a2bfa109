"""Trials and chapters in the process of the test, which can reach into models there."""

import jupytext

from bench.protocol import notebooks, runner
from bench.protocol.trial import Task


def run_task(task: Task) -> str:
    """Run and record a trial; return why it failed, or an empty string."""
    result = runner.run_task(task)
    result.write()
    return result.failure


def execute(name: str, parameters: dict | None = None, **_) -> None:
    """Execute the cells of a chapter that make records, as `notebooks.run` does in a kernel."""
    space = {}
    for cell in notebooks.up_to_records(jupytext.read(notebooks.find(name)).cells):
        if cell.cell_type == "code":
            exec(cell.source, space)
        if "parameters" in cell.metadata.get("tags", []):
            space |= {"compute": True} | (parameters or {})
