"""How the book shows a table."""

import pandas as pd


def show(table: pd.DataFrame, digits: int = 3):
    """Return a table as the book shows it: repeated names once, long text wrapped, wide tables in a scrolling box."""
    from IPython.display import HTML

    flat = table.rename_axis(columns=None).reset_index().rename(columns={"index": ""})
    repeated = [flat.iloc[:, : level + 1].duplicated() for level in range(table.index.nlevels - 1)]
    for level, rows in enumerate(repeated):
        flat.isetitem(level, flat.iloc[:, level].mask(rows, ""))
    text = flat.select_dtypes("object").astype(str).map(len).to_numpy().max(initial=0) > 40
    html = flat.to_html(
        index=False,
        border=0,
        na_rep="–",
        classes=f"bench-table bench-index-{table.index.nlevels}" + " bench-text" * bool(text),
        float_format=lambda value: f"{value:,.{digits}f}",
    )
    return HTML(f'<div class="bench-table-box" tabindex="0" role="region" aria-label="table">{html}</div>')
