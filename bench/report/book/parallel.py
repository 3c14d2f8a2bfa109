"""Sphinx extension: the book is built by one process per core, which Jupyter Book's command line does not offer."""

import os
from pathlib import Path

from sphinx.util.parallel import make_chunks

# Jupyter Book loads them and they do not say whether pages may be read side by side: the first numbers the sections
# when all are read, the second only acts where a PDF is made through LaTeX
SILENT = ("sphinx_multitoc_numbering", "sphinx_jupyterbook_latex")
WORK = {"{code-cell}": 1, "figures.": 3, ".. auto": 1}  # what takes long: cells, figures drawn in them, docstrings


def _allow(app, env, names: list[str]) -> None:
    app.parallel = max(app.parallel, os.cpu_count() or 1)
    for name in SILENT:
        if name in app.extensions:
            app.extensions[name].parallel_read_safe = True
    if len(names) > 1:
        names[:] = shared_out({name: _work(env.doc2path(name)) for name in names}, app.parallel)


def shared_out(work: dict[str, int], n_processes: int) -> list[str]:
    """Return pages in an order in which each process reads its share of the work, pages without cells first.

    Sphinx gives each process a slice of the list and, when one is done, the next slice: the last ones are the lightest.
    """
    sizes = [len(chunk) for chunk in make_chunks(list(work), n_processes)]
    shares = [[] for _ in sizes]
    for name in sorted(work, key=work.get, reverse=True):
        open_now = [i for i, size in enumerate(sizes) if len(shares[i]) < size]
        least = min(open_now[:n_processes], key=lambda i: sum(work[other] for other in shares[i]))
        shares[least].append(name)
    return [name for share in shares for name in sorted(share, key=work.get)]


def _work(path: str) -> int:
    text = Path(path).read_text(encoding="utf-8")
    return sum(weight * text.count(mark) for mark, weight in WORK.items())


def setup(app) -> dict:
    """Register with Sphinx; where processes cannot be forked, Sphinx goes on with one."""
    app.connect("env-before-read-docs", _allow)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
