"""Is the network better than a baseline?  One row per data set and baseline, with a plain answer."""

import pandas as pd

from bench.core.errors import BenchError
from bench.core.places import to_run
from bench.report.figures import runs_of
from bench.report.figures.settings import parsed
from bench.report.figures.sources import with_titles, without_tier
from bench.report.figures.style import natural

ERRORS = 2  # standard errors that a difference must exceed to be told from none


def against_baselines(records: pd.DataFrame, tier: str, variant: str = "pretrained") -> pd.DataFrame:
    """Return the masked accuracy of a network beside that of each baseline on the same cells and masks.

    Parameters
    ----------
    records
        Of `bench.report.masked.masked_grid`.
    tier
        Which of them.
    variant
        Of the network.

    Returns
    -------
    Rows data set x network x baseline, means over the seeds of the masks.  ``answer`` is ``better``, ``worse``, or ``no
    difference shown`` where the difference is within two standard errors over cells.  The error is that of unpaired
    samples; the cells are the same, so the true one is smaller and the answer careful.

    Raises
    ------
    BenchError
        If the tier has no such network, or no baseline.
    """
    runs = runs_of(records)
    runs = runs[(runs["tier"] == tier) & runs["metric"].isin(["masked_accuracy", "masked_accuracy_se"])]
    runs = runs.assign(held_out=runs["hyperparameters"].map(_held_out))
    is_network = runs["model"] == "scbert"
    ours = _means(runs[is_network & (runs["variant"] == variant)], "network")
    theirs = _means(runs[~is_network], "baseline")
    if ours.empty or theirs.empty:
        raise BenchError(
            f"Tier {tier!r} has no scbert@{variant} or no baseline to compare; run: "
            f"{to_run('masked_pretraining', f'-p tier {tier}')}"
        )
    both = ours.merge(theirs, on=["title", "held_out"], suffixes=("_ours", "_theirs"))
    difference = both["masked_accuracy_ours"] - both["masked_accuracy_theirs"]
    error = (both["masked_accuracy_se_ours"] ** 2 + both["masked_accuracy_se_theirs"] ** 2) ** 0.5
    answer = pd.Series("no difference shown", both.index)
    answer = answer.mask(difference > ERRORS * error, "better").mask(difference < -ERRORS * error, "worse")
    scores = {"accuracy": both["masked_accuracy_ours"], "of the baseline": both["masked_accuracy_theirs"]}
    both["dataset"] = without_tier(both["title"])
    table = both[["dataset", "network", "baseline"]].assign(**scores, difference=difference, error=error, answer=answer)
    return table.set_index(["dataset", "network", "baseline"])


def _means(runs: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return accuracy and its error, means over the masks' seeds, of every series on every set of cells."""
    by = ["title", "held_out", "series"]
    table = runs.pivot_table(index=by, columns="metric", values="value").reset_index()
    names = sorted(set(table["series"]), key=natural)
    table["series"] = pd.Categorical(table["series"], names)
    return table.sort_values(by).astype({"series": str}).rename(columns={"series": name})


def _held_out(hyperparameters: str) -> str:
    """Return which cells were scored, as the settings of a record name them."""
    return str(parsed(hyperparameters).get("held_out", "other cells"))


def bins(records: pd.DataFrame, shares: pd.Series) -> pd.DataFrame:
    """Return what the bins are and how often they occur: columns are data sets, rows bins 0 to 5.

    Parameters
    ----------
    records
        Of `bench.report.masked.masked_grid`; of each data set the share of its replaced positions, best tier first.
    shares
        `bench.published.scbert.bin_shares`: of all entries of Panglao.
    """
    edges = ["0 to 1", "1 to 3", "3 to 7", "7 to 15", "15 to 31", "31 and more"]
    table = pd.DataFrame({"counts per 10,000": edges, "Panglao, all entries": shares}, index=shares.index)
    table["Panglao, bins 1–5"] = (shares / shares[1:].sum()).where(shares.index > 0)
    support = records[(records["metric"] == "support_bin") & (records["status"] == "ok")]
    support = support[support["class"].str.fullmatch("[0-9]+") & support["value"].notna()]
    support = with_titles(support, split=False).assign(held_out=support["hyperparameters"].map(_held_out))
    support["of"] = without_tier(support["title"]) + " (" + support["tier"] + ")"
    several = support.groupby("of")["held_out"].transform("nunique") > 1
    support["of"] = support["of"].where(~several, support["of"] + ", " + support["held_out"])
    for name, rows in support.groupby("of", sort=False):
        counts = rows.groupby(rows["class"].astype(int))["value"].mean().reindex(shares.index[1:], fill_value=0)
        table[f"{name}, replaced positions"] = counts / counts.sum()
    return table.rename_axis("bin")
