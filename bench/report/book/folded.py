"""Sphinx extension: parameters and set-up of a chapter are folded into one block, which a reader can open.

In text and notebook they stand before the result, where papermill and JupyterLab need them; a page of the book starts
with its finding. The block is the whole section that holds the cell tagged ``parameters``. It is a ``<details>``, so it
opens with a click or a key and needs no script, and browsers open it for a link to anything in it.
"""

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

CELL = "tag_parameters"  # class that MyST-NB gives the cell


class Folded(nodes.General, nodes.Element):
    """A block whose content is hidden until a reader opens it; ``summary`` is what stands there instead."""


class FoldParameters(SphinxPostTransform):
    """Fold the parameters of a page when all else is resolved: contents and links know the section as it was."""

    default_priority = 900
    formats = ("html",)

    def run(self, **_) -> None:
        """Fold them."""
        fold(self.document)


def fold(page: nodes.document) -> None:
    """Wrap the section with the parameters in a folded block; a cell outside any section stays as it is."""
    for section in list(page.findall(_has_parameters)):
        title = section.next_node(nodes.title).astext()
        block = Folded(summary=f"{title} and set-up")
        section.replace_self(block)
        block += section


def _has_parameters(node: nodes.Node) -> bool:
    if not (isinstance(node, nodes.section) and isinstance(node.parent, nodes.section)):  # the page is a section too
        return False
    return any(CELL in child.get("classes", []) for child in node.children)


def _visit(writer, node: Folded) -> None:
    writer.body.append(f'<details class="bench-folded">\n<summary>{writer.encode(node["summary"])}</summary>\n')


def _depart(writer, node: Folded) -> None:
    writer.body.append("</details>\n")


def setup(app) -> dict:
    """Register with Sphinx."""
    app.add_node(Folded, html=(_visit, _depart))
    app.add_post_transform(FoldParameters)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
