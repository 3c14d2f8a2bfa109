"""Which of the runs that a chapter asks for are there: a row per data set and model, a column per variant."""

from collections.abc import Mapping, Sequence

import pandas as pd

from bench.report.figures.style import VARIANTS, label_of
from bench.report.requested import seeds_of


def requested(
    records: pd.DataFrame, requests: Mapping[str, dict], tier: str, models: Sequence[str], first: str = "pretrained"
) -> pd.DataFrame:
    """Return how many seeds are recorded: rows data set x model, a column per variant; a dash was not asked for.

    Parameters
    ----------
    records, requests, tier, models
        As `bench.report.requested.seeds_of` takes them.
    first
        What readers see the variant called that goes by the name of the model alone.
    """
    seeds = seeds_of(records, requests, tier, models)
    names = {"": first} | {variant: label for variant, (label, *_) in VARIANTS.items()}
    seeds["text"] = seeds["seeds"].astype(str).replace("0", "none")
    seeds["model"] = seeds["model"].map(label_of)
    seeds["variant"] = seeds["variant"].map(lambda variant: names.get(variant, variant))
    rows, columns = dict.fromkeys(zip(seeds["dataset"], seeds["model"], strict=True)), seeds["variant"].unique()
    table = seeds.pivot(index=["dataset", "model"], columns="variant", values="text")
    shown = table.reindex(index=list(rows), columns=columns).fillna("–")
    return shown.rename_axis(index=["data", "model"], columns=None)
