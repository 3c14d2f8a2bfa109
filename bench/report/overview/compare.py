"""Published beside reproduced as two tidy tables: one row per number, and one per comparison behind a claim."""

import numpy as np
import pandas as pd

from bench.protocol.parameters import TIERS
from bench.report.effects import MIN_PAIRS, Effect, of_published, of_runs
from bench.report.overview.claims import CLAIMS, NONE, UNTESTED, Claim
from bench.report.overview.counterparts import Lookup, command, data_of, impossible, reproduced
from bench.report.overview.quantities import FAMILIES, PLACES, arms_of, quantities
from bench.report.overview.quantities import runs_of as published_runs
from bench.report.overview.training import training_effect
from bench.statistics.intervals import holm, published_ttest, t_interval

CASE = ["place", "dataset", "metric", "fraction"]
EMPTY = {"here": np.nan, "here_half_width": np.nan, "here_n": 0, "setting": "", "missing": "", "command": ""}
UNKNOWN = Effect(np.nan, "")


def numbers(records: pd.DataFrame) -> pd.DataFrame:
    """Return every published number with what each tier has beside it, a row per number, tier and data set.

    Parameters
    ----------
    records
        Of all experiments, as `bench.protocol.records.read` returns them.

    Returns
    -------
    The columns of `quantities`, ``number`` (its place in that table), tier, data, ``here`` (mean, or p of the published
    test on these runs), ``here_half_width`` (95 % t interval, nan below three runs), ``here_n``, ``setting`` (where
    several are recorded), ``difference`` (here - published) and its half width in the paper tier alone, since other
    tiers have other data; ``missing`` says why there is no value, ``command`` makes it.
    """
    runs, rows = Lookup(reproduced(records)), []
    for number, quantity in enumerate(quantities().itertuples(index=False)):
        for tier in TIERS:
            for data in data_of(quantity, tier) or ("",):
                known = {**quantity._asdict(), "number": number, "tier": tier, "data": data}
                rows += [known | found for found in _here(records, runs, quantity, tier, data)]
    table = pd.DataFrame(rows)
    same_data = table["tier"].eq("paper") & table["statistic"].eq("mean")
    table["difference"] = (table["here"] - table["value"]).where(same_data)
    table["difference_half_width"] = np.hypot(table["here_half_width"], table["half_width"]).where(same_data)
    return table


def comparisons(records: pd.DataFrame) -> pd.DataFrame:
    """Return every comparison behind a claim, published and in each tier, with its verdict.

    Returns
    -------
    Columns ``claim`` (its place in `CLAIMS`), says, same (whether that is "no difference"), chapter, place, dataset
    (published name), metric, fraction, tier (``published`` or a tier), data, value, low, high (of the difference, in
    the direction that is claimed), how, p, p_holm (corrected for all comparisons of one place and tier), verdict,
    missing and command.
    """
    runs, table = Lookup(reproduced(records)), quantities()
    behind = {case: list(group.itertuples(index=False)) for case, group in table.groupby(CASE)}
    rows = []
    for index, claim in enumerate(CLAIMS):
        cases = [(d, metric, share) for d in claim.datasets for metric in claim.cases for share in claim.cases[metric]]
        for case in cases:
            like = next(quantity for quantity in behind[claim.place, *case] if claim.covers(quantity))
            known = dict(zip(CASE, (claim.place, *case), strict=True)) | {"chapter": like.chapter}
            found = [_published(claim, like), *_reproduced(claim, like, records, runs)]
            rows += [{"claim": index, "says": claim.says, "same": claim.same} | known | row for row in found]
    return _decided(pd.DataFrame(rows))


def _decided(table: pd.DataFrame) -> pd.DataFrame:
    """Return comparisons with corrected p values and the verdicts that follow, where none is given already."""
    tested = table[table["verdict"].eq("") & table["p"].notna()]
    corrected = tested.groupby(["place", "tier"])["p"].transform(holm)
    table["p_holm"] = corrected.reindex(table.index)
    decided = [CLAIMS[row.claim].verdict(row.p_holm, row.inside) for row in table.itertuples()]
    return table.assign(verdict=table["verdict"].where(table["verdict"] != "", decided)).drop(columns="inside")


