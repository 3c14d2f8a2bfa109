"""Table 3 on real cells with two tiny networks: which cells, the baselines from other formulas, resuming, errors."""

import json
import shutil
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from bench.core.errors import BenchError
from bench.datasets import load
from bench.datasets.names import hidden_names, overlap
from bench.datasets.sources import cache_folder
from bench.datasets.splits import split
from bench.models.scbert.masking import accuracy_where
from bench.models.scbert.recipes import ScBERTPretraining
from bench.preprocess import gene_tokens
from bench.protocol import notebooks, records
from bench.published.scbert import bin_shares
from bench.report.masked import against_baselines, bins, masked_grid
from bench.report.masked.baselines import ModePerGene, fitted, masked_cells
from bench.report.masked.cells import Rows, Weights, held_out, to_fit, tokens_of
from bench.report.masked.request import Request, tasks
from bench.report.masked.score import Network, score
from bench.training.blocks import Selection
from bench.training.pretrain import pretrain

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warm")]

TINY = ScBERTPretraining(
    (Selection("hao", ("random",)), Selection("baron", ("held_out:human1",))),
    steps=20,
    n_genes=40,
    dim=16,
    depth=1,
    heads=2,
    dim_head=8,
    n_features=16,
    batch_size=8,
    micro_batch=8,
    lr=1e-2,
)
SCORES = ("masked_accuracy", "masked_accuracy_all", "predictions_equal_most_common_bin")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of its own, with the user's data sets in it, so that tiny weights do not stay there."""
    folder = tmp_path_factory.mktemp("cache")
    load("hao"), load("baron")
    for name in ("datasets", "downloads"):
        (folder / name).symlink_to(cache_folder() / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def paths(cache):
    """Return variant -> path of weights."""
    recipes = {"pretrained": TINY, "no_gene2vec": replace(TINY, gene2vec=False)}
    return {variant: str(pretrain(f"tiny_{variant}", recipe)) for variant, recipe in recipes.items()}


@pytest.fixture(scope="module")
def tiers(paths):
    return {"quick": {"dataset": ["hao", "baron"], "weights": paths, "max_cells": 60}}


@pytest.fixture(scope="module")
def computed(warm, tiers, tmp_path_factory):
    """Folder with the records of the whole grid, which takes seconds."""
    folder = tmp_path_factory.mktemp("computed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_RESULTS", str(folder))
        run(tiers)
    return folder


@pytest.fixture
def recorded(computed, own_results):
    """The same records as the test's own results."""
    shutil.copytree(computed, own_results)


def run(tiers, **choices) -> pd.DataFrame:
    return masked_grid("masked_test", tiers, tier="quick", compute=True, **choices)  # of which nothing is committed


def of_hao(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["dataset"] == "hao"]  # what is recorded has both data sets


def scored(table: pd.DataFrame, metric: str) -> pd.Series:
    rows = table[table["epoch"].isna() & (table["metric"] == metric)]
    return rows.set_index(["dataset", "model", "variant"])["value"]


def test_no_scored_cell_was_pretrained_on(paths):
    given = Weights.of("pretrained", paths["pretrained"])
    for name, theirs in {"hao": "random", "baron": "held_out:human1"}.items():
        adata, cells = load(name), tokens_of(name, given)
        kind, rows = held_out(cells, given.seen())
        assert kind == "not_pretrained"
        assert set(rows) == set(split(adata, theirs).test) and (np.diff(rows) < 0).any()
        assert overlap(given.seen(), name, hidden_names(adata.obs_names[rows])) == 0
        expected = gene_tokens(adata[rows].X, adata.var_names.tolist(), "counts", list(given.genes), "all")
        np.testing.assert_array_equal(cells.tokens(rows), expected.toarray())


def test_baselines_are_fitted_on_pretraining_cells_that_trained(paths):
    given = Weights.of("pretrained", paths["pretrained"])
    cells = tokens_of("hao", given)
    fits = to_fit(given, cells, held_out(cells, given.seen())[1])
    theirs = TINY.cells()
    train, _ = train_test_split(np.arange(len(theirs)), test_size=0.05, random_state=2021)
    assert [variant for variant, *_ in fits] == ["default", "same_data"]
    np.testing.assert_array_equal(fits[0][2].rows, train)
    np.testing.assert_array_equal(fits[1][2].rows, train[theirs.dataset[train] == 0])


def test_weights_of_unknown_cells_are_scored_on_the_published_draw(paths, tmp_path):
    alone = shutil.copy(paths["pretrained"], tmp_path / "alone.safetensors")
    given = Weights.of("pretrained", str(alone))
    cells = tokens_of("hao", given)
    kind, rows = held_out(cells, given.seen())
    rest, draw = train_test_split(np.arange(1336), test_size=0.05, random_state=2021)
    assert kind == "validation_5_percent"
    np.testing.assert_array_equal(rows, draw)
    [(variant, recipe, fit)] = to_fit(given, cells, rows)
    assert (variant, recipe) == ("default", "other_cells")
    np.testing.assert_array_equal(fit.rows, np.sort(rest))


def test_a_data_set_of_which_every_cell_was_seen_is_refused(paths):
    cells = tokens_of("hao", Weights.of("pretrained", paths["pretrained"]))
    with pytest.raises(BenchError, match="All 1,336 cells of 'hao' were pretrained on"):
        held_out(cells, cells.ids)


def test_masks_depend_on_the_cell_and_the_seed_alone(paths):
    cells = tokens_of("hao", Weights.of("pretrained", paths["pretrained"]))
    together, alone = masked_cells(cells, np.arange(20), 2021)[1], masked_cells(cells, np.array([7]), 2021)[1]
    assert torch.equal(together.tokens[7], alone.tokens[0])
    assert not torch.equal(together.tokens, masked_cells(cells, np.arange(20), 2022)[1].tokens)
    assert ((together.tokens == 6) == together.replaced).all() and not together.selected[:, -1].any()


def test_the_mode_of_a_cell_and_of_a_gene_are_those_of_pandas(paths):
    given = Weights.of("pretrained", paths["pretrained"])
    cells, theirs = tokens_of("hao", given), TINY.cells()
    train = Rows.of(theirs, theirs.split(0.05, 2021)[0])
    tokens, masked = masked_cells(cells, np.arange(50), 2021)
    shown = pd.DataFrame(theirs.tokens(train.rows))
    modes = shown.where(shown > 0).mode().iloc[0]
    said = ModePerGene(train)(tokens, masked)
    np.testing.assert_array_equal(said[0, :-1], modes)
    per_cell = pd.DataFrame(tokens.numpy()).where(tokens.numpy() > 0).mode(axis=1)[0]
    np.testing.assert_array_equal(fitted("mode_per_cell", None)(tokens, masked)[:, 3], per_cell)


def test_a_gene_that_nobody_expresses_gets_the_overall_mode(paths):
    theirs = TINY.cells()
    dense = theirs.tokens(np.arange(len(theirs)))
    gene = int((dense > 0).sum(axis=0).argmin())
    without = np.flatnonzero(dense[:, gene] == 0)
    counts = np.bincount(dense[without].ravel(), minlength=6)[1:]
    assert ModePerGene(Rows.of(theirs, without)).modes[gene] == counts.argmax() + 1


def test_the_regression_is_a_multinomial_one_on_gene_and_visible_cell(paths):
    given = Weights.of("pretrained", paths["pretrained"])
    cells, theirs = tokens_of("hao", given), TINY.cells()
    rows = theirs.split(0.05, 2021)[0]
    dense = theirs.tokens(rows).astype(float)
    n, sums, overall = (dense > 0).sum(axis=0), dense.sum(axis=0), dense[dense > 0].mean()

    def columns(masked, where):
        found = []
        for i, j in np.argwhere(where.numpy()):
            seen = masked.tokens[i].numpy()
            visible = seen[(seen > 0) & (seen < 6)]
            gene = [sums[j] / n[j] if n[j] else overall, np.log((n[j] + 1) / (len(rows) + 2))]
            found.append([*gene, visible.mean() if len(visible) else overall, np.log((seen > 0).sum())])
        return np.array(found)

    tokens, masked = masked_cells(theirs, rows, 2021)
    X, y = columns(masked, masked.replaced), tokens[masked.replaced].numpy()
    first, second = StandardScaler().fit(X), StandardScaler()
    squares = PolynomialFeatures(2, include_bias=False)
    model = LogisticRegression(max_iter=1000).fit(second.fit_transform(squares.fit_transform(first.transform(X))), y)
    tokens, masked = masked_cells(cells, np.arange(100), 2021)
    X = columns(masked, masked.selected)
    expected = model.predict(second.transform(squares.transform(first.transform(X))))
    said = fitted("gene_depth_regression", Rows.of(theirs, rows))(tokens, masked)[masked.selected].numpy()
    assert (said == expected).mean() > 0.99  # another order of the positions, hence another last digit
    assert len(set(said)) >= 3


def test_scores_are_those_of_the_golden_functions_and_of_scikit_learn(paths):
    from sklearn.metrics import recall_score

    given = Weights.of("pretrained", paths["pretrained"])
    cells = tokens_of("hao", given)
    rows = held_out(cells, given.seen())[1][:40]
    network = Network(given.path, "cpu")
    found = pd.DataFrame(score(network, Rows.of(cells, rows), 2021, 1)).set_index(["metric", "class"])["value"]
    tokens, masked = masked_cells(cells, rows, 2021)
    said = torch.cat(
        [network(t[None], replace(masked, tokens=m[None])) for t, m in zip(tokens, masked.tokens, strict=True)]
    )
    common = fitted("mode_per_cell", None)(tokens, masked)
    assert found["masked_accuracy", ""] == pytest.approx(accuracy_where(said, tokens, masked.replaced).item())
    assert found["masked_accuracy_all", ""] == pytest.approx(accuracy_where(said, tokens, masked.selected).item())
    equal = accuracy_where(said, common, masked.replaced).item()
    assert found["predictions_equal_most_common_bin", ""] == pytest.approx(equal)
    cells_equal = [bool((a == b)[w].all()) for a, b, w in zip(said, common, masked.replaced, strict=True) if w.any()]
    assert found["cells_predicting_most_common_bin", ""] == pytest.approx(np.mean(cells_equal))
    truth, answer = tokens[masked.replaced].numpy(), said[masked.replaced].numpy()
    for token in np.unique(truth):
        recall = recall_score(truth, answer, labels=[token], average=None)[0]
        assert found["recall_bin", str(token)] == pytest.approx(recall)
        assert found["support_bin", str(token)] == (truth == token).sum()
    together = pd.DataFrame(score(network, Rows.of(cells, rows), 2021, 40)).set_index(["metric", "class"])["value"]
    pd.testing.assert_series_equal(together["support_bin"], found["support_bin"])  # the masks are the same


def test_the_grid_records_networks_baselines_and_curves_once(tiers, paths, recorded, own_results):
    table = run(tiers)
    trials = table.drop_duplicates("key")
    assert set(trials["status"]) == {"ok"} and set(trials["tier"]) == {"quick"}
    curves = table[table["epoch"].notna()]
    assert len(trials) == 2 * (2 + 1 + 4) + 2 and curves["key"].nunique() == 2
    assert set(curves["dataset"]) == {"hao, baron"}
    card = json.loads((cache_folder() / "weights" / paths["pretrained"]).with_suffix(".json").read_text())
    losses = curves[(curves["variant"] == "pretrained") & (curves["metric"] == "validation_loss")]["value"]
    np.testing.assert_allclose(losses, [point["loss"] for point in card["curve"]])
    trained = curves[(curves["variant"] == "pretrained") & (curves["metric"] == "train_loss")]["value"]
    np.testing.assert_allclose(trained.iloc[0], np.mean(card["losses"][: card["curve"][0]["step"]]))
    for metric in SCORES:
        assert scored(table, metric).between(0, 1).all() and len(scored(table, metric)) == 14
    assert (scored(table, SCORES[2]).xs("mode_per_cell", level="model") == 1).all()
    assert (
        trials.loc[(trials["model"] == "scbert") & (trials["n_test"] == 60), "weights"].str.match(r"\d+ of \d+").all()
    )
    before = {path: path.stat().st_mtime_ns for path in own_results.rglob("*.csv")}
    again = run(tiers, jobs=2)
    assert {path: path.stat().st_mtime_ns for path in own_results.rglob("*.csv")} == before
    pd.testing.assert_frame_equal(again, table)
    assert len(run(tiers, seeds="[2021, 7]", dataset="hao").drop_duplicates("key")) == len(trials) + 7
    assert len(run(tiers, max_cells=20, dataset="hao").drop_duplicates("key")) == len(trials) + 7 + 7


def test_baselines_alone_need_no_weights_and_are_those_of_a_run_with_them(tiers, paths, recorded, monkeypatch):
    complete = run(tiers).drop_duplicates("key")
    expected = set(complete.loc[complete["model"] != "scbert", "key"])
    shutil.rmtree(records.own_folder())
    recipes = {"tiny": TINY, "tiny_no_gene2vec": replace(TINY, gene2vec=False)}
    monkeypatch.setattr("bench.report.masked.cells.RECIPES", recipes)
    monkeypatch.setattr("bench.weights.resolve", lambda name: pytest.fail(f"{name} was asked for"))
    names = {"pretrained": "tiny", "no_gene2vec": "tiny_no_gene2vec"}
    alone = run(tiers, weights=names, baselines_only=True, device="cuda").drop_duplicates("key")
    assert set(alone["key"]) == expected and set(alone["status"]) == {"ok"}


def test_a_trial_that_fails_is_a_row_and_is_tried_again(tiers, paths, tmp_path):
    moved = tmp_path / "moved.safetensors"
    for suffix in (".safetensors", ".json", ".cells.npy"):
        shutil.copy(paths["no_gene2vec"].replace(".safetensors", suffix), moved.with_suffix(suffix))
    whole = moved.read_bytes()
    moved.write_bytes(whole[:-8] + b"\xff" * 8)  # not a number; what it says of itself is at its beginning
    few = {"dataset": "hao", "weights": {"no_gene2vec": str(moved)}}
    status = run(tiers, **few).drop_duplicates("key").set_index("model")["status"]
    assert any("has values that are not finite" in reason for reason in status["scbert"])
    assert status["mode_per_cell"] == "ok"
    moved.write_bytes(whole)
    table = run(tiers, **few)
    assert set(table["status"]) == {"ok"}
    scored_by_network = table[(table["model"] == "scbert") & (table["recipe"] == "published")]
    assert set(scored_by_network["weights_sha256"]) == {sha256(whole).hexdigest()}
    assert set(scored_by_network["pretrained_on_scored_cells"]) == {"no"}
    assert set(table.loc[table["n_test"] == 60, "genes_wanted"]) == {40}


def test_keys_do_not_depend_on_where_the_weights_lie(paths, tmp_path):
    moved = tmp_path / "moved.safetensors"
    for suffix in (".safetensors", ".json", ".cells.npy"):
        shutil.copy(paths["pretrained"].replace(".safetensors", suffix), moved.with_suffix(suffix))
    request = Request("hao", "any")
    here, there = (tasks(request, [Weights.of("pretrained", str(p))]) for p in (paths["pretrained"], moved))
    assert [task.trial.key for task in here] == [task.trial.key for task in there]


WRONG = {
    "max_cells=0": ({"max_cells": 0}, "max_cells=0 should be a whole number of cells"),
    "batch_size": ({"batch_size": "one"}, "batch_size='one' should be a whole number"),
    "seeds": ({"seeds": "[-1]"}, r"seeds=\[-1\] should be a list of whole numbers"),
    "weights": ({"weights": "[a]"}, r"Unknown weights '\[a\]'"),
    "variant": ({"weights": "{no_g2v: x}"}, "Unknown variant in weights 'no_g2v'. Did you mean 'no_gene2vec'"),
    "name": ({"weights": "scbert_quik"}, "Did you mean 'scbert_quick'"),
    "dataset": ({"dataset": "hoa"}, "Unknown data set 'hoa'. Did you mean 'hao'"),
    "baselines": ({"baselines_only": 3}, "baselines_only=3 should be true or false"),
    "device": ({"device": "tpu9"}, "device='tpu9' is not a device"),
    "jobs": ({"jobs": 0}, "jobs=0 should be a whole number of processes"),
    "choice": ({"maxcells": 3}, "Unknown choice 'maxcells'. Did you mean 'max_cells'"),
}


def test_the_error_is_that_of_cells_and_the_answer_follows_it(tiers, paths, recorded):
    given = Weights.of("pretrained", paths["pretrained"])
    cells = tokens_of("hao", given)
    rows = Rows.of(cells, held_out(cells, given.seen())[1])
    found = pd.DataFrame(score(fitted("mode_per_cell", None), rows, 2021, 64)).set_index("metric")["value"]
    tokens, masked = masked_cells(cells, rows.rows, 2021)
    right = ((fitted("mode_per_cell", None)(tokens, masked) == tokens) & masked.replaced).sum(1).numpy()
    n, rng = masked.replaced.sum(1).numpy(), np.random.default_rng(0)
    draws = rng.integers(len(n), size=(4000, len(n)))
    assert found["masked_accuracy_se"] == pytest.approx((right[draws].sum(1) / n[draws].sum(1)).std(), rel=0.1)
    table = against_baselines(of_hao(run(tiers, dataset="hao")), "quick")
    assert len(table) == 5 and set(table.index.get_level_values("network")) == {"scBERT"}
    told = np.where(table["difference"].abs() > 2 * table["error"], np.sign(table["difference"]), 0)
    assert table["answer"].map({"better": 1, "worse": -1, "no difference shown": 0}).tolist() == told.tolist()
    own = scored(run(tiers, dataset="hao"), "masked_accuracy")["hao"]
    gene = table.xs("most common bin of the gene", level="baseline")["difference"].item()
    assert gene == pytest.approx(own["scbert", "pretrained"] - own["mode_per_gene", "default"])
    with pytest.raises(BenchError, match="Tier 'standin' has no scbert@pretrained or no baseline"):
        against_baselines(run(tiers, dataset="hao"), "standin")


def test_cells_of_different_draws_are_not_compared(tiers, recorded):
    run(tiers, dataset="hao", max_cells=20)
    table = against_baselines(of_hao(run(tiers, dataset="hao")), "quick")
    assert len(table) == 10  # five baselines for each draw, none across


def test_shares_of_bins_add_up(tiers, recorded):
    table = bins(of_hao(run(tiers, dataset="hao")), bin_shares())
    sums = table.drop(columns="counts per 10,000").sum()
    assert sums.to_numpy() == pytest.approx(1)
    assert table.loc[1, "Panglao, bins 1–5"] == pytest.approx(2.25 / (100 - 94.69), abs=1e-3)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_choice_is_one_clear_sentence(name, tiers):
    choices, message = WRONG[name]
    with pytest.raises(BenchError, match=message):
        run(tiers, **choices)


def test_weights_of_the_other_variant_and_foreign_data_are_refused(tiers, paths):
    with pytest.raises(BenchError, match="was pretrained with gene2vec and cannot stand for the variant 'no_gene2vec'"):
        run(tiers, weights={"no_gene2vec": paths["pretrained"]})
    with pytest.raises(BenchError, match="Unknown tier 'fast'"):
        masked_grid("masked_pretraining", tiers, tier="fast", compute=True)
    paper = {"paper": tiers["quick"] | {"dataset": "zheng68k"}}
    with pytest.raises(BenchError, match="the paper's own data, not hao"):
        masked_grid("masked_pretraining", paper, tier="paper", compute=True, dataset="hao")


def test_without_records_the_command_that_makes_them_is_named(tiers):
    with pytest.raises(BenchError, match=r"bench run chapters/no_such_chapter\.md -p tier quick"):
        masked_grid("no_such_chapter", tiers, tier="quick", compute=False)


def test_a_file_without_labels_can_be_scored(tiers, hao, tmp_path):
    cells = hao[:200].copy()
    cells.obs = pd.DataFrame(index=cells.obs_names)
    cells.write_h5ad(tmp_path / "unlabelled.h5ad")
    table = run(tiers, dataset=str(tmp_path / "unlabelled.h5ad"))
    trials = table[table["dataset"] == "unlabelled.h5ad"].drop_duplicates("key")
    assert len(trials) == 2 + 1 + 2 and set(trials["split"]) == {"validation_5_percent"}
    assert set(trials["n_test"]) == {10} and set(trials["status"]) == {"ok"}


@pytest.mark.slow
def test_the_chapter_runs_from_start_to_end(paths, own_results):
    output = notebooks.run("masked_pretraining", {"weights": paths, "max_cells": 30, "seeds": [2021]})
    assert output == own_results / "notebooks" / "masked_pretraining-quick.ipynb"
    text = output.read_text()
    assert text.count('"image/png"') == 3 and "No recorded trial failed." in text
    trials = records.read("masked_pretraining", committed=False).drop_duplicates("key")
    assert len(trials) == 2 * (2 + 1 + 4) + 2 and set(trials["status"]) == {"ok"}
