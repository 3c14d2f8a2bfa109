"""Sphinx extension: pages of the book load nothing from other hosts.

Formulas become MathML, which browsers draw themselves, and charts share one copy of the Vega libraries in `_static`.
"""

import os
from pathlib import Path

from docutils import nodes
from sphinx.util.math import get_node_equation_number

from bench.report.hover import IN_BOOK, vega_lite_version

VEGA_FILE = "vega.js"


def mathml(tex: str, display: str = "inline") -> str:
    """Return a formula as a MathML element.

    Parameters
    ----------
    tex
        Formula in TeX, without dollar signs.
    display
        ``inline`` or ``block``.

    Raises
    ------
    ValueError
        The formula uses TeX that cannot be converted.
    """
    from latex2mathml.converter import convert

    try:
        element = convert(tex, display=display)
    except Exception as error:
        raise ValueError(f"cannot turn the formula {tex!r} into MathML: {error!r}; write it in simpler TeX") from error
    if "\\" in element:
        raise ValueError(f"the formula {tex!r} has a command without MathML; write it in simpler TeX: {element}")
    return element


def _visit_inline(writer, node: nodes.math) -> None:
    writer.body.append(f'<span class="math notranslate">{mathml(node.astext())}</span>')
    raise nodes.SkipNode


def _visit_display(writer, node: nodes.math_block) -> None:
    writer.body.append(writer.starttag(node, "div", CLASS="math notranslate"))
    if node["number"]:
        writer.body.append(f'<span class="eqno">({get_node_equation_number(writer, node)})')
        writer.add_permalink_ref(node, "Link to this equation")
        writer.body.append("</span>")
    writer.body.append(mathml(node.astext(), "block") + "</div>\n")
    raise nodes.SkipNode


def write_vega(app, error: Exception | None) -> None:
    """Write Vega, Vega-Lite and Vega-Embed, as one script, into the built book."""
    if error is None and app.builder.format == "html":
        import vl_convert

        bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=vega_lite_version())
        path = Path(app.outdir, "_static", VEGA_FILE)
        # a function of its own: the bundle's short names would clash with those of other scripts
        path.write_text("(() => {" + bundle + "})();\n", encoding="utf-8")


def setup(app) -> dict:
    """Register with Sphinx."""
    os.environ[IN_BOOK] = "1"  # kernels of the chapters inherit it
    app.add_html_math_renderer("mathml", (_visit_inline, None), (_visit_display, None))
    app.connect("build-finished", write_vega)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
