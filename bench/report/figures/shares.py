"""The share of the training cells that a run really had: one cell of each of many types may be more than was asked."""

import numpy as np
import pandas as pd

ROUNDING = 0.1  # of the share asked for: what rounding to whole cells may change without a word


def with_true_shares(runs: pd.DataFrame) -> pd.DataFrame:
    """Return runs whose ``fraction`` is the true share of the training cells, and ``asked`` the one asked for.

    A subset has at least one cell of every type, so that two small shares may be the same cells; such runs count once.
    Where the true share is not known, or is what was asked for but for rounding, the one asked for stays.
    """
    runs = runs.reset_index(drop=True)
    asked, true = runs["fraction"], runs["train_share"].astype(float)
    true = true.round(4).where((true - asked).abs() > ROUNDING * asked, asked)
    runs = runs.assign(fraction=true, asked=asked)
    same = ["experiment", "tier", "title", "series", "metric", "seed", "fraction", "n_train"]
    again = runs.sort_values("asked", kind="stable").duplicated(same) & (runs["subset"] == "paired")
    moved = runs["fraction"] != runs["asked"]
    twice = again.reindex(runs.index) & moved
    names = runs[moved].groupby("fraction")["asked"].agg(lambda shares: tuple(sorted(set(shares))))
    runs = runs[~twice]
    return runs.assign(asked=[names.get(true, (true,)) for true in runs["fraction"]])


def share_names(runs: pd.DataFrame) -> dict[float, str]:
    """Return what readers see each share of the training cells called, and what was asked for where that differs."""
    names = {}
    asked = runs["asked"] if "asked" in runs else runs["fraction"].map(lambda share: (share,))
    for true, several in zip(runs["fraction"], asked, strict=True):
        several = several if isinstance(several, tuple) else (true,)
        if several != (true,) or true not in names:
            names[true] = _said(true, several)
    return {share: names[share] for share in sorted(names) if np.isfinite(share)}


def _said(true: float, asked: tuple[float, ...]) -> str:
    if asked == (true,):
        return f"{100 * true:g} %"
    shares = " and ".join(f"{100 * share:g} %" for share in asked)
    same = "the same " if len(asked) > 1 else ""
    return f"{shares} ({same}{100 * true:.3g} % of the cells: one of each type at least)"
