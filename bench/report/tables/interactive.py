"""A table that readers of the book sort, filter and download, with `_static/interactive.js` and no library.

itables would do the same with DataTables and jQuery inside each page (about half a megabyte), in a look of its own for
light and dark.  What is asked for here are three plain things, and the table must stay one without JavaScript, in print
and in JupyterLab: so Python writes an ordinary HTML table, and a script of our own adds what a pointer can do with it.
"""

import csv
import html
import io
import json
from typing import NamedTuple

import pandas as pd

from bench.report.tables.html import box


class Cell(NamedTuple):
    """What one cell shows, and what it is sorted and chosen by."""

    text: str
    notes: tuple[str, ...] = ()  # smaller, in lines of their own
    sort: float | str | None = None  # None: the text
    choices: tuple[str, ...] = ()  # what a menu over the column finds it by; (): the text
    link: str = ""  # address behind the text


def interactive(table: pd.DataFrame, name: str, title: str, *, menus=(), tidy: pd.DataFrame | None = None, row=""):
    """Return a table of `Cell` as HTML: sortable by its headers, filtered by words and menus, downloadable as CSV.

    Parameters
    ----------
    table
        Text or `Cell`, a column each.
    name
        Of the file, and start of the ids of the controls.
    title
        What the table holds, for readers who hear the page.
    menus
        Columns with a menu of their values.
    tidy, row
        What the CSV holds: rows whose column ``row`` says to which row of the table they belong; without it, the texts.
    """
    from IPython.display import HTML

    cells = table.map(lambda value: value if isinstance(value, Cell) else Cell(str(value)))
    head = "".join(f"<th scope='col'{' data-menu' if name in menus else ''}>{html.escape(name)}</th>" for name in table)
    body = "".join(f"<tr>{''.join(map(_cell, values))}</tr>" for values in cells.itertuples(index=False, name=None))
    lines = _lines(cells.map(lambda cell: cell.text), None) if tidy is None else _lines(tidy, row)
    data = json.dumps(lines, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    label = html.escape(title, quote=True)
    whole = f'<table class="bench-table bench-text"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return HTML(
        f'<div class="bench-interactive" data-name="{html.escape(name)}" data-title="{label}">'
        f"{box(whole, label)}"
        f'<script type="application/json">{data}</script></div>'
    )


def _cell(cell: Cell) -> str:
    text = html.escape(cell.text)
    text = f'<a href="{html.escape(cell.link)}">{text}</a>' if cell.link else text
    notes = "".join(f"<small>{html.escape(note)}</small>" for note in cell.notes)
    sort = "" if cell.sort is None else f' data-sort="{html.escape(str(cell.sort))}"'
    choices = f' data-choices="{html.escape("|".join(cell.choices))}"' if cell.choices else ""
    return f"<td{sort}{choices}>{text}{notes}</td>"


def _lines(tidy: pd.DataFrame, row: str | None) -> list[str]:
    """Return the CSV in parts: the header, then for each row of the table its lines."""
    belongs = pd.Series(range(len(tidy)), tidy.index) if row is None else tidy[row]
    tidy = tidy.drop(columns=[row] if row else [])
    parts = [_csv([list(tidy)])]
    for _, group in tidy.groupby(belongs.to_numpy()):
        parts.append(_csv(group.itertuples(index=False, name=None)))
    return parts


def _csv(rows) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([f"{v:.6g}" if isinstance(v, float) else v for v in row] for row in rows)
    return buffer.getvalue()
