"""Altair charts that readers can hover over, in the built book and in JupyterLab, without a network.

The book's page shows a drawing with a text alternative at once; `_static/hover.js` then puts the live chart in its
place, with the Vega libraries that `book.offline` writes beside it. JupyterLab draws the specification itself.
"""

import base64
import html
import json
import os
from dataclasses import dataclass

IN_BOOK = "BENCH_BOOK"  # environment variable which `bench.report.book.offline` sets for the kernels it starts


@dataclass(frozen=True)
class HoverChart:
    """A chart as a notebook's output; see `hover`."""

    spec: dict
    alt: str

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        if os.environ.get(IN_BOOK):
            return {"text/html": self.page_html(), "text/plain": self.alt}
        # version 5 is what JupyterLab 4 draws; version 6 changed how Vega-Lite is packaged, not what a chart may say
        spec = {**self.spec, "$schema": "https://vega.github.io/schema/vega-lite/v5.json"}
        return {"application/vnd.vegalite.v5+json": spec, "image/svg+xml": self.svg(), "text/plain": self.alt}

    def page_html(self) -> str:
        """Return what the book's page contains: a drawing, and the specification for `_static/hover.js`."""
        drawing = base64.b64encode(self.svg().encode()).decode()
        image = f'<img class="bench-drawing" alt="{html.escape(self.alt)}" src="data:image/svg+xml;base64,{drawing}">'
        spec = json.dumps(self.spec, separators=(",", ":")).replace("<", "\\u003c")
        return f'<div class="bench-chart">{image}<script type="application/json">{spec}</script></div>'

    def svg(self) -> str:
        """Return the chart as a drawing."""
        import vl_convert

        return vl_convert.vegalite_to_svg(self.spec, vl_version=vega_lite_version())


def hover(chart, alt: str) -> HoverChart:
    """Make an Altair chart show its values under the pointer, online and offline.

    Parameters
    ----------
    chart
        An Altair chart of any kind, with its data inside.
    alt
        What the chart shows, in a sentence, for readers who do not see it.

    Raises
    ------
    ValueError
        The text alternative is empty.
    """
    if not alt.strip():
        raise ValueError("say in `alt` what the chart shows: some readers hear the page")
    import altair

    with altair.data_transformers.enable("default", max_rows=None):  # own runs may be many
        return HoverChart({**chart.to_dict(), "description": alt}, alt)


def vega_lite_version() -> str:
    """Return the Vega-Lite version, such as ``6.4``, that Altair writes."""
    import altair

    return ".".join(altair.SCHEMA_VERSION.lstrip("v").split(".")[:2])
