"""No own result, whatever is in it, breaks a page or changes what its sentences say: a dash and the reason."""

import pytest
from cells import executed
from hostile import write_all

TOOLS = ("Labels of SingleR", "elsewhere: scBERT")  # predictions of other tools, one with the name of a model
pytestmark = pytest.mark.slow


def test_a_page_holds_beside_own_results_of_any_content_and_says_the_same(monkeypatch):
    before, _ = executed("new_donors", monkeypatch)
    assert write_all("new_donors") > 300
    after, shown = executed("new_donors", monkeypatch)
    assert after == before and "–" not in before.values()
    text = "".join(shown)
    assert "<script>" not in text
    assert "1 of" in text and "ValueError" in text, "the reason of a failure stands in its row"
    for name in ("MyModel of v1", "MyModel of v2", "scGPT of outside", "(label kind_1)", "(layer raw)", *TOOLS):
        assert name in text
