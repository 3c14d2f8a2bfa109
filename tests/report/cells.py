"""Execute a chapter's cells in this process: what its sentences say, and what its tables show."""

import ast
from pathlib import Path

import jupytext
import matplotlib.pyplot as plt

CHAPTERS = Path(__file__).parents[2] / "chapters"


def executed(name: str, monkeypatch) -> tuple[dict, list[str]]:
    """Return the values that a chapter's sentences show by name, and the HTML of its outputs; figures are drawn."""
    said, shown, names = {}, [], {"__name__": "__main__"}
    monkeypatch.setenv("BENCH_BOOK", "1")
    monkeypatch.setattr("myst_nb.glue", lambda name, value, display: said.update({name: value}))
    for cell in jupytext.read(CHAPTERS / f"{name}.md").cells:
        if cell.cell_type != "code":
            continue
        tree = ast.parse(cell.source)
        last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), names)
        value = eval(compile(last, name, "eval"), names) if last else None
        html = value._repr_html_() if hasattr(value, "_repr_html_") else None  # of a figure it is None
        shown += [html] if html else []
        for number in plt.get_fignums():
            plt.figure(number).canvas.draw()
        plt.close("all")
    return said, shown