def _here(records: pd.DataFrame, runs: Lookup, quantity, tier: str, data: str) -> list[dict]:
    """Return what a tier has beside one number, a row per setting, or one row that says what is missing."""
    if reason := impossible(quantity, tier, data):
        return [EMPTY | {"missing": reason}]
    if quantity.chapter == "sensitivity":
        found = training_effect(records, tier, data, quantity.metric)
        rows = [] if found is None else [EMPTY | {"here": found.value, "setting": found.how}]
    elif quantity.statistic == "p":
        rows = _test([runs.find(quantity, tier, data, arm) for arm in arms_of(quantity)])
    else:
        groups = runs.find(quantity, tier, data, (quantity.model, quantity.variant)).groupby("setting")
        rows = [EMPTY | {"setting": setting} | _mean(group["value"].to_numpy()) for setting, group in groups]
    return rows or [EMPTY | {"missing": NONE, "command": command(quantity, tier, data)}]


def _mean(values: np.ndarray) -> dict:
    half = t_interval(values).half_width if len(values) >= MIN_PAIRS else np.nan
    return {"here": float(values.mean()), "here_half_width": half, "here_n": len(values)}


def _test(arms: list[pd.DataFrame]) -> list[dict]:
    """Return the p value of the published test on this project's runs."""
    n = min(map(len, arms))
    if not n:
        return []
    if any(arm["setting"].nunique() > 1 for arm in arms):
        return [EMPTY | {"missing": "several settings, no test"}]
    if n < MIN_PAIRS:
        return [EMPTY | {"missing": f"{n} run{'s' * (n > 1)} of an arm, no test"}]
    return [EMPTY | {"here": float(published_ttest(*(arm["value"] for arm in arms)).pvalue), "here_n": n}]


def _published(claim: Claim, quantity) -> dict:
    if claim.b is None:
        found = Effect(quantity.value, quantity.detail)
    else:
        runs = published_runs(next(place for place in PLACES if place.name == claim.place))
        case = ["dataset", "metric", "fraction"]
        runs = runs[(runs[case] == [getattr(quantity, name) for name in case]).all(axis=1)]
        found = of_published(*(_arm(runs, *arm) for arm in (claim.a, claim.b)))
    return _row(claim, "published", quantity.dataset, found, UNTESTED if claim.b is None else "")


def _arm(runs: pd.DataFrame, model: str, variant: str) -> pd.DataFrame:
    return runs[runs["model"].eq(model) & runs["variant"].eq(variant)]


def _reproduced(claim: Claim, quantity, records: pd.DataFrame, runs: Lookup) -> list[dict]:
    """Return one comparison of a claim in every tier and data set."""
    rows = []
    for tier in TIERS:
        for data in data_of(quantity, tier) or ("",):
            arms = [quantity._replace(variant=arm[1]) for arm in (claim.a, claim.b) if arm]
            if reason := next(filter(None, (impossible(arm, tier, data) for arm in arms)), ""):
                rows.append(_row(claim, tier, data, UNKNOWN, UNTESTED, missing=reason))
            elif found := _measured(claim, quantity, tier, data, records, runs):
                rows.append(_row(claim, tier, data, found, UNTESTED if quantity.metric == FAMILIES else ""))
            else:
                makes = command(quantity, tier, data)
                rows.append(_row(claim, tier, data, UNKNOWN, NONE, missing=NONE, command=makes))
    return rows


def _measured(claim: Claim, quantity, tier: str, data: str, records: pd.DataFrame, runs: Lookup) -> Effect | None:
    if claim.b is None:
        return training_effect(records, tier, data, quantity.metric)
    arms = [runs.find(quantity, tier, data, arm) for arm in (claim.a, claim.b)]
    if any(arm.empty for arm in arms):
        return None
    errors = [runs.find(quantity, tier, data, arm, "masked_accuracy_se") for arm in (claim.a, claim.b)]
    return of_runs(*arms, errors if quantity.metric == "masked_accuracy" else ())


def _row(claim: Claim, tier: str, data: str, found: Effect, verdict: str, missing: str = "", command: str = "") -> dict:
    """Return one comparison; where the verdict is empty, the corrected p value will decide."""
    (low, high), (p, inside) = found.interval(claim.level), claim.p(found)
    of = {"tier": tier, "data": data, "value": found.value, "low": low, "high": high, "how": found.how}
    return of | {"p": p, "inside": inside, "verdict": verdict, "missing": missing, "command": command}
