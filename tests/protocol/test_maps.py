"""Maps of embeddings: made where they are asked for, kept beside the record, read again, and no trial lost for one."""

import numpy as np
import pytest
from in_process import run_task
from numpy.testing import assert_allclose
from sklearn.metrics import pairwise_distances

from bench.core.errors import BenchError
from bench.protocol import beside, engine, maps, records, runner
from bench.protocol.maps import NEIGHBOURS, Map, map_of, own_neighbours
from bench.protocol.trials import Grid

CHEAP = {"projection": {"classifier": "nearest_centroid"}}


class Placed:
    """A fitted model whose embedding is a line."""

    def embed(self, cells):
        return np.arange(cells.n_obs, dtype=np.float32)[:, None]


def tasks_of(models, **more):
    return Grid("embeddings", "quick", "hao", models, [0.1, 1.0], overrides=CHEAP, maps=True, **more).tasks()


def place(task) -> tuple[str, str, str]:
    return task.experiment, task.tier, task.trial.key


@pytest.fixture
def plane(monkeypatch):
    """Put cells on the first two axes, since UMAP takes seconds to be imported."""
    monkeypatch.setattr(maps, "_places", lambda vectors: vectors[:, :2] - vectors[:, :2].mean(axis=0))


def test_embeddings_on_all_training_cells_get_a_map_and_nothing_else_does():
    tasks = tasks_of(["majority", "knn", "projection@pca", "projection@random_directions"], seeds=[0, 1])
    mapped = [(t.trial.model, t.trial.variant, t.trial.fraction, t.trial.seed) for t in tasks if t.mapped]
    directions = [("projection", "random_directions", 1.0, seed) for seed in (0, 1)]
    assert mapped == [("projection", "pca", 1.0, 0), *directions]
    again = Grid("embeddings", "quick", "hao", ["projection@pca"], overrides=CHEAP).tasks()
    assert [t.mapped for t in again] == [False]
    assert again[0].trial.key == tasks[-3].trial.key  # a map changes no key


@pytest.mark.slow
def test_a_map_is_kept_beside_its_record_and_made_again_where_it_is_damaged(plane, caplog):
    (task,) = [task for task in tasks_of(["projection@pca"]) if task.trial.fraction == 1]
    assert run_task(task) == ""
    cells, predictions = records.read_predictions(*place(task))
    found = beside.read_map(*place(task))
    assert found.types.tolist() == predictions.truth.tolist()
    assert (found.places.shape, found.own.shape) == ((len(cells), 2), (len(cells),))
    assert 0.5 < found.own.mean() <= 1
    assert "seed 0" in found.made_with
    assert engine._is_recorded(task)
    file = records.path_of(*place(task)).with_suffix(beside.MAP)
    assert file.stat().st_size < 6_000
    file.write_bytes(b"PK no map")
    with pytest.raises(BenchError, match=r"No map for trial .*; run the chapter to make them\."):
        beside.read_map(*place(task))
    assert f"Left out: {file} holds no map" in caplog.text
    assert not engine._is_recorded(task)
    run_task(task)
    assert_allclose(beside.read_map(*place(task)).places, found.places)


def test_maps_are_committed_and_taken_over_with_their_records(plane, monkeypatch, tmp_path):
    (task,) = [task for task in tasks_of(["projection@variable_genes"]) if task.trial.fraction == 1]
    run_task(task)
    monkeypatch.setattr("bench.protocol.place.committed_folder", lambda: tmp_path / "committed")
    records.commit("embeddings", "quick")
    assert (tmp_path / "committed" / "embeddings" / f"{task.trial.key}{beside.MAP}").exists()
    assert records.adopt("audit", *place(task)[1:])
    assert beside.read_map("audit", *place(task)[1:]).cells == beside.read_map(*place(task)).cells
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "elsewhere"))
    assert records.adopt("liver", *place(task)[1:], committed=True)
    assert beside.has_own_map("liver", *place(task)[1:])


def test_a_trial_whose_map_fails_is_recorded_and_says_so(monkeypatch):
    (task,) = [task for task in tasks_of(["projection@pca"]) if task.trial.fraction == 1]

    def fails(vectors):
        raise RuntimeError("no graph")

    monkeypatch.setattr(maps, "_places", fails)
    result = runner.run_task(task)
    assert (result.failure, result.map) == ("", None)
    assert result.notes == ("there is no map of its embedding: RuntimeError: no graph",)


def test_few_or_unlabelled_cells_have_no_map(hao):
    few = hao[:NEIGHBOURS].copy()
    with pytest.raises(BenchError, match="it needs 16 scored cells of known type, there are 15"):
        map_of(Placed(), few, np.full(few.n_obs, "B"))


def test_a_map_of_many_cells_shows_the_same_draw_for_every_model(plane, hao, monkeypatch):
    monkeypatch.setattr(maps, "MOST_CELLS", 100)

    class Other(Placed):
        def embed(self, cells):
            return np.random.default_rng(1).normal(size=(cells.n_obs, 3))

    truth = hao.obs["cell_type"].astype(str).to_numpy()
    monkeypatch.setattr(maps, "_places", lambda vectors: np.zeros((len(vectors), 2)))
    one, other = map_of(Placed(), hao, truth), map_of(Other(), hao, truth)
    assert len(one.types) == 100
    assert one.cells == other.cells
    assert one.types.tolist() == other.types.tolist()


def test_neighbours_of_the_own_type_are_those_that_distances_say():
    rng = np.random.default_rng(0)
    vectors, types = rng.normal(size=(60, 4)), rng.choice(["B", "T"], 60)
    nearest = np.argsort(pairwise_distances(vectors), axis=1)[:, 1 : NEIGHBOURS + 1]
    expected = [np.mean(types[row] == own) for row, own in zip(nearest, types, strict=True)]
    assert_allclose(own_neighbours(vectors, types), expected)
    apart = np.repeat([[0.0], [1000.0]], 20, axis=0) + rng.normal(size=(40, 1))
    assert own_neighbours(apart, np.repeat(["B", "T"], 20)).min() == 1


def test_a_map_comes_back_as_it_was_saved(tmp_path):
    rng = np.random.default_rng(0)
    drawn = Map(np.resize(["β cell", "T"], 20), rng.normal(size=(20, 2)), np.arange(20) % 16 / 15, "ab", "seed 0")
    with open(tmp_path / "map.npz", "wb") as file:
        maps.save(file, drawn)
    found = maps.load(tmp_path / "map.npz")
    assert found.types.tolist() == drawn.types.tolist()
    assert_allclose(found.places, drawn.places, atol=2e-3)
    assert_allclose(found.own, drawn.own)
    assert (found.cells, found.made_with) == ("ab", "seed 0")


@pytest.mark.slow
def test_umap_puts_separate_groups_apart_and_gives_the_same_twice():
    rng = np.random.default_rng(0)
    vectors = np.repeat([[0.0] * 5, [30.0] * 5], 30, axis=0) + rng.normal(size=(60, 5))
    places = maps._places(vectors.astype(np.float32))
    assert_allclose(places, maps._places(vectors.astype(np.float32)))
    within = max(np.ptp(places[:30], axis=0).max(), np.ptp(places[30:], axis=0).max())
    assert np.linalg.norm(places[:30].mean(axis=0) - places[30:].mean(axis=0)) > within / 2
