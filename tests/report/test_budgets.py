"""What pretrainings were given and learned, as kept beside the records and as shown."""

import math
import runpy
from pathlib import Path

import pandas as pd
import pytest
from made_up import row, table_of

from bench.core.errors import BenchError
from bench.protocol import records
from bench.report import tables
from bench.report.budgets import COLUMNS, kept, write
from bench.training.budget import Budget
from bench.training.recipes import named
from bench.weights import identity_of

CHAPTERS = Path(__file__).parents[2] / "chapters"
FIVE = ["scbert", "scgpt", "geneformer", "scfoundation", "cellplm"]


@pytest.fixture
def made_up() -> pd.DataFrame:
    """Two pretrainings; nothing of it is a result."""
    rows = [
        ("scgpt_some", "0" * 16, "scgpt", 240, 87_000, 2_600, 19_200, 1_920_000, 0.25),
        ("cellplm_some", "1e10" + "0" * 12, "cellplm", 240, 133_000, 2_600, 13_200, 13_200, float("nan")),
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def test_what_is_written_is_read_again_and_another_file_is_refused(made_up, tmp_path):
    file = write(made_up, tmp_path / "pretraining.csv")
    pd.testing.assert_frame_equal(kept(file), made_up)
    assert {"# processor", "# commit", "# versions"} <= {
        line.partition(":")[0] for line in file.read_text().splitlines()
    }
    for text in ("", "a,b\n1,2\n", "# commit\n"):
        file.write_text(text)
        with pytest.raises(BenchError, match=r"make it with: python chapters/pretraining\.py"):
            kept(file)
    with pytest.raises(BenchError, match="make it with"):
        kept(tmp_path / "nothing.csv")


def test_the_script_keeps_the_recipes_of_both_tiers(made_up, monkeypatch, tmp_path):
    asked = []

    def counted(name):
        asked.append(name)
        return Budget(*made_up.drop(columns="explained").iloc[0])

    monkeypatch.setattr("bench.training.budget.budget", counted)
    monkeypatch.setattr("bench.training.learned.explained", lambda name: 0.5 if name.endswith("quick") else math.nan)
    monkeypatch.setattr("bench.protocol.place.committed_folder", lambda: tmp_path)
    (tmp_path / "five_models").mkdir()
    runpy.run_path(str(CHAPTERS / "pretraining.py"))
    assert asked == [f"{model}_{tier}" for tier in ("quick", "standin") for model in FIVE]
    assert len(kept()) == 10 and set(asked) <= set(named())
    assert list(kept()["explained"].dropna()) == [0.5] * 5


def test_the_committed_ones_are_of_the_committed_records_and_of_todays_recipes():
    committed, runs = kept(), records.read("five_models", own=False)
    begun = runs[runs["model"].isin(FIVE) & (runs["weights_hash"] != "")]
    of_records = {(run.model, run.weights_hash) for run in begun.itertuples()}
    assert of_records <= set(zip(committed["model"], committed["identity"], strict=True))
    for name in ("geneformer_quick", "cellplm_quick"):
        found = committed.set_index("weights").loc[name]
        assert found["identity"] == identity_of(name), "the recipe has changed: python chapters/pretraining.py"
    assert (committed["cell_passes"] <= [named()[n].steps * named()[n].batch_size for n in committed["weights"]]).all()
    assert (committed["tokens"] >= committed["cell_passes"]).all()
    assert (committed["explained"].dropna() < 1).all()
    assert set(committed["weights"][committed["explained"].notna()]) >= {f"{model}_quick" for model in FIVE}
    assert "-dirty" not in (CHAPTERS / "results" / "five_models" / "pretraining.csv").read_text()


def test_shown_are_the_weights_that_records_began_with(made_up):
    rows = [row("cellplm", "probe", 0, "accuracy", 0.5, tier="quick", weights_hash="1e10" + "0" * 12)]
    rows += [row("scgpt", "pretrained", seed, "accuracy", 0.5, weights_hash="0" * 16) for seed in (0, 1)]
    rows += [row("scgpt", "pretrained", 0, "accuracy", 0.5, tier="paper", weights_hash="abcdef0123456789")]
    rows += [row("scgpt", "no_pretraining", 0, "accuracy", 0.5, tier="quick", weights_hash="0" * 16)]
    rows += [row("l1_logistic", "genes_of_weights", 0, "accuracy", 0.5, weights_hash="0" * 16)]
    table = tables.pretraining(table_of(rows), made_up)
    assert list(table.index) == [
        ("Paper tier", "scGPT", "abcdef01"),
        ("Stand-in", "scGPT", "scgpt_some"),
        ("Quick", "CellPLM", "cellplm_some"),
    ]
    assert (table.iloc[0] == "–").all()
    assert list(table.iloc[1]) == ["240", "87,000", "2,600", "19,200", "1,920,000", "0.250"]
    assert list(table.iloc[2]) == ["240", "133,000", "2,600", "13,200", "13,200", "–"]
