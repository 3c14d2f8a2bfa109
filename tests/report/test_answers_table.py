"""How far models have collapsed onto one type, counted by hand."""

import numpy as np
import pytest

from bench.report import tables
from bench.statistics.predictions import ABSTAINED, Predictions

TRUTH, CLASSES = np.array(list("aaabbc")), np.array(list("abc"))


def said(predicted: str) -> Predictions:
    labels = np.array([ABSTAINED if letter == "-" else letter for letter in predicted])
    return Predictions(TRUTH, np.full((6, 3), 1 / 3), CLASSES, labels)


def test_types_and_the_largest_share_are_counted_run_by_run():
    table = tables.most_predicted({("Quick: made up", "x"): [said("aaaaaa"), said("aabbcc")]})
    row = table.loc[("Quick: made up", "x")]
    assert (row["predicted types"], row["types"], row["runs"]) == ("1–3", 3, 2)
    assert row["most predicted"] == pytest.approx((1 + 2 / 6) / 2)
    assert row["most frequent"] == pytest.approx(3 / 6)
    assert "no type" not in table


def test_cells_without_a_type_are_none_and_shown_where_there_are_some():
    told = {("p", "x"): [said("bb----")], ("p", "y"): [said("abcabc")], ("p", "z"): [said("------")]}
    table = tables.most_predicted(told).droplevel(0)
    assert table["no type"].tolist() == pytest.approx([4 / 6, 0, 1])
    assert table["most predicted"].tolist() == pytest.approx([1, 1 / 3, np.nan], nan_ok=True)
    assert table["predicted types"].tolist() == ["1", "3", "0"]
