"""What the book folds: the section with the parameters, and nothing else. In a browser: `test_book`."""

import pytest
from docutils import nodes
from docutils.utils import new_document

from bench.report.book.folded import Folded, fold


def section(name: str, *inside: nodes.Node) -> nodes.section:
    """Return a section with a title and an address."""
    return nodes.section("", nodes.title(text=name), *inside, ids=[name.lower()])


def cell(*tags: str) -> nodes.container:
    """Return a code cell as MyST-NB leaves it."""
    return nodes.container(classes=["cell", *(f"tag_{tag}" for tag in tags)])


def page(*inside: nodes.Node) -> nodes.document:
    """Return a page, folded."""
    document = new_document("page")
    document += section("Ablations", *inside)
    fold(document)
    return document


def test_the_section_with_the_parameters_is_one_block_with_its_title_and_address():
    kept = nodes.paragraph(text="None keeps what the tier says.")
    folded = page(section("Parameters", kept, cell("parameters"), cell()), section("Result", cell("hide-input")))
    (block,) = folded.findall(Folded)
    assert block["summary"] == "Parameters and set-up"
    (inside,) = block.children
    assert inside["ids"] == ["parameters"] and len(inside.children) == 4 and kept.parent is inside
    assert [part["ids"] for part in folded[0].children if isinstance(part, nodes.section)] == [["result"]]


@pytest.mark.parametrize("inside", [cell("parameters"), section("Result", cell("hide-input"))])
def test_a_page_without_a_section_for_them_stays_as_it_is(inside):
    assert list(page(inside).findall(Folded)) == []
