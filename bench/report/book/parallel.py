"""Sphinx extension: the book is built by one process per core, which Jupyter Book's command line does not offer."""

import os

# Jupyter Book loads them and they do not say whether pages may be read side by side: the first numbers the sections
# when all are read, the second only acts where a PDF is made through LaTeX
SILENT = ("sphinx_multitoc_numbering", "sphinx_jupyterbook_latex")


def _allow(app, env, names: list[str]) -> None:
    app.parallel = max(app.parallel, os.cpu_count() or 1)
    for name in SILENT:
        if name in app.extensions:
            app.extensions[name].parallel_read_safe = True


def setup(app) -> dict:
    """Register with Sphinx; where processes cannot be forked, Sphinx goes on with one."""
    app.connect("env-before-read-docs", _allow)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
