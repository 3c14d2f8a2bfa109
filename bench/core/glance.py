"""What a module of this project says in its text, found without importing it and all that it imports."""

import ast
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).parents[2]  # the folder that holds the package


@cache
def parsed(module: str) -> ast.Module:
    """Return the text of a module such as ``bench.datasets.hao``, parsed."""
    path = PROJECT.joinpath(*module.split(".")).with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def docstring(path: str) -> str:
    """Return what a function ``module:name`` says of itself, or an empty text where there is no such function."""
    module, _, name = path.partition(":")
    found = [one for one in parsed(module).body if isinstance(one, ast.FunctionDef) and one.name == name]
    return (ast.get_docstring(found[0]) or "") if found else ""


def texts(path: str) -> dict[str, str]:
    """Return the arguments that are plain text in ``name = Call(argument="text", ...)``, by name.

    Parameters
    ----------
    path
        ``module:name``; where there is no such statement nothing is returned.
    """
    module, _, name = path.partition(":")
    for statement in parsed(module).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name:
            given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in statement.value.keywords}
            return {argument: value for argument, value in given.items() if isinstance(value, str)}
    return {}
