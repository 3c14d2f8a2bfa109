"""Sphinx extension: lists that Sphinx and docutils get wrong become lists to a screen reader too."""

import re

# a signature over several lines comes as a list of definitions without terms
PARAMETERS = re.compile(r'<dl>\n((?:<dd><em class="sig-param">.*?</dd>\n)+)</dl>')
LINE = re.compile(r"<dd>(.*?)</dd>")
# its items may only stand in a bibliography, docutils puts them in a list
CITATION = 'role="doc-biblioentry"'


def accessible(body: str) -> str:
    """Return a page's HTML with signatures as lines of text and citations as items of their list."""
    body = PARAMETERS.sub(lambda found: f'<span class="sig-lines">{LINE.sub(_line, found[1])}</span>', body)
    return body.replace(CITATION, 'role="listitem"')


def _line(found: re.Match) -> str:
    return f'<span class="sig-line">{found[1]}</span>'


def _page(app, name: str, template: str, context: dict, doctree) -> None:
    if "body" in context:
        context["body"] = accessible(context["body"])


def setup(app) -> dict:
    """Register with Sphinx."""
    app.connect("html-page-context", _page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
