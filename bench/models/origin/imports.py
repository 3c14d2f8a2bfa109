"""Read from a module's source what it imports, and what of that its source does not tell."""

import ast
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import resolve_name

from bench.models.origin.modules import Module

BY_NAME = {"import_module", "__import__"}
FROM_ELSEWHERE = {"exec", "run_path", "run_module", "spec_from_file_location"}  # run code that no import names


@dataclass(frozen=True)
class Imports:
    """Names of modules, or of attributes of modules; and in words what cannot be told."""

    names: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)


def imports_of(module: Module, content: bytes) -> Imports:
    """Return all that a module imports, at once or later, were it in a branch that is never taken.

    Parameters
    ----------
    module
        One with a file.
    content
        Of the file.
    """
    if not module.file.endswith(".py"):
        return Imports(missed=[f"what {module.name}, which is compiled, imports"])
    try:
        nodes = list(ast.walk(ast.parse(content)))
    except (SyntaxError, ValueError, RecursionError):  # of an import that may never be reached
        return Imports(missed=[f"what {module.name}, which is no valid Python, imports"])
    found = Imports()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.names.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for package in _absolute("." * node.level + (node.module or ""), module):
                found.names.extend(f"{package}.{alias.name}" for alias in node.names)  # a module or an attribute
        elif isinstance(node, ast.Call):
            _add_call(found, node, module)
    found.missed.extend(f"the file {name} that {module.name} names" for name in _files(nodes, module))
    return found


def _add_call(found: Imports, node: ast.Call, module: Module) -> None:
    """Add what a call imports, if it is one of those that do."""
    called = getattr(node.func, "id", getattr(node.func, "attr", ""))
    name = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
    if called in BY_NAME and isinstance(name, str):
        found.names.extend(_absolute(name, module))
    elif called in BY_NAME | FROM_ELSEWHERE:
        found.missed.append(f"what {module.name} loads in line {node.lineno} with {called}")


def _absolute(name: str, module: Module) -> list[str]:
    with suppress(ImportError):  # beyond the outermost package
        return [resolve_name(name, module.package)]
    return []


def _files(nodes: Iterable[ast.AST], module: Module) -> Iterator[str]:
    """Yield the files that a module names in its text, where they are there; defaults are hyper-parameters' concern."""
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    defaults = [node.value for node in nodes if isinstance(node, ast.AnnAssign)]
    for node in nodes:
        defaults += [*node.defaults, *node.kw_defaults] if isinstance(node, ast.arguments) else []
    texts -= {getattr(default, "value", None) for default in defaults}
    for text in sorted(texts):
        places = (os.curdir, os.path.dirname(module.file))
        if os.path.splitext(text)[1] and any(os.path.isfile(os.path.join(place, text)) for place in places):
            yield text
