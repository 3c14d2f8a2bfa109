"""Maps of embeddings as readers see them: which are found, what a panel shows, what the table says, what is missing."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from made_up import row, table_of
from numpy.testing import assert_allclose

from bench.core.errors import BenchError
from bench.protocol.maps import Map
from bench.report import figures, tables
from bench.report.figures import maps
from bench.statistics.intervals import t_interval

TYPES = np.resize(["T cell", "B cell", "NK cell"], 40)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def drawn(seed=0, own=0.5, types=TYPES, cells="ab") -> Map:
    rng = np.random.default_rng(seed)
    shares = np.clip(own + rng.normal(0, 0.1, len(types)), 0, 1)
    return Map(types, rng.normal(size=(len(types), 2)), shares, cells, "seed 0")


MAPS = {
    "Stand-in: baron": {
        "projection, principal components": [drawn(5, 0.9)],
        "scGPT, probe": [drawn(1, 0.8)],
        "scGPT, probe of random weights": [drawn(2, 0.3), drawn(3, 0.4)],
    },
    "Quick: hao": {"scBERT, probe": [drawn(4, types=np.array([f"type {i}" for i in range(40)]))]},
}


def records(*arms, tier="quick", dataset="hao"):
    """Return a run of each (model, variant, seed)."""
    same = {"tier": tier, "dataset": dataset, "experiment": "embeddings"}
    return table_of([row(model, variant, seed, "accuracy", 0.5, **same) for model, variant, seed in arms])


def kept_of(found, monkeypatch):
    """Let maps be found by model and variant; others have none."""

    def read(experiment, tier, key):
        *_, model, variant, _settings, seed, _weights = key.split("/")
        if (model, variant) not in found:
            raise BenchError("none")
        return drawn(int(seed))

    monkeypatch.setattr(maps, "read_map", read)


def texts(axis) -> list[str]:
    return [text.get_text() for text in axis.texts]


def test_maps_are_found_by_data_and_series_lowest_seed_first(monkeypatch):
    kept_of({("scgpt", "random_probe"), ("projection", "pca")}, monkeypatch)
    arms = (
        ("scgpt", "random_probe", 1),
        ("scgpt", "random_probe", 0),
        ("majority", "default", 0),
        ("projection", "pca", 0),
    )
    found = figures.maps_of(records(*arms))
    assert list(found) == ["Quick: hao"]
    assert list(found["Quick: hao"]) == ["scGPT, probe of random weights", "projection, principal components"]
    seeds = found["Quick: hao"]["scGPT, probe of random weights"]
    for seed in (0, 1):
        assert_allclose(seeds[seed].places, drawn(seed).places)


def test_panels_are_square_and_equally_large_and_say_what_can_be_compared():
    figure = figures.umap(MAPS)
    figure.canvas.draw()
    panels = [axis for axis in figure.axes if axis.get_title()]
    assert [axis.get_title() for axis in panels[:2]] == ["projection,\nprincipal components", "scGPT,\nprobe"]
    assert panels[2].get_xlabel() == f"own type: {np.mean([drawn(2, 0.3).own, drawn(3, 0.4).own]):.2f}"
    sizes = np.array([axis.get_window_extent().size for axis in panels])
    assert_allclose(sizes, sizes[0, 0], rtol=0.02)
    assert all(len(axis.get_xticks()) == 0 for axis in panels)
    assert len({tuple(map(tuple, axis.collections[0].get_facecolors())) for axis in panels[:3]}) == 1  # the same cells
    assert texts(panels[0]) == ["1", "2", "3"]
    (names,) = [axis for axis in figure.axes if "T cell" in texts(axis)]
    assert texts(names) == ["1", "T cell", "2", "B cell", "3", "NK cell"]


def test_rare_types_beyond_the_numbered_ones_are_grey():
    panel = figures.umap({"Quick: hao": MAPS["Quick: hao"]}).axes[0]
    assert len(texts(panel)) == maps.NUMBERED
    assert len(np.unique(panel.collections[0].get_facecolors(), axis=0)) == len(maps.COLOURS) + 1


def test_nothing_kept_is_said_and_no_error():
    assert "nothing recorded" in texts(figures.umap({}).axes[0])[0]
    assert tables.neighbours({}).empty
    tables.show(tables.neighbours({}))


def test_the_table_sets_pretrained_against_random_weights_cell_by_cell():
    table = tables.neighbours(MAPS)
    random = [drawn(2, 0.3).own, drawn(3, 0.4).own]
    gain = t_interval(drawn(1, 0.8).own - np.mean(random, axis=0))
    probe = table.loc[("Stand-in: baron", "scGPT, probe")]
    assert probe["above random weights"] == f"{gain.mean:+.3f} ± {gain.half_width:.3f}"
    other = table.loc[("Stand-in: baron", "scGPT, probe of random weights")]
    assert other["of its own type"] == pytest.approx(np.mean(random))
    assert other["over seeds"] == f"{random[0].mean():.3f} to {random[1].mean():.3f}"
    assert (table.drop(index=probe.name)["above random weights"] == "–").all()
    of_others = {"scGPT, probe": [drawn(1)], "scGPT, probe of random weights": [drawn(2, cells="cd")]}
    assert (tables.neighbours({"Quick: hao": of_others})["above random weights"] == "–").all()


def test_sentences_get_a_number_or_a_dash():
    own = tables.own_type(MAPS, "Stand-in: baron", "scGPT, probe")
    assert own == pytest.approx(drawn(1, 0.8).own.mean())
    assert np.isnan(tables.own_type(MAPS, "Quick: hao", "scGPT, probe"))
    assert tables.above_random(MAPS, "Quick: baron", "scGPT, probe") == "–"


def test_what_has_no_map_is_said_with_the_command():
    runs = records(("scgpt", "probe", 0), ("scgpt", "random_probe", 0), ("majority", "default", 0))
    some = {"Quick: hao": {"scGPT, probe": [drawn()]}, "Stand-in: baron": MAPS["Stand-in: baron"]}
    command = "bench run chapters/embeddings.md -p tier quick"
    assert tables.without_map(runs, some) == (
        f"Quick: hao: no map of scGPT, probe of random weights is kept; make it with: {command}"
    )
    assert tables.without_map(runs, {}) == f"Quick: hao: no map is kept; make it with: {command}"
    every = {"Quick: hao": MAPS["Stand-in: baron"]}
    assert tables.without_map(runs.iloc[:2], every) == "A map is kept of every embedding."
