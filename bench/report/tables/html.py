"""How the book shows a table, and how a notebook does, which has no style sheet of the book's."""

import os

import numpy as np
import pandas as pd

from bench.report.hover import IN_BOOK

NOTEBOOK = (  # what `_static/book.css` does in the book, as far as reading needs it
    ".bench-table-box{overflow:auto;max-width:100%;max-height:36rem}"
    ".bench-table-box :is(th,td){text-align:left;vertical-align:top;white-space:nowrap}"
    ".bench-table-box .bench-text :is(th,td){white-space:normal;min-width:5rem}"
    ".bench-table-box small{display:block;opacity:.75}"
)


def show(table: pd.DataFrame, digits: int = 3):
    """Return a table as the book shows it: repeated names once, long text wrapped, wide tables in a scrolling box."""
    from IPython.display import HTML

    flat = table.rename_axis(columns=None).reset_index().rename(columns={"index": ""})
    names = flat.iloc[:, : table.index.nlevels].astype(str)
    same = (names == names.shift()).cummin(axis=1)  # as in the row above, as are all names to the left
    for level in range(table.index.nlevels - 1):
        flat.isetitem(level, flat.iloc[:, level].mask(same.iloc[:, level], ""))
    for column in flat.select_dtypes("Int64"):
        flat[column] = flat[column].astype(object).where(flat[column].notna(), np.nan)  # else NA is spelt out
    said = flat.iloc[:, table.index.nlevels :].select_dtypes("object").astype(str)  # names wrap by themselves
    text = said.map(len).to_numpy().max(initial=0) > 40
    html = flat.to_html(
        index=False,
        border=0,
        na_rep="–",
        classes=f"bench-table bench-index-{table.index.nlevels}" + " bench-text" * bool(text),
        float_format=lambda value: f"{value:,.{digits}f}",
    )
    return HTML(box(html, "table"))


def box(html: str, label: str) -> str:
    """Return a table in a box of its own that scrolls, with a name for readers who hear the page."""
    style = "" if os.environ.get(IN_BOOK) else f"<style>{NOTEBOOK}</style>"
    return f'{style}<div class="bench-table-box" tabindex="0" role="region" aria-label="{label}">{html}</div>'
