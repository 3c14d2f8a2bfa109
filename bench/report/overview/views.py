"""The overview's tables as readers see them: one row per published number or comparison, a column per tier."""

import pandas as pd

from bench.protocol.parameters import TIERS
from bench.report.figures.style import TIERS as TITLES
from bench.report.overview.cells import (
    anchor,
    claims_of,
    data,
    difference,
    judged,
    metric,
    named,
    page,
    published,
    reproduced,
    share,
)
from bench.report.overview.claims import CLAIMS, LEVEL, LEVEL_SAME, VERDICTS
from bench.report.tables.html import box
from bench.report.tables.interactive import interactive
from bench.statistics.intervals import ALPHA, MARGIN

CSV_NUMBERS = ["number", "place", "dataset", "model", "variant", "metric", "fraction", "statistic", "value"]
CSV_NUMBERS += ["half_width", "detail", "tier", "data", "setting", "here", "here_half_width", "here_n", "difference"]
CSV_NUMBERS += ["difference_half_width", "claims", "missing", "command", "chapter"]
PUBLISHED_COLUMNS = {"value": "published", "half_width": "published_half_width", "detail": "published_detail"}
CSV_CLAIMS = ["row", "says", "place", "dataset", "metric", "fraction", "tier", "data", "value", "low", "high", "how"]
CSV_CLAIMS += ["p", "p_holm", "verdict", "missing", "command", "chapter"]


def numbers_table(numbers: pd.DataFrame, comparisons: pd.DataFrame, commands: list[str]):
    """Return every published number, one row each, as an interactive table.

    Parameters
    ----------
    numbers, comparisons
        Of `bench.report.overview.compare`.
    commands
        Of `commands_of`: a number without a record links to the command that makes it.
    """
    rows, said = [], claims_of(numbers, comparisons)
    for number, group in numbers.groupby("number", sort=False):
        first = group.iloc[0]
        row = named(first) | {"Published": published(first), "Claim here": said[number]}
        row |= {TITLES[tier]: reproduced(group[group["tier"] == tier], commands) for tier in TIERS}
        row["Difference"] = difference(group)
        rows.append(row)
    tidy = numbers.assign(claims=numbers["number"].map(lambda n: "; ".join((said[n].text, *said[n].notes))))
    menus = ["In the paper", "Data", "Metric", "Claim here", *(TITLES[tier] for tier in TIERS)]
    title = "Every published number beside what is reproduced"
    tidy = tidy[CSV_NUMBERS].rename(columns=PUBLISHED_COLUMNS)
    return interactive(pd.DataFrame(rows), "numbers", title, menus=menus, tidy=tidy, row="number")


def claims_table(comparisons: pd.DataFrame, commands: list[str]):
    """Return every comparison behind a claim, one row each, as an interactive table."""
    rows, by = [], ["claim", "place", "dataset", "metric", "fraction"]
    for _, group in comparisons.groupby(by, sort=False):
        first = group.iloc[0]
        row = {"Claim": first["says"], "In the paper": page(first), "Data": data(first["dataset"])}
        row |= {"Metric": metric(first["metric"]), "Training cells": share(first["fraction"])}
        for tier, title in TITLES.items():
            row[title] = judged(group[group["tier"] == tier], commands)
        rows.append(row)
    tidy = comparisons.assign(row=comparisons.groupby(by, sort=False).ngroup())[CSV_CLAIMS]
    menus = ["Claim", "In the paper", "Data", "Metric", "Published", *(TITLES[tier] for tier in TIERS)]
    return interactive(pd.DataFrame(rows), "claims", "The paper's claims, re-tested", menus=menus, tidy=tidy, row="row")


def commands_of(*tables: pd.DataFrame) -> list[str]:
    """Return the commands that make what has no record yet, tier by tier, each once."""
    found = pd.concat([table[["tier", "command"]] for table in tables])
    found = found[found["command"] != ""].drop_duplicates("command")
    return found.sort_values("tier", key=lambda tiers: tiers.map(TIERS.index), kind="stable")["command"].tolist()


def commands_table(numbers: pd.DataFrame, commands: list[str]):
    """Return the commands with how many numbers each one makes; every row can be linked to."""
    from IPython.display import HTML

    counts = numbers["command"].value_counts()
    rows = "".join(
        f'<tr id="{anchor(i)}"><td><code>{command}</code></td><td>{counts.get(command, 0)}</td></tr>'
        for i, command in enumerate(commands)
    )
    head = "<tr><th scope='col'>command</th><th scope='col'>numbers it makes</th></tr>"
    table = f'<table class="bench-table bench-text"><thead>{head}</thead><tbody>{rows}</tbody></table>'
    return HTML(box(table, "commands"))


def facts(numbers: pd.DataFrame, comparisons: pd.DataFrame) -> dict[str, float]:
    """Return the counts and constants that the page's prose gives, by name."""
    ours = comparisons.assign(case=comparisons.groupby(["claim", "dataset", "metric", "fraction"]).ngroup())
    counts = {"numbers": numbers["number"].nunique(), "claims": len({claim.says for claim in CLAIMS})}
    counts |= {"comparisons": ours["case"].nunique()}
    for tier in TIERS:
        of = numbers[(numbers["tier"] == tier) & (numbers["missing"] == "")]
        counts[f"{tier}-numbers"] = of["number"].nunique()
    for tier in ("published", *TIERS):
        verdicts = ours[ours["tier"] == tier]
        counts |= {
            f"{tier}-{verdict.replace(' ', '-')}": int((verdicts["verdict"] == verdict).sum()) for verdict in VERDICTS
        }
    theirs = ours[ours["tier"] == "published"]
    counts["published-lost"] = int((theirs["p"].lt(ALPHA) & theirs["p_holm"].ge(ALPHA)).sum())
    return counts | {"margin": MARGIN, "level": 100 * LEVEL, "level-same": 100 * LEVEL_SAME}
