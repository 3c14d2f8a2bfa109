"""Splits are the paper's, and few-shot subsets are nested, stratified and the same for every model."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from sklearn.model_selection import StratifiedShuffleSplit, train_test_split

from bench.core.errors import BenchError
from bench.datasets import load
from bench.datasets.splits import split, subset
from bench.protocol.trials import Grid

FRACTIONS = (0.01, 0.1, 0.25, 0.5, 0.75)


@pytest.fixture(scope="module")
def baron() -> AnnData:
    return load("baron")


@pytest.fixture(scope="module")
def train(baron) -> np.ndarray:
    return split(baron, "held_out:human1").train


def cells(labels: list[str], **columns) -> AnnData:
    obs = pd.DataFrame({"cell_type": pd.Categorical(labels), **columns}, index=[f"c{i}" for i in range(len(labels))])
    return AnnData(sp.csr_matrix((len(labels), 1), dtype=np.float32), obs=obs, uns={"bench": {"name": "made up"}})


def covers(sides, adata) -> bool:
    return np.array_equal(np.sort(np.concatenate([sides.train, sides.test])), np.arange(adata.n_obs))


def test_random_split_is_the_papers_stratified_fifth(hao):
    sides = split(hao, "random")
    labels = hao.obs["cell_type"].astype(str).to_numpy()
    splitter = StratifiedShuffleSplit(n_splits=1, test_size=0.2, random_state=2022)
    train, test = next(splitter.split(np.zeros(hao.n_obs), labels))
    np.testing.assert_array_equal(sides.train, np.sort(train))  # file order
    np.testing.assert_array_equal(sides.test, np.sort(test))
    assert covers(sides, hao)
    codes = pd.Categorical(labels).codes  # the paper splits scBERT by codes and logistic regression by names
    np.testing.assert_array_equal(next(splitter.split(codes, codes))[1], test)


@pytest.mark.parametrize(
    ("donor", "n_train", "n_test", "n_unseen"), [("human1", 1670, 1937, 2), ("human3", 2693, 914, 0)]
)
def test_held_out_donor_of_baron(baron, donor, n_train, n_test, n_unseen):
    sides = split(baron, f"held_out:{donor}")
    assert (len(sides.train), len(sides.test)) == (n_train, n_test)
    assert covers(sides, baron)
    assert set(baron.obs["batch"].iloc[sides.test]) == {donor}
    assert donor not in set(baron.obs["batch"].iloc[sides.train])
    types = baron.obs["cell_type"]
    assert len(set(types.iloc[sides.test]) - set(types.iloc[sides.train])) == n_unseen
    assert (np.diff(sides.train) > 0).all()
    assert (np.diff(sides.test) > 0).all()


def test_authors_split_is_the_column(small):
    sides = split(small, "authors")
    assert set(small.obs["split"].iloc[sides.train]) == {"train"}
    assert set(small.obs["split"].iloc[sides.test]) == {"test"}
    assert covers(sides, small)


# Few-shot subsets


@pytest.mark.parametrize("how", ["paired", "published"])
@pytest.mark.parametrize("stratified", [True, False])
def test_whole_fraction_draws_nothing(baron, train, how, stratified):
    assert subset(baron, train, 1.0, 0, how, stratified) is train
    assert subset(baron, train, 1, 7, how, stratified) is train


@pytest.mark.parametrize("how", ["paired", "published"])
def test_subset_holds_distinct_training_cells_and_depends_on_the_seed_alone(baron, train, how):
    first, again, other = (subset(baron, train, 0.25, seed, how, stratified=False) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)
    assert len(set(first)) == len(first)
    assert set(first) <= set(train)


def test_paired_subsets_are_nested_in_file_order(baron, train):
    drawn = [subset(baron, train, fraction, 3, "paired", stratified=True) for fraction in FRACTIONS]
    assert len(drawn[-1]) < len(train)
    for fewer, more in zip(drawn, [*drawn[1:], train], strict=True):
        assert set(fewer) < set(more)
        assert (np.diff(fewer) > 0).all()


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_paired_subsets_are_stratified_with_at_least_one_cell_of_every_type(baron, train, fraction):
    types = baron.obs["cell_type"]
    available = types.iloc[train].value_counts()
    chosen = types.iloc[subset(baron, train, fraction, 0, "paired", stratified=False)].value_counts()
    present = available.index[available > 0]
    assert (chosen[present] >= 1).all()
    expected = np.maximum(1, fraction * available[present])
    assert (abs(chosen[present] - expected) <= 0.5).all()


def test_paired_subsets_are_the_same_for_every_model(small, tmp_path):
    path = str(tmp_path / "small.h5ad")
    small.write_h5ad(path)
    grid = Grid("x", "quick", path, ["knn", "l1_logistic", "random"], fractions=[0.5], seeds=[4])
    assert len({(t.trial.split, t.trial.subset, t.trial.fraction, t.trial.seed) for t in grid.tasks()}) == 1
    rows = split(small, "authors").train
    one, two = (subset(small, rows, 0.5, 4, "paired", stratified) for stratified in (True, False))
    np.testing.assert_array_equal(one, two)  # nothing else enters the draw


def test_paired_draw_does_not_depend_on_the_cells_to_be_scored(baron, train):
    relabelled = baron.copy()
    scored = np.setdiff1d(np.arange(baron.n_obs), train)
    relabelled.obs.iloc[scored, 0] = "beta"
    np.testing.assert_array_equal(
        subset(relabelled, train, 0.1, 0, "paired", True), subset(baron, train, 0.1, 0, "paired", True)
    )


@pytest.mark.parametrize(("fraction", "seed"), [(0.1, 0), (0.25, 2021), (0.75, 4042)])
def test_published_unstratified_draw_is_numpys_choice_in_the_order_drawn(baron, train, fraction, seed):
    expected = np.random.RandomState(seed).choice(train, round(fraction * len(train)), replace=False)
    np.testing.assert_array_equal(subset(baron, train, fraction, seed, "published", stratified=False), expected)


@pytest.mark.parametrize(("fraction", "seed"), [(0.1, 1), (0.5, 10)])
def test_published_stratified_draw_is_train_test_split_in_the_order_drawn(baron, fraction, seed):
    train = split(baron, "held_out:human3").train
    labels = baron.obs["cell_type"].astype(str).to_numpy()[train]
    expected, _ = train_test_split(train, train_size=fraction, stratify=labels, random_state=seed)
    np.testing.assert_array_equal(subset(baron, train, fraction, seed, "published", stratified=True), expected)


# Mistakes


@pytest.mark.parametrize("name", ["randomly", "held_out", "held_out=human1", "", "test"])
def test_unknown_split_lists_the_right_ones(baron, name):
    with pytest.raises(BenchError, match=r"Unknown (split|group to hold out) .*Valid: "):
        split(baron, name)


def test_unknown_group_names_near_ones(baron):
    with pytest.raises(BenchError, match=r"hold out 'human5'\. Did you mean 'human\d' or .*Valid: human1, human2"):
        split(baron, "held_out:human5")


def test_missing_columns_are_named_with_the_remedy(hao):
    with pytest.raises(BenchError, match=r"needs obs\['batch'\], which 'hao' does not have; use split='random'"):
        split(hao, "held_out:human1")
    with pytest.raises(
        BenchError, match=r"needs obs\['split'\] with train and test, which 'hao' does not have; use split='random'"
    ):
        split(hao, "authors")


def test_split_with_an_empty_side_is_an_error():
    with pytest.raises(BenchError, match="leaves no cell on one side"):
        split(cells(["a", "b"], batch=["x", "x"]), "held_out:x")
    with pytest.raises(BenchError, match="leaves no cell on one side"):
        split(cells(["a", "b"], split=["train", "train"]), "authors")


def test_type_with_one_cell_cannot_be_split_at_random():
    with pytest.raises(BenchError, match=r"needs two cells of every type; too few of \['rare'\]"):
        split(cells(["a"] * 9 + ["rare"]), "random")


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, 10, float("nan")])
def test_fraction_out_of_range_is_an_error(baron, train, fraction):
    with pytest.raises(BenchError, match="above 0 and at most 1"):
        subset(baron, train, fraction, 0, "paired", stratified=True)


def test_unknown_subset_lists_the_right_ones(baron, train):
    with pytest.raises(BenchError, match=r"Unknown subset 'pared'\. Did you mean 'paired'\?"):
        subset(baron, train, 0.5, 0, "pared", stratified=True)


def test_published_stratified_draw_needs_two_cells_of_every_type():
    adata = cells(["a"] * 9 + ["b"] * 9 + ["rare"])
    with pytest.raises(BenchError, match=r"cannot stratify: The least populated class.*\. Use subset='paired'\."):
        subset(adata, np.arange(19), 0.5, 0, "published", stratified=True)
    assert "rare" in set(adata.obs["cell_type"].iloc[subset(adata, np.arange(19), 0.5, 0, "paired", stratified=True)])


def test_published_stratified_draw_with_fewer_cells_than_types_is_an_error():
    adata = cells(["a", "b", "c"] * 4)
    with pytest.raises(BenchError, match=r"cannot stratify: .*\. Use subset='paired'\."):
        subset(adata, np.arange(12), 0.1, 0, "published", stratified=True)


def test_published_draw_of_no_cell_is_an_error():
    with pytest.raises(BenchError, match="of 12 training cells is none"):
        subset(cells(["a", "b", "c"] * 4), np.arange(12), 0.01, 0, "published", stratified=False)
