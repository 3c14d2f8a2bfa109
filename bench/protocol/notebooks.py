"""Execute a chapter with papermill, with parameters that are checked first."""

import ast
import sys
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.core.atomic import cannot_write, check_writable
from bench.core.errors import BenchError, Faults, listed, unknown
from bench.core.places import ROOT, is_checkout, needs_a_clone
from bench.protocol.place import notebooks_folder
from bench.protocol.planning import LEFT_OUT, planning
from bench.protocol.share import chosen

_ENGINE = {"kernel_name": "python3", "progress_bar": False, "extra_arguments": ["--IPKernelApp.log_level=50"]}


def chapters() -> dict[str, Path]:
    """Return the chapters by name."""
    return {path.stem: path for path in sorted((ROOT / "chapters").glob("*.md"))}


def find(name: str) -> Path:
    """Return the file of a chapter, given its name or its path, which is looked for here and then in the project.

    Raises
    ------
    BenchError
        If there is no such chapter, or it is no MyST text; or if the package is installed without chapters.
    """
    path, known = Path(name).expanduser(), chapters()
    if path.suffix == ".md" and path.is_file():
        return path
    if path.suffix == ".ipynb":
        raise BenchError(f"{name} is a notebook, a chapter is text: jupytext --to md:myst {name}, then bench run .md")
    if not is_checkout():
        raise needs_a_clone(f"No file {name}, and chapters need" if path.suffix else "Chapters need")
    if len(path.parts) > 1 and path.parts[-2] != "chapters":
        raise BenchError(f"No file {name}; chapters go by their names, such as {listed(known, most=3)}.")
    if path.stem not in known:
        raise unknown("chapter", path.stem, known)
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

    path = find(name)
    try:
        return parameters_of(jupytext.read(path))
    except (ValueError, SyntaxError, AttributeError) as error:  # of a user's own chapter
        raise BenchError(
            f"{path}: the parameters cell cannot be read, {error}; it holds constants alone, such as seeds = [0, 1]."
        ) from error


def check_parameters(name: str, parameters: Iterable[str]) -> None:
    """Raise a BenchError that says all of it if a chapter has no such parameters; papermill itself would only warn."""
    known, path, faults = known_parameters(name), find(name), Faults()
    if parameters and not known:
        raise BenchError(f"{path.name} has no parameters, since it runs no trials; leave {listed(parameters)} out.")
    for key in parameters:
        if key not in known:
            faults.add(str(unknown(f"parameter of {path.name}", key, known)))
    faults.raised()


def up_to_records(cells: list) -> list:
    """Return the cells of a chapter up to the last one that uses ``compute``: those after it only show records."""
    last = max(
        (i for i, cell in enumerate(cells) if cell.cell_type == "code" and "compute" in _names(cell.source)), default=-1
    )
    return cells[: last + 1]


def trials_of(name: str, parameters: dict[str, Any], left_out: Faults | None = None) -> list[tuple[Any, Callable]]:
    """Return the tasks that a chapter asks for with these parameters, each with the function that runs it.

    Its cells up to the last use of ``compute`` are executed in this process, without running a trial.

    Parameters
    ----------
    name, parameters
        As for `run`.
    left_out
        Takes what of its grids cannot be run; without it that is an error.

    Raises
    ------
    BenchError
        If there is no such chapter or parameter, or a cell raises, as one with commands of IPython does.
    """
    import jupytext

    check_parameters(name, parameters)
    path, space = find(name), {}
    with planning(left_out) as found:
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


def left_out(executed: Path) -> list[str]:
    """Return what grids of an executed notebook have said cannot be run; see `bench.protocol.trials.Grid.tasks`."""
    import nbformat

    cells = nbformat.read(executed, as_version=4).cells
    said = ["".join(o.text for o in cell.get("outputs", ()) if o.get("name") == "stderr") for cell in cells]
    found = (line.partition(LEFT_OUT)[2] for text in said for line in text.splitlines())
    return list(dict.fromkeys(filter(None, found)))


def run(name: str, parameters: dict[str, Any] | None = None, *, records_only: bool = False) -> Path:
    """Execute a chapter and return the executed notebook, in ``notebooks`` of the own results.

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

    from bench.protocol import kernels  # with what Jupyter imports

    path = find(name)
    notebook = jupytext.read(path)
    known = parameters_of(notebook)
    check_parameters(name, parameters or {})
    asked = ({"compute": True} if "compute" in known else {}) | (parameters or {})
    if records_only:
        notebook.cells = up_to_records(notebook.cells)
    tier = asked.get("tier", known.get("tier", "page"))
    share = chosen()
    output = notebooks_folder() / f"{path.stem}-{tier}{share.as_suffix if share else ''}.ipynb"
    check_writable(output.parent)
    kernels.use()
    with suppress(OSError):  # another user's, in a folder of both: papermill would write into it
        output.unlink()
    try:
        papermill.execute_notebook(notebook, output, asked, cwd=Path.cwd(), stderr_file=sys.stderr, **_ENGINE)
    except papermill.PapermillExecutionError as error:
        if error.ename == KeyboardInterrupt.__name__:  # Ctrl-C reached the kernel first
            raise KeyboardInterrupt from None
        if error.ename == BenchError.__name__:  # it says all there is to say
            raise BenchError(error.evalue) from error
        raise BenchError(f"{path.name} stopped: {error.ename}: {error.evalue}\n(traceback in {output})") from error
    except DeadKernelError as error:
        raise BenchError(
            f"{path.name} stopped: its process died outside a trial, as where memory runs out while data are read, or "
            "where a model's module crashes when it is imported: try bench check MODEL, and bench data FILE."
        ) from error
    except OSError as error:
        raise cannot_write(output.parent, error) from error
    return output
