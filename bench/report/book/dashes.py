"""Sphinx extension: a number in a sentence that nothing is recorded for is a dash, in whatever format the text asks."""

from myst_nb.core import variables
from myst_nb.ext.glue import crossref, roles

from bench.report.prose import DASH

_formatted = variables.format_plain_text


def formatted(text: str, spec: str) -> str:
    """Return what a sentence shows of a glued value, as MyST-NB does, and a dash where it is one."""
    return DASH if text.strip("'\"") == DASH else _formatted(text, spec)


def setup(app) -> dict:
    """Register with Sphinx: MyST-NB formats with ours."""
    roles.format_plain_text = crossref.format_plain_text = formatted
    return {"parallel_read_safe": True, "parallel_write_safe": True}
