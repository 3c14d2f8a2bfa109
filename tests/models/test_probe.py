"""Probes read a network and change nothing in it; an embedding is computed once, and never taken for another one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from anndata import AnnData
from in_process import run_task

from bench.core.errors import BenchError
from bench.core.unfinished import kept_in
from bench.datasets.names import cell_ids, hidden_names
from bench.models import create, describe, probe, sample
from bench.models.candidate import Candidate
from bench.models.classifiers import ClassifierConfig, fitted
from bench.models.conformance import CHECKS
from bench.models.contract import labels_of, without_labels
from bench.models.embeddings import embeddings_of
from bench.models.geneformer.network import GeneformerNetwork
from bench.models.probe import PROBES
from bench.models.scfoundation.inputs import Batch
from bench.protocol import records
from bench.protocol.conditions import conditions
from bench.protocol.trial import of_model
from bench.protocol.trials import Grid
from bench.training import rows
from bench.training.finetune import over_cells
from bench.training.rows import stores
from bench.weights import read, save

FAMILIES = ("scbert", "scgpt", "geneformer", "scfoundation")
WIDTHS = {"scbert": 16, "scgpt": 16, "geneformer": 16, "scfoundation": 4 * 16}
LAST = {  # end of the name of the last tensor that an embedding goes through
    "scbert": "norm.weight",
    "scgpt": "norm2.weight",
    "geneformer": "layer.1.output.LayerNorm.weight",  # it is read before its last layer
    "scfoundation": "encoder.norm.weight",
}
DECODER = ("decoder", "norm.", "to_final.")  # of scFoundation, which no embedding of cells goes through
EVERY = [f"{family}@{variant}" for family in FAMILIES for variant in PROBES]
every_family = pytest.mark.parametrize("family", FAMILIES)
every_probe = pytest.mark.parametrize("name", EVERY)
_candidates = {}  # fitted once for the checks that only predict


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def weights(tiny_scbert, tiny_scgpt, tiny_geneformer, tiny_scfoundation):
    return dict(zip(FAMILIES, (tiny_scbert, tiny_scgpt, tiny_geneformer, tiny_scfoundation), strict=True))


@pytest.fixture
def settings(weights):
    """Return overrides of a model: some weights, and a classifier that is fitted at once."""
    return lambda name, **more: {"weights": str(weights[name.partition("@")[0]]()), "classifier": "knn"} | more


@pytest.fixture
def model(settings):
    return lambda name, **more: create(describe(name, settings(name, **more)))


@pytest.fixture
def passes(monkeypatch) -> list[int]:
    """Return how many cells have gone through a network each time."""
    counted = []

    def counting(network, embed, cells, schedule):
        counted.append(len(cells))
        return over_cells(network, embed, cells, schedule)

    monkeypatch.setattr(probe, "over_cells", counting)
    return counted


def near(found, expected, atol=1e-5):
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def of_authors(model, cells: AnnData) -> np.ndarray:
    """Return the embeddings by the whole network, each cell by itself."""
    given, network, found = model.cells(cells), model.network_.eval(), []
    for i in range(len(given)):
        inputs = given.inputs(np.array([i]), torch.device("cpu"))
        with torch.no_grad():
            if isinstance(network, GeneformerNetwork):  # the mean of the layer before the last
                found.append(network.encode(inputs, network.architecture.depth - 1).mean(0))
                continue
            if isinstance(inputs, Batch):  # those of S and T, which come last, the maximum and the mean of genes
                *genes, t, s = network.encode(inputs.parts[0])
                genes = torch.stack(genes)
                found.append(torch.cat([s, t, genes.amax(0), genes.mean(0)]))
                continue
            encodings = network.encode(inputs)
        if hasattr(inputs, "first"):
            found.append(encodings[0])  # of the first token
        else:
            found.append(encodings[0][inputs[0] > 0].mean(0))  # over expressed genes
    return torch.stack(found).numpy()


# What a probe is


@pytest.mark.slow
@every_probe
@pytest.mark.parametrize("promise", CHECKS)
def test_probes_keep_the_promises_of_every_model(name, promise, sides, model):
    if name not in _candidates:
        _candidates[name] = Candidate(lambda: model(name), *sides, tolerance=1e-6)
    CHECKS[promise].function(_candidates[name])


@pytest.mark.slow
@every_probe
def test_embeddings_are_those_of_the_network_and_its_authors(name, sides, model, passes):
    fitted_, cells = model(name).fit(sides[0], seed=0), without_labels(sides[1])
    found = fitted_.embed(cells)
    assert found.shape == (80, WIDTHS[name.partition("@")[0]]) and found.dtype == np.float32
    assert found.std(axis=0).min() > 0
    near(found, of_authors(fitted_, cells))


@pytest.mark.slow
@every_probe
def test_nothing_of_the_network_is_trained_and_it_has_no_head(name, sides, model):
    fitted_ = model(name, epochs=3, lr=1.0).fit(sides[0], seed=4)
    before = model(name).with_network(sides[0], 4).network_.state_dict()
    assert all(torch.equal(tensor, before[key]) for key, tensor in fitted_.network_.state_dict().items())
    assert not any("cls_decoder" in key or "to_out.fc" in key for key in before)


@pytest.mark.slow
@every_family
@pytest.mark.parametrize("classifier", ["l1_logistic", "l2_logistic", "knn", "nearest_centroid"])
def test_the_classifier_is_that_of_any_vectors(family, classifier, sides, model):
    options = {"classifier": classifier, "Cs": [1.0]}
    fitted_, cells = model(f"{family}@probe", **options).fit(sides[0], seed=0), without_labels(sides[1])
    vectors = fitted_.embed(without_labels(sides[0]))
    expected = fitted(vectors, labels_of(sides[0]), ClassifierConfig(classifier, (1.0,)), seed=0)
    near(fitted_.predict_proba(cells), expected.predict_proba(fitted_.embed(cells)), 1e-7)
    np.testing.assert_array_equal(fitted_.predict(cells), expected.predict(fitted_.embed(cells)))


@every_family
@pytest.mark.parametrize("classifier", ["l1_logistic", "knn"])
def test_a_single_class_is_accepted(family, classifier, sides, model):
    train = sides[0][labels_of(sides[0]) == "mDC"].copy()
    said = (
        model(f"{family}@probe", classifier=classifier, Cs=[1.0])
        .fit(train, seed=0)
        .predict_proba(without_labels(sides[1]))
    )
    np.testing.assert_array_equal(said, np.ones((80, 1)))


@pytest.mark.slow
@every_family
def test_the_seed_matters_to_random_weights_alone(family, sides, model):
    train, cells = sides[0], without_labels(sides[1])

    def found(variant: str) -> list[np.ndarray]:
        return [model(f"{family}@{variant}").fit(train, seed=seed).embed(cells) for seed in (0, 1)]

    np.testing.assert_array_equal(*found("probe"))
    first, other = found("random_probe")
    assert np.abs(first - other).max() > 0.1
    assert not describe(f"{family}@probe").is_stochastic
    assert describe(f"{family}@random_probe").is_stochastic and describe(family).is_stochastic


def test_random_weights_of_scbert_have_random_positions_too_or_none(sides, model, weights):
    network = model("scbert@random_probe").with_network(sides[0], 0).network_
    vectors = network.pos_emb["emb"].weight
    assert 0.9 < vectors[:-1].std() < 1.1 and not vectors[-1].any()
    drawn = network.token_emb.weight.detach().flatten().double()
    assert not torch.isclose(drawn, vectors.flatten()[: len(drawn)]).any()
    without = str(weights["scbert"]("without_positions", gene2vec=False))
    for variant in PROBES:
        fitted_ = model(f"scbert@{variant}", weights=without).with_network(sides[0], 0)
        assert fitted_.embed(without_labels(sides[1])).shape == (80, 16)


@pytest.mark.slow
@every_family
def test_what_was_loaded_is_said(family, sides, model, weights):
    tensors = read(weights[family]()).tensors
    loaded, random = (model(f"{family}@{variant}").fit(sides[0], seed=0) for variant in PROBES)
    taken = tensors.keys() & loaded.network_.state_dict().keys()
    unread = tensors.keys() - taken
    assert bool(unread) == (family == "scfoundation") and all(name.startswith(DECODER) for name in unread)
    assert loaded.audit_.startswith(f"{len(taken)} of {len(tensors)} tensors, sha256 ")
    assert random.audit_.startswith(f"0 of {len(tensors)} tensors, only ")
    assert loaded.genes_ == random.genes_ and len(loaded.genes_.used) in (60, 400)


@pytest.mark.parametrize(
    ("name", "setting", "said"),
    [
        ("scbert@probe", {"stabiliser": "batch"}, "stabiliser='batch' the embedding .* needs stabiliser='per_cell'"),
        ("scgpt@random_probe", {"published_rng": True}, "published_rng=True the embedding .* published_rng=False"),
        ("scgpt@probe", {"layers": 1}, "make sense from scratch only: .*scgpt@random_probe"),
        ("scbert@probe", {"precision": "fp16"}, "Unknown precision 'fp16'"),
        ("scgpt@probe", {"classifier": "svm"}, "Unknown classifier 'svm'"),
        ("scgpt@random_probe", {"weights": None}, "scgpt needs weights"),
    ],
)
def test_settings_that_no_embedding_could_be_kept_for_are_refused(name, setting, said, sides, model):
    with pytest.raises(BenchError, match=said):
        model(name, **setting).fit(sides[0], seed=0)


@pytest.mark.slow
@every_probe
def test_cells_that_were_pretrained_on_are_refused_where_something_pretrained_goes_in(name, sides, settings, weights):
    family, _, variant = name.partition("@")
    path = weights[family]("seen_cells")
    cells = without_labels(sides[1])
    np.save(path.with_suffix(".cells.npy"), cell_ids("small", cells.obs_names[:7]))
    spec = describe(name, settings(name, weights=str(path)))
    fitted_ = create(spec).fit(sides[0], seed=0)
    said = conditions(fitted_, spec, sides[0], cells)["pretrained_on_scored_cells"]
    if variant == "probe":
        with pytest.raises(BenchError, match="7 of the 80 cells to score were pretrained on"):
            fitted_.predict(cells)
    else:
        fitted_.predict(cells)
    assert said == ("yes" if variant == "probe" else "no")
    assert not spec.sees_scored_cells
    left = sample.unseen(sides[1], spec.weights)
    assert left.n_obs == 73 and not set(hidden_names(left.obs_names)) & set(cells.obs_names[:7])


def test_keys_of_what_was_recorded_before_hold_no_classifier(settings):
    plain = describe("scgpt", {"weights": settings("scgpt")["weights"]})
    assert "classifier" in plain.hyperparameters and "classifier" not in of_model(plain)["hyperparameters"]
    other = describe("scgpt@probe", settings("scgpt"))
    assert '"classifier":"knn"' in of_model(other)["hyperparameters"]


# What is kept


@pytest.mark.slow
@every_family
def test_each_cell_is_computed_once_for_all_shares_and_seeds(family, small, settings, passes, tmp_path):
    small.write_h5ad(tmp_path / "small.h5ad")
    names = [f"{family}@{variant}" for variant in PROBES]
    grid = Grid(
        "probes",
        "quick",
        str(tmp_path / "small.h5ad"),
        names,
        fractions=[0.2, 1.0],
        seeds=[0, 1],
        split="authors",
        overrides={name: settings(name) for name in names},
    )
    tasks = grid.tasks()
    assert [run_task(task) for task in tasks] == [""] * 7  # four of random weights, three of pretrained ones
    assert sum(passes) == 3 * small.n_obs  # pretrained weights, and two random ones
    assert len(stores()) == 3
    table = records.read("probes", committed=False)
    assert set(table["sees_scored_cells"]) == {"no"}
    assert (table["status"] == "ok").all()


@pytest.mark.slow
@every_family
def test_neither_weights_nor_seeds_nor_precisions_share_a_store(family, sides, model, weights, cache, monkeypatch):
    other = weights[family]("other")
    tensors = read(other).tensors
    last = [name for name in tensors if name.endswith(LAST[family])][-1]
    save(other, tensors | {last: tensors[last] * 2}, read(other).metadata)
    name, cells = f"{family}@probe", without_labels(sides[1])
    ways = [
        (name, 0, {}),
        (name, 0, {"weights": str(other)}),
        (name, 0, {"precision": "bf16"}),
        (f"{family}@random_probe", 0, {}),
        (f"{family}@random_probe", 1, {}),
    ]

    def found() -> list[np.ndarray]:
        return [model(n, **more).with_network(sides[0], seed).embed(cells) for n, seed, more in ways]

    kept, again = found(), found()
    assert len(stores()) == len(ways)
    monkeypatch.setattr(rows, "LIMIT", 0)  # nothing is kept
    for one, two, alone in zip(kept, again, found(), strict=True):
        np.testing.assert_array_equal(one, two)
        near(one, alone)
    differ = [np.abs(a - b).max() for i, a in enumerate(kept) for b in kept[:i]]
    assert min(differ) > 1e-4


def test_heads_that_no_tensor_tells_have_a_store_of_their_own(sides, model):
    one, two = (model("scgpt@random_probe", heads=heads).with_network(sides[0], 0) for heads in (2, 4))
    cells = without_labels(sides[1])
    assert np.abs(one.embed(cells) - two.embed(cells)).max() > 1e-4
    assert len(stores()) == 2


@every_probe
def test_neither_order_nor_the_size_of_a_batch_matters(name, sides, model, monkeypatch):
    cells = without_labels(sides[1])
    expected = model(name).with_network(sides[0], 0).embed(cells)
    places = np.random.default_rng(0).permutation(cells.n_obs)
    monkeypatch.setattr(rows, "LIMIT", 0)
    for size in (1, 7, 200):
        near(model(name, evaluation_batch=size).with_network(sides[0], 0).embed(cells[places].copy()), expected[places])


@pytest.mark.slow
@every_family
def test_a_process_killed_half_way_leaves_what_it_has_computed(family, sides, model, passes, monkeypatch):
    fitted_, cells = model(f"{family}@probe", evaluation_batch=16).with_network(sides[0], 0), without_labels(sides[1])
    counting = probe.over_cells

    def killed(*arguments):
        if len(passes) == 3:
            raise KeyboardInterrupt
        return counting(*arguments)

    monkeypatch.setattr(probe, "over_cells", killed)
    with pytest.raises(KeyboardInterrupt):
        fitted_.embed(cells)
    (folder,) = stores()
    with open(folder / "values", "ab") as values:
        values.write(b"half a row")
    monkeypatch.setattr(probe, "over_cells", counting)
    near(fitted_.embed(cells), of_authors(fitted_, cells))
    assert passes == [16] * 5


def test_a_disk_that_is_full_is_said_and_the_probe_goes_on(sides, model, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rows.Store, "add", full)
    fitted_, cells = model("scgpt@probe").fit(sides[0], seed=0), without_labels(sides[1])
    near(fitted_.embed(cells), of_authors(fitted_, cells))
    assert "Embeddings cannot be kept (No space left on device): it is computed each time." in capsys.readouterr().err


def test_seconds_that_earlier_work_took_are_those_of_the_probe_too(sides, model, monkeypatch, tmp_path):
    clock = iter(range(100))
    monkeypatch.setattr(probe.time, "perf_counter", lambda: float(next(clock)))  # every pass takes a second
    for expected in (0, 3):  # of 160 training cells, 64 at a time
        with kept_in(tmp_path / "state.pt") as work:
            model("scgpt@probe").fit(sides[0], seed=0)
        assert work.earlier_s == pytest.approx(expected)


def test_embeddings_that_are_not_finite_are_a_sentence(sides, model):
    fitted_ = model("scgpt@random_probe").with_network(sides[0], 0)
    with torch.no_grad():
        fitted_.network_.encoder["enc_norm"].weight *= torch.inf
    with pytest.raises(BenchError, match="embeddings of 80 of 80 cells are not finite in precision 'float32'"):
        fitted_.embed(without_labels(sides[1]))


def test_a_class_of_ones_own_has_new_stores_when_its_file_changes(tmp_path, monkeypatch, model):
    monkeypatch.syspath_prepend(tmp_path)
    text = "from bench.models.scgpt.annotator import ScGPT\nclass Mine(ScGPT): ...\n"
    said = []
    for more in ("", "# another embedding\n"):
        (tmp_path / "my_probe.py").write_text(text + more)
        said.append(probe.version_of(create(describe("my_probe:Mine@probe"))))
    assert said[0] != said[1]
    assert probe.version_of(model("scgpt@probe")) == "bench.models.scgpt.annotator:ScGPT 1"


# For pages


@pytest.mark.slow
@every_probe
def test_embeddings_of_a_data_set_are_what_the_classifier_is_given(name, sides, model, settings, passes):
    fitted_ = model(name).fit(sides[0], seed=3)
    found = embeddings_of(name, sides[0], seed=3, overrides=settings(name, epochs=9))
    assert sum(passes) == sides[0].n_obs  # the second time from the cache
    np.testing.assert_array_equal(found, fitted_.embed(without_labels(sides[0])))
    assert found.shape == (160, WIDTHS[name.partition("@")[0]])


@pytest.mark.parametrize(("name", "said"), [("scgpt", "scgpt@probe, scgpt@random_probe"), ("knn", "a probe of a")])
def test_what_depends_on_training_is_no_embedding_of_a_data_set(name, said, sides):
    with pytest.raises(BenchError, match=f"What {name} makes of cells depends on training; name .*{said}"):
        embeddings_of(name, sides[0])
