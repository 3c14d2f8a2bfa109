"""Every group held out in turn: the trials, what a file of many donors gives, the tables and the figure."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from made_up import row, table_of

from bench.core.errors import BenchError
from bench.core.settings import parse
from bench.datasets import load
from bench.datasets.splits import expand
from bench.protocol import records
from bench.protocol.experiments import run_grid
from bench.protocol.trials import Grid
from bench.report import effects, figures, tables
from bench.report.figures.runs import runs_of

pytestmark = pytest.mark.usefixtures("warm")

LR = "L1 logistic regression"
N_DONORS, N_TYPES = 12, 16


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> str:
    """Path of a user's file: real cells of Baron under the names of twelve made-up donors, two of every type each.

    Its columns are named as users name them, and one type is split in three, so that there are many types.
    """
    baron, rng = load("baron"), np.random.default_rng(0)
    labels = baron.obs["cell_type"].astype(str).to_numpy().copy()
    beta = np.flatnonzero(labels == "beta")
    labels[beta] = np.resize([f"beta {part}" for part in "abc"], len(beta))
    kept = np.concatenate([rng.permutation(np.flatnonzero(labels == t))[: 2 * N_DONORS] for t in np.unique(labels)])
    small = AnnData(sp.csr_matrix(baron.X[kept][:, :400]), var=pd.DataFrame(index=baron.var_names[:400]))
    small.obs_names = [f"cell {i}" for i in range(len(kept))]
    small.obs["author_label"] = labels[kept]
    small.obs["patient"] = np.resize([f"P{i:02d}" for i in range(N_DONORS)], len(kept))
    path = tmp_path_factory.mktemp("many") / "many.h5ad"
    small.write_h5ad(path)
    return str(path)


@pytest.fixture
def own_results(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path))
    monkeypatch.setattr("bench.protocol.place.committed_folder", lambda: tmp_path / "committed")


def test_each_group_becomes_a_trial():
    baron = load("baron")
    donors = [f"held_out:human{i}" for i in range(1, 5)]
    assert expand(baron, ["random", "held_out:*", "held_out:human2"]) == ["random", *donors]
    grid = Grid("e", "quick", "baron", ["majority"], split=["random", "held_out:*"])
    assert [task.trial.split for task in grid.tasks()] == ["random", *donors]
    alone = {
        task.trial.key for split in donors for task in Grid("e", "quick", "baron", ["majority"], split=split).tasks()
    }
    assert alone == {task.trial.key for task in Grid("e", "quick", "baron", ["majority"], split="held_out:*").tasks()}


@pytest.mark.parametrize("split", [5, [], ["random", None], {"held_out": "human1"}])
def test_a_split_that_is_no_name_is_refused_before_anything_runs(split):
    with pytest.raises(BenchError, match=r"should be a name, or a list such as \['random', 'held_out:\*'\]"):
        Grid("e", "quick", "baron", ["majority"], split=split)


def test_a_list_of_splits_is_read_from_the_command_line():
    assert parse("split", "[random, 'held_out:*']") == ["random", "held_out:*"]
    assert parse("split", "held_out:*") == "held_out:*"


def test_a_data_set_without_groups_says_which_column_is_missing():
    with pytest.raises(BenchError, match=r"held_out:\*.*obs\['batch'\]"):
        Grid("e", "quick", "hao", ["majority"], split="held_out:*").tasks()


@pytest.mark.slow
def test_a_users_file_with_many_types_and_donors(many, own_results):
    tiers = {"quick": {"dataset": "baron", "models": ["majority", "knn"], "split": ["random", "held_out:*"]}}
    asked = {"tier": "quick", "compute": True, "dataset": many, "label": "author_label", "batch": "patient"}
    table = run_grid(
        "new_donors", tiers, **asked, models=["majority", "l1_logistic"], overrides={"l1_logistic": {"Cs": [1.0]}}
    )
    ok = table[(table["status"] == "ok") & (table["metric"] == "accuracy")]
    assert len(ok) == 2 * (1 + N_DONORS)
    assert set(table.loc[table["metric"] == "recall", "class"].unique()) >= {"beta a", "beta b", "beta c"}
    shown = tables.held_out(table)
    assert shown.loc[("Quick: many.h5ad (label author_label)", LR), "groups"] == N_DONORS
    groups = tables.per_group(table).loc["Quick: many.h5ad (label author_label)"]
    assert len(groups) == 1 + N_DONORS and groups["cells"].iloc[1:].sum() == load(many, "author_label", "patient").n_obs

    # twelve donors among the cells of the random split: whole donors are resampled
    random = runs_of(table[table["split"] == "random"]).query("metric == 'accuracy'")
    said = records.read_predictions("new_donors", "quick", random["key"].iloc[0])[1]
    assert len(set(said.batch)) == N_DONORS
    found = effects.of_runs(*(random[random["model"] == model] for model in ("l1_logistic", "majority")))
    assert found.how == "bootstrap over donors"
    assert found.interval(0.95)[0] > 0


def made() -> pd.DataFrame:
    scores = {"random": 0.95, "held_out:a": 0.90, "held_out:b": 0.80, "held_out:c": 0.85}
    rows = [
        row(model, "default", 0, "accuracy", value - less, split=split, dataset="baron", n_test=10)
        | {"key": f"{model}{split}"}
        for model, less in (("l1_logistic", 0.0), ("knn", 0.1), ("majority", 0.7))
        for split, value in scores.items()
    ]
    return table_of(rows)


def test_what_is_lost_is_the_random_split_minus_the_mean_over_groups():
    shown = tables.held_out(made()).loc["Stand-in: baron"]
    row = shown.loc[LR]
    assert row["random split"] == 0.95 and row["lost"] == pytest.approx(0.10)
    half = 4.302653 * np.std([0.9, 0.8, 0.85], ddof=1) / np.sqrt(3)
    assert row["held out, mean"] == f"0.850 ± {half:.3f}"
    assert (row["worst"], row["held out there"], row["groups"]) == (0.80, "b", 3)
    two = made()[made()["split"] != "held_out:c"]
    assert "±" not in tables.held_out(two).loc[("Stand-in: baron", LR), "held out, mean"]
    with pytest.raises(BenchError, match="No group is held out"):
        tables.held_out(made().query("split == 'random'"))


def test_two_settings_of_a_model_are_two_rows():
    other = made().query("model == 'l1_logistic'").assign(hyperparameters='{"Cs": [9.0]}', value=0.5)
    table = pd.concat([made(), other.assign(key=other["key"] + "9")], ignore_index=True)
    names = [name for name in tables.groups_of(table)["Stand-in: baron"].index if name.startswith(LR)]
    assert names == [f"{LR} (Cs=None)", f"{LR} (Cs=[9.0])"]


def test_groups_stand_in_rows_with_their_cells():
    shown = tables.per_group(made()).loc["Stand-in: baron"]
    assert list(shown.index) == ["random split", "a", "b", "c"]
    assert "control: majority" not in shown
    assert shown.loc["b", LR] == 0.80 and shown["cells"].eq(10).all()
    assert shown["of unseen types"].isna().all(), "no predictions are kept of these"


def test_the_figure_draws_every_model_on_every_group():
    figure = figures.held_out({"accuracy": tables.groups_of(made())})
    (axis,) = figure.axes
    marks = [line for line in axis.lines if line.get_linestyle() == "None"]
    assert sorted(len(line.get_xdata()) for line in marks) == [4, 4], "models alone, no control"
    assert [text.get_text() for text in axis.get_yticklabels()] == [
        "Stand-in: baron",
        "random split",
        "a held out",
        "b held out",
        "c held out",
    ]
    dotted = [line.get_xdata()[0] for line in axis.lines if line.get_linestyle() == ":"]
    assert sorted(dotted) == pytest.approx([0.85, 0.95])
    plt.close(figure)
