"""The page on five models: what it types is what the committed records say."""

from pathlib import Path

import pytest

from bench.protocol import records
from bench.report.figures.runs import complete, runs_of
from bench.report.figures.style import PLAIN

TEXT = (Path(__file__).parents[2] / "chapters" / "five_models.md").read_text(encoding="utf-8")
FIVE = ["scbert", "scgpt", "geneformer", "scfoundation", "cellplm"]


@pytest.fixture(scope="module")
def means():
    """Mean accuracy of plain variants by tier, data and model."""
    runs = complete(runs_of(records.read("five_models", own=False)))
    runs = runs[(runs["metric"] == "accuracy") & runs["variant"].isin(PLAIN)]
    return runs.groupby(["title", "model"])["value"].mean().unstack()


def test_the_title_holds_wherever_both_are_recorded(means):
    assert "# Five foundation models, one protocol: none of them reaches logistic regression" in TEXT
    best = means[FIVE].max(axis=1)
    compared = means["l1_logistic"].notna() & best.notna()
    assert compared.any()
    reached = list(means.index[compared & (best >= means["l1_logistic"])])
    assert not reached, f"a network reaches logistic regression on {', '.join(reached)}: the page needs another title"


def test_nothing_is_typed_of_which_runs_there_are():
    for typed in ("Nothing has been run", "not been run", "has no records"):
        assert typed not in TEXT
    assert TEXT.count("{glue:text}`five-recorded`") == 1 and "tables.requested(records, TIERS" in TEXT
