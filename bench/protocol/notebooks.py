"""Execute a chapter with papermill, with parameters that are checked first."""

import ast
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.core.atomic import cannot_write, check_writable
from bench.core.errors import BenchError, unknown
from bench.core.provenance import ROOT
from bench.protocol.planning import planning
from bench.protocol.records import own_folder

_ENGINE = {"kernel_name": "python3", "progress_bar": False, "extra_arguments": ["--IPKernelApp.log_level=50"]}


def chapters() -> dict[str, Path]:
    """Return the chapters by name."""
    return {path.stem: path for path in sorted((ROOT / "chapters").glob("*.md"))}


def find(name: str) -> Path:
    """Return the file of a chapter, given its name or its path."""
    path = Path(name)
    if path.suffix == ".md" and path.is_file():
        return path
    known = chapters()
    if path.stem not in known:
        raise unknown("chapter", name, known)
    return known[path.stem]


def parameters_of(notebook) -> dict[str, Any]:
    """Return the constants of the cell tagged ``parameters``, or nothing where there is no such cell."""
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            statements = ast.parse(cell.source).body
            return {s.targets[0].id: ast.literal_eval(s.value) for s in statements if isinstance(s, ast.Assign)}
    return {}


def known_parameters(name: str) -> dict[str, Any]:
    """Return the constants in a chapter's ``parameters`` cell."""
    import jupytext

    return parameters_of(jupytext.read(find(name)))


def check_parameters(name: str, parameters: dict[str, Any]) -> None:
    """Raise a BenchError if a chapter has no such parameter; papermill itself would only warn."""
    known = known_parameters(name)
    for key in parameters:
        if key not in known:
            raise unknown(f"parameter of {find(name).name}", key, known)


def up_to_records(cells: list) -> list:
    """Return the cells of a chapter up to the last one that uses ``compute``: those after it only show records."""
    last = max(
        (i for i, cell in enumerate(cells) if cell.cell_type == "code" and "compute" in _names(cell.source)), default=-1
    )
    return cells[: last + 1]


def trials_of(name: str, parameters: dict[str, Any]) -> list[tuple[Any, Callable]]:
    """Return the tasks that a chapter asks for with these parameters, each with the function that runs it.

    Its cells up to the last use of ``compute`` are executed in this process, without running a trial.

    Raises
    ------
    BenchError
        If there is no such chapter or parameter, or a cell raises, as one with commands of IPython does.
    """
    import jupytext

    check_parameters(name, parameters)
    path, space = find(name), {}
    with planning() as found:
        for cell in up_to_records(jupytext.read(path).cells):
            if cell.cell_type == "code":
                _execute(cell.source, path.name, space)
            if "parameters" in cell.metadata.get("tags", []):
                space.update({"compute": True} | parameters)
    return found


def _execute(source: str, name: str, space: dict[str, Any]) -> None:
    try:
        exec(compile(source, name, "exec"), space)  # the project's own text
    except BenchError:
        raise
    except Exception as error:  # whatever a user's cell raises
        raise BenchError(f"{name} cannot be planned: {type(error).__name__}: {error}.") from error


def _names(source: str) -> set[str]:
    """Return the names that a cell reads; one with commands of IPython reads none."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return set()
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def run(name: str, parameters: dict[str, Any] | None = None, *, records_only: bool = False) -> Path:
    """Execute a chapter and return the executed notebook, in ``_build/runs`` beside the results.

    Parameters
    ----------
    name
        A chapter's name or path.
    parameters
        In the place of the constants in its ``parameters`` cell; ``compute`` is True unless given.
    records_only
        Stop where the records are made: no figures, no tables.

    Raises
    ------
    BenchError
        If there is no such chapter or parameter, the disk is full or read-only, or the chapter raises or dies.
    """
    import jupytext

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")  # its widgets are not used here
        import papermill
        from nbclient.exceptions import DeadKernelError

    path = find(name)
    notebook = jupytext.read(path)
    known = parameters_of(notebook)
    check_parameters(name, parameters or {})
    asked = ({"compute": True} if "compute" in known else {}) | (parameters or {})
    if records_only:
        notebook.cells = up_to_records(notebook.cells)
    tier = asked.get("tier", known.get("tier", "page"))
    output = own_folder().parent / "runs" / f"{path.stem}-{tier}.ipynb"
    check_writable(output.parent)
    try:
        papermill.execute_notebook(notebook, output, asked, cwd=Path.cwd(), stderr_file=sys.stderr, **_ENGINE)
    except papermill.PapermillExecutionError as error:
        if error.ename == KeyboardInterrupt.__name__:  # Ctrl-C reached the kernel first
            raise KeyboardInterrupt from None
        # An error of ours says all there is to say; any other needs the traceback, which the notebook keeps.
        reason = error.evalue if error.ename == BenchError.__name__ else f"{error.ename}: {error.evalue}"
        raise BenchError(f"{path.name} stopped: {reason}\n(traceback in {output})") from error
    except DeadKernelError as error:
        raise BenchError(
            f"{path.name} stopped: its process died outside a trial, as where memory runs out while data are read, or "
            "where a model's module crashes when it is imported: try bench check MODEL, and bench data FILE."
        ) from error
    except OSError as error:
        raise cannot_write(output.parent, error) from error
    return output
