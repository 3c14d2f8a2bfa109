"""Sphinx extension: docstrings as the page on functions shows them.

Of a module the first paragraph is shown, the rest is for who reads the code; the comment beside a field of a class is
shown as its description, so that it is written once.
"""

import ast
import inspect
import re
from textwrap import dedent


def fields(cls: type) -> dict[str, str]:
    """Return the comments beside the fields of a class body, by name; empty if there is no source."""
    try:
        lines = dedent(inspect.getsource(cls)).splitlines()
    except (OSError, TypeError):
        return {}
    found = {}
    for node in ast.parse("\n".join(lines)).body[0].body:
        name = getattr(node, "target", None) or next(iter(getattr(node, "targets", [])), None)
        comment = re.search(r"\s# (.+)$", lines[node.lineno - 1])
        if isinstance(name, ast.Name) and comment:
            found[name.id] = comment[1]
    return found


def _literal(text: str) -> str:
    """Return text in which quotes stay straight and ``name@variant`` is no address."""
    return re.sub(r'[\w.]*\[?"[^"]+"\]?|\w+@\w+', r"``\g<0>``", text)


def _signature(app, what: str, name: str, obj, options, signature: str | None, returned: str | None):
    if getattr(obj, "_is_protocol", False):  # nobody makes one
        return "", None
    if signature:
        return signature.replace("<factory>", "...").replace("~typing.", ""), returned
    return None


def _process(app, what: str, name: str, obj, options, lines: list[str]) -> None:
    if what == "module":
        lines[:] = lines[: lines.index("")] if "" in lines else lines
    elif inspect.isclass(obj) and (described := fields(obj)):
        lines += ["", *(f"* ``{field}``: {_literal(text)}" for field, text in described.items()), ""]


def _property(app, what: str, name: str, obj, options, lines: list[str]) -> None:
    if what == "property":
        lines.insert(0, "")  # napoleon takes what stands before a colon in the first line for a type


def setup(app) -> dict:
    """Register with Sphinx, before and after napoleon, which translates numpy sections at priority 500."""
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-process-docstring", _property, priority=100)
    app.connect("autodoc-process-docstring", _process, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
