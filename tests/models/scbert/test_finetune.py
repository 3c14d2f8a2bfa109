"""Fine-tuning keeps the best epoch, sees what its recipe says, and ends well when memory, loss or user stop it."""

import json
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from in_process import run_task
from torch import nn

from bench.core.errors import BenchError
from bench.datasets.names import cell_ids
from bench.models import create, describe, finetuned
from bench.models.contract import without_labels
from bench.models.scbert.head import HeadOnBins
from bench.models.scbert.inputs import Positions as Cells
from bench.models.scbert.network import Head, ScBERTNetwork
from bench.protocol import records
from bench.protocol.trials import Grid
from bench.training import finetune as loop
from bench.training.finetune import History, Schedule, evaluate, finetune, predict
from bench.training.step import Fit, step_within_memory, training_step
from bench.weights import read

TUNED = {"epochs": 3, "lr": 0.01, "batch_size": 16, "stabiliser": "per_cell"}
N_GENES, N_CLASSES = 12, 3


class Watched(nn.Module):
    """A linear classifier that notes the first token of the cells it is trained on, and cannot take too many."""

    def __init__(self, most=1000, stop_at=None, error=torch.OutOfMemoryError):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.linear = nn.Linear(N_GENES + 1, N_CLASSES)
        self.register_buffer("passes", torch.tensor(0))
        self.most, self.stop_at, self.error, self.seen = most, stop_at, error, []

    def count_pass(self, seed: int) -> None:
        self.passes += 1

    def forward(self, tokens):
        if self.training and self.passes == self.stop_at:
            raise KeyboardInterrupt
        if self.training and len(tokens) > self.most:
            raise self.error(f"not enough memory for {len(tokens)} cells")
        if self.training:
            self.seen += tokens[:, 0].tolist()
        return self.linear(tokens.float())


def made_up(n_cells=30, seed=0) -> Cells:
    """Return cells whose first token is their number and whose second one tells the class."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 6, (n_cells, N_GENES)).astype(np.uint8)
    labels = rng.integers(0, N_CLASSES, n_cells)
    tokens[:, 0], tokens[:, 1] = np.arange(n_cells), labels * 2
    return Cells(tokens, labels)


def plan(epochs=4, batch_size=8, rate=lambda epoch: 0.01, **more) -> Schedule:
    return Schedule(epochs, batch_size, rate, **more)


def tune(network, validation=None, schedule=None, *, class_weights=None, seed=0) -> History:
    history, plan_ = History(), schedule or plan()
    finetune(network, made_up(), validation, plan_, history, class_weights=class_weights, seed=seed)
    return history


def state(network) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same_state(one, other) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


# The best epoch


@pytest.mark.parametrize("choose", ["accuracy", "loss"])
def test_the_best_epoch_is_put_back(choose):
    network = Watched()
    schedule = plan(6, choose=choose, rate=lambda epoch: 0.01 if epoch < 3 else 5.0)  # and then it goes wrong
    history = tune(network, made_up(seed=1), schedule)
    values = history.validation_accuracy if choose == "accuracy" else [-loss for loss in history.validation_loss]
    assert history.best_epoch == 1 + int(np.argmax(values)) < 6
    loss, accuracy = evaluate(network, made_up(seed=1), schedule, None)
    assert accuracy == max(history.validation_accuracy) or choose == "loss"
    assert loss == history.validation_loss[history.best_epoch - 1]
    assert network.passes == 4 * history.best_epoch  # buffers too: four batches an epoch
    shorter = Watched()
    tune(shorter, None, replace(schedule, epochs=history.best_epoch))
    assert same_state(state(network), state(shorter))


def test_of_equally_good_epochs_the_first_is_kept():
    network = Watched()
    history = tune(network, made_up(seed=1), plan(3, rate=lambda epoch: 0.0))
    assert len(set(history.validation_accuracy)) == 1
    assert history.best_epoch == 1
    assert network.passes == 4


def test_without_validation_cells_the_last_epoch_is_kept():
    network = Watched()
    history = tune(network)
    assert history.best_epoch == 4
    assert network.passes == 16
    assert history.validation_loss == history.validation_accuracy == []
    assert set(history.diagnostics()) == {"train_loss", "best_epoch", "micro_batch"}


def test_frozen_parameters_stay_and_are_not_kept_twice():
    network = Watched()
    network.linear.bias.requires_grad_(False)
    before = state(network)
    best = loop._Best("accuracy")
    best.see(network, 1.0, 0.5, 0)
    assert set(best.state) == {"linear.weight", "passes"}
    tune(network, made_up(seed=1))
    assert torch.equal(network.linear.bias, before["linear.bias"])
    assert not torch.equal(network.linear.weight, before["linear.weight"])


# Order, rates, losses


def test_each_epoch_takes_every_cell_once_in_an_order_of_seed_and_epoch():
    orders = {}
    for seed in (0, 0, 1):
        network = Watched()
        tune(network, None, plan(3), seed=seed)
        epochs = np.array(network.seen).reshape(3, 30)
        assert (np.sort(epochs, axis=1) == np.arange(30)).all()
        assert len({tuple(order) for order in epochs}) == 3
        np.testing.assert_array_equal(orders.setdefault(seed, epochs), epochs)
    assert (orders[0] != orders[1]).mean() > 0.8


def test_without_shuffling_cells_come_in_their_order():
    network = Watched()
    tune(network, None, plan(2, shuffle=False))
    assert network.seen == [*range(30), *range(30)]


def test_other_random_numbers_do_not_matter():
    states = []
    for other in (1, 2):
        torch.manual_seed(other)
        np.random.seed(other)  # noqa: NPY002
        network = Watched()
        tune(network, made_up(seed=1))
        states.append(state(network))
    assert same_state(*states)


def test_the_rate_of_an_epoch_is_used_in_it():
    moved = []
    for rates in ([0.0, 0.0], [0.01, 0.0], [0.0, 0.02]):
        network = Watched()
        before = network.linear.weight.detach().clone()
        tune(network, None, plan(2, 30, rate=rates.__getitem__))  # one step an epoch
        moved.append((network.linear.weight - before).abs().max().item())
    assert moved == pytest.approx([0, 0.01, 0.02], rel=1e-3)  # Adam's first step has the length of the rate


def test_loss_is_torchs_weighted_mean_and_the_step_adams():
    weights, cells = torch.tensor([1.0, 5.0, 0.2]), made_up()
    ours, torchs = Watched(), Watched()
    tokens, labels = F.pad(torch.tensor(cells.tokens).long(), (0, 1)), torch.tensor(cells.labels)
    optimizers = [torch.optim.Adam(network.parameters(), lr=0.01) for network in (ours, torchs)]
    for _ in range(3):
        found = training_step(ours, optimizers[0], [(tokens, labels)], weights)
        loss = F.cross_entropy(torchs(tokens), labels, weights)
        optimizers[1].zero_grad()
        loss.backward()
        optimizers[1].step()
        assert found == pytest.approx(loss.item(), rel=1e-6)
    torch.testing.assert_close(ours.linear.weight, torchs.linear.weight, rtol=0, atol=1e-6)


def test_gradient_is_cut_to_the_largest_norm():
    network, cells = Watched(), made_up()
    tokens, labels = F.pad(torch.tensor(cells.tokens).long(), (0, 1)), torch.tensor(cells.labels)
    training_step(network, torch.optim.Adam(network.parameters()), [(tokens, labels)], None, clip=1e-3)
    norm = torch.stack([p.grad.norm() for p in network.parameters()]).norm().item()
    assert norm == pytest.approx(1e-3, rel=1e-3)


def test_sparse_and_dense_tokens_are_the_same_and_get_the_appended_one():
    cells, rows, device = made_up(), np.array([4, 2, 9]), torch.device("cpu")
    dense = cells.inputs(rows, device)
    assert dense.shape == (3, N_GENES + 1)
    assert not dense[:, -1].any()
    assert torch.equal(Cells(sp.csr_matrix(cells.tokens), cells.labels).inputs(rows, device), dense)


def test_prediction_keeps_the_order_and_evaluation_is_torchs():
    network, cells, weights = Watched(), made_up(), torch.tensor([1.0, 5.0, 0.2])
    logits = predict(network, cells, plan(evaluation_batch=7))
    expected = network.eval()(F.pad(torch.tensor(cells.tokens).long(), (0, 1)))
    torch.testing.assert_close(logits, expected.detach())
    loss, accuracy = evaluate(network, cells, plan(), weights)
    assert loss == pytest.approx(F.cross_entropy(expected, torch.tensor(cells.labels), weights).item(), rel=1e-6)
    assert accuracy == (expected.argmax(1).numpy() == cells.labels).mean()


# What stops a training


def test_after_ctrl_c_the_best_epoch_so_far_is_in_place():
    whole, stopped = Watched(), Watched(stop_at=4 * 2 + 2)  # in epoch 3, of 4 batches each
    with pytest.raises(KeyboardInterrupt):
        tune(stopped, made_up(seed=1))
    history = tune(whole, made_up(seed=1), plan(2))
    assert stopped.passes == 4 * history.best_epoch
    assert same_state(state(stopped), state(whole))


def test_ctrl_c_in_the_first_epoch_leaves_a_network_that_predicts():
    network = Watched(stop_at=2)
    with pytest.raises(KeyboardInterrupt):
        tune(network, made_up(seed=1))
    assert torch.isfinite(predict(network, made_up(), plan())).all()


def test_a_loss_that_is_not_finite_says_where_and_what_to_do():
    with pytest.raises(BenchError, match=r"The loss is (nan|inf) at epoch 2, step \d; lower lr"):
        tune(Watched(), None, plan(rate=lambda epoch: 0.01 if epoch == 0 else 1e38))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError], ids=["of a GPU", "of a CPU"])
def test_out_of_memory_halves_the_cells_at_a_time_with_the_same_gradients(error, capsys):
    weights, cells = torch.tensor([1.0, 5.0, 0.2]), made_up(11)
    gradients = []
    for most in (100, 3):
        network = Watched(most, error=error)
        history = History(micro_batch=11)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        fit = Fit(network, optimizer, torch.amp.GradScaler("cpu", enabled=False), plan(batch_size=11), weights, history)
        loss = step_within_memory(fit, cells, np.arange(11), 0)
        gradients.append([loss, *(p.grad.clone() for p in network.parameters())])
        assert network.passes == 1  # a step that is tried again counts once
        assert history.micro_batch == (11 if most == 100 else 3)
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(torch.as_tensor(parts), torch.as_tensor(whole), rtol=1e-5, atol=1e-6)
    assert "Out of memory: 6 cells at a time from here on, gradients added up." in capsys.readouterr().out


def test_out_of_memory_holds_for_the_rest_of_the_training_and_is_recorded():
    network = Watched(3)
    history = tune(network, None, plan(2))
    assert history.micro_batch == history.diagnostics()["micro_batch"] == 2
    assert sorted(network.seen) == sorted([*range(30)] * 2)  # nothing was trained on twice


def test_where_not_even_one_cell_fits_the_error_is_passed_on():
    with pytest.raises(torch.OutOfMemoryError, match="not enough memory for 1 cells"):
        tune(Watched(0))


def test_other_errors_are_no_lack_of_memory(monkeypatch):
    monkeypatch.setattr(Watched, "forward", lambda self, tokens: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        tune(Watched())


# scBERT as an annotator


@pytest.fixture
def model(tiny_scbert):
    """Return an unfitted scBERT, or another model, with small weights."""

    def _model(name="scbert", **overrides):
        defaults = TUNED if name.startswith("scbert") and name != "scbert_head" else {"epochs": 3, "lr": 0.01}
        overrides = {"weights": str(tiny_scbert())} | defaults | overrides
        return create(describe(name, {k: v for k, v in overrides.items() if v is not ...}))

    return _model


LAST = "performer.net.layers.1."


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trainable", "expected"),
    [
        ("last_layer", lambda name: name.startswith((LAST, "norm.", "to_out."))),
        ("head", lambda name: name.startswith("to_out.")),
        ("all", lambda name: name != "pos_emb.emb.weight"),
    ],
)
def test_trainable_trains_exactly_what_it_says(trainable, expected, model, sides):
    fitted = model(trainable=trainable, lr=0.05)
    fitted.fit(sides[0], seed=0)
    parameters = dict(fitted.network_.named_parameters())
    assert {name for name, p in parameters.items() if p.requires_grad} == set(filter(expected, parameters))
    given = fitted._checkpoint.tensors
    for name, tensor in fitted.network_.state_dict().items():
        if name in given and not name.startswith("to_out"):
            trained = name in parameters and expected(name)
            counter = name.endswith("calls_since_last_redraw")
            assert torch.equal(tensor, given[name]) == (not trained and not counter), name


def test_published_recipe_trains_what_the_golden_case_trains(model, golden):
    about, _ = golden("scbert_finetune")
    tuned = model()
    tuned._checkpoint = read(tuned.weights)
    names = {name for name, p in tuned.build(4, seed=0).named_parameters() if p.requires_grad}
    assert names == set(about["trainable_parameters"])  # both have two layers


def test_training_passes_are_counted_from_where_the_weights_were(model, sides):
    fitted = model(epochs=2).fit(sides[0], seed=0)
    assert fitted.network_.performer.calls_since_last_redraw == 2 * 10  # 160 cells, 16 at a time


@pytest.mark.slow
def test_audit_names_every_tensor_and_is_part_of_the_record(model, sides, small, tiny_scbert, tmp_path):
    n = len(read(tiny_scbert()).tensors)
    digest = read(tiny_scbert()).sha256[:16]
    expected = {
        "scbert": f"{n} of {n} tensors, sha256 {digest}",
        "scbert@shuffled_genes": f"{n} of {n} tensors, sha256 {digest}",
        "scbert@no_pretraining": f"1 of 1 tensors, sha256 {digest}; not in the file: ",
    }
    for name, text in expected.items():
        assert model(name, epochs=1).fit(sides[0], seed=0).audit_.startswith(text)
    _, table = recorded(small, tmp_path, tiny_scbert(), epochs=1)
    assert set(table["weights"]) == {expected["scbert"]}


def test_variants_start_from_what_their_names_say(model, tiny_scbert):
    given = read(tiny_scbert()).tensors

    def start(name, seed=0, **overrides):
        made = model(name, **overrides)
        made._checkpoint = read(made.weights)
        return made.build(3, seed).state_dict()

    for name in ("scbert", "scbert@shuffled_genes"):
        assert all(torch.equal(t, given[key]) for key, t in start(name).items() if not key.startswith("to_out"))
    random = start("scbert@no_pretraining")
    assert torch.equal(random["pos_emb.emb.weight"], given["pos_emb.emb.weight"])  # gene2vec stays, as published
    learned = [key for key in given if key.startswith("performer.net") and key.endswith("weight") and "norm" not in key]
    assert not any(torch.equal(random[key], given[key]) for key in [*learned, "token_emb.weight"])
    assert same_state(random, start("scbert@no_pretraining"))
    assert not same_state(random, start("scbert@no_pretraining", seed=1))
    without = start("scbert@no_gene2vec", weights=str(tiny_scbert("without", gene2vec=False)))
    assert "pos_emb.emb.weight" not in without


@pytest.mark.slow
def test_shuffled_genes_are_one_permutation_for_all_cells(model, sides):
    cells = without_labels(sides[1])
    plain = model().fit(sides[0], seed=0).tokens(cells).toarray()
    shuffled = model("scbert@shuffled_genes", epochs=1).fit(sides[0], seed=0)
    found = shuffled.tokens(cells).toarray()
    order = shuffled._order
    assert sorted(order) == list(range(60)) != list(order)
    np.testing.assert_array_equal(found, plain[:, order])
    np.testing.assert_array_equal(shuffled.tokens(cells[::-1].copy()).toarray(), found[::-1])
    other = model("scbert@shuffled_genes", epochs=1).fit(sides[0], seed=1)
    assert list(other._order) != list(order)


def test_tokens_are_in_the_order_of_the_weights_genes(model, sides, tiny_scbert):
    genes = json.loads(read(tiny_scbert()).metadata["genes"])
    fitted = model(epochs=1).fit(sides[0], seed=0)
    cells = without_labels(sides[1])
    reordered = cells[:, np.random.default_rng(0).permutation(cells.n_vars)].copy()
    np.testing.assert_array_equal(fitted.tokens(reordered).toarray(), fitted.tokens(cells).toarray())
    counts = cells.X.toarray().astype(float)
    value = np.log2(1 + 1e4 * counts[:, cells.var_names.get_indexer(genes)] / counts.sum(axis=1, keepdims=True))
    np.testing.assert_array_equal(fitted.tokens(cells).toarray(), np.minimum(value + 1e-6, 5).astype(int))


@pytest.mark.slow
def test_embedding_is_the_mean_over_expressed_genes(model, sides):
    fitted = model(evaluation_batch=7).fit(sides[0], seed=0)
    cells = without_labels(sides[1])
    cells.X[0] *= 0
    cells.X.eliminate_zeros()
    found = fitted.embed(cells)
    assert found.shape == (cells.n_obs, 16)
    ids = F.pad(torch.from_numpy(fitted.tokens(cells).toarray()).long(), (0, 1))
    assert not ids[0].any()
    with torch.no_grad():
        encodings = torch.cat([fitted.network_.encode(cell[None]) for cell in ids]).numpy()
    expected = [
        e[i > 0].mean(axis=0) if i.any() else e.mean(axis=0) for e, i in zip(encodings, ids.numpy(), strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


# What each recipe sees


def relabelled(cells, labels):
    other = cells.copy()
    other.obs["cell_type"] = labels
    return other


def fit_and_watch(model, monkeypatch, train, scored, **overrides):
    """Return diagnostics, weights of the loss, rows trained on and the trained network's state."""
    given = {}
    original = finetuned.finetune

    def _finetune(network, cells, validation, schedule, history, *, class_weights, seed):
        given.update(
            weights=class_weights, n_train=len(cells), n_validation=0 if validation is None else len(validation)
        )
        return original(network, cells, validation, schedule, history, class_weights=class_weights, seed=seed)

    monkeypatch.setattr(finetuned, "finetune", _finetune)
    fitted = model(**overrides).fit(train, seed=0, validation=scored)
    return fitted, given, state(fitted.network_)


@pytest.mark.slow
def test_clean_recipe_is_the_same_with_and_without_scored_cells(model, sides, monkeypatch):
    train, scored = sides
    results = [fit_and_watch(model, monkeypatch, train, s, recipe="clean") for s in (None, scored)]
    (one, given, first_state), (two, _, second_state) = results
    assert same_state(first_state, second_state)
    assert one.diagnostics_ == two.diagnostics_
    assert (given["n_train"], given["n_validation"]) == (144, 16)
    np.testing.assert_allclose(given["weights"], 1 / 20)  # of all training cells, those that validate included


@pytest.mark.slow
def test_published_recipe_counts_scored_cells_in_the_weights_and_chooses_the_epoch_on_them(model, sides, monkeypatch):
    train, scored = sides
    labels = scored.obs["cell_type"].to_numpy()
    exchanged = relabelled(scored, np.roll(labels, 7))  # equally many of each type
    others = relabelled(scored, np.where(labels == "Platelet", "mDC", labels))
    plain, given, _ = fit_and_watch(model, monkeypatch, train, scored)
    assert (given["n_train"], given["n_validation"]) == (160, 80)
    np.testing.assert_allclose(given["weights"], 1 / 30)
    best = max(plain.diagnostics_["validation_accuracy"])
    assert (plain.predict(without_labels(scored)) == labels).mean() == pytest.approx(best)
    rolled, _, _ = fit_and_watch(model, monkeypatch, train, exchanged)
    assert rolled.diagnostics_["train_loss"] == plain.diagnostics_["train_loss"]
    assert rolled.diagnostics_["validation_accuracy"] != plain.diagnostics_["validation_accuracy"]
    more, given, _ = fit_and_watch(model, monkeypatch, train, others)
    counts = dict(zip(more.classes_, (1 / given["weights"]).round().int().tolist(), strict=True))
    assert (counts["mDC"], counts["Platelet"], counts["B cells"]) == (40, 20, 30)
    assert more.diagnostics_["train_loss"] != plain.diagnostics_["train_loss"]


@pytest.mark.slow
def test_published_recipe_leaks_nowhere_else(model, sides, monkeypatch):
    """Without class weights, and with one epoch to choose from, scored cells leave no trace."""
    train, scored = sides
    exchanged = relabelled(scored, np.random.default_rng(0).permutation(scored.obs["cell_type"].to_numpy()))
    exchanged.X = exchanged.X[::-1].copy()
    mono = relabelled(scored, "B cells")
    choices = {"class_weights": "none", "epochs": 1}
    states = [fit_and_watch(model, monkeypatch, train, s, **choices)[2] for s in (scored, exchanged, mono, None)]
    assert all(same_state(states[0], other) for other in states[1:])


@pytest.mark.slow
def test_scored_types_that_training_lacks_do_not_disturb_the_choice(model, sides):
    train, scored = sides
    train = train[(train.obs["cell_type"] != "Platelet").to_numpy()].copy()
    fitted = model().fit(train, seed=0, validation=scored)
    known = (scored.obs["cell_type"] != "Platelet").to_numpy()
    predicted = fitted.predict(without_labels(scored))
    right = (predicted == scored.obs["cell_type"].to_numpy())[known].mean()
    assert right == pytest.approx(max(fitted.diagnostics_["validation_accuracy"]))
    fitted.fit(train, seed=0, validation=relabelled(scored, "Platelet"))
    assert "validation_accuracy" not in fitted.diagnostics_


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_validation_cells_of_the_clean_recipe_are_a_stratified_share(share):
    labels = np.repeat([0, 1, 2, 3], [100, 60, 40, 1])
    cells = Cells(np.arange(201)[:, None], labels)
    train, validation = finetuned.stratified(cells, share, seed=0)
    assert len(validation) == round(share * 201)
    assert sorted([*train.tokens[:, 0], *validation.tokens[:, 0]]) == list(range(201))
    np.testing.assert_allclose(np.bincount(validation.labels), share * np.array([100, 60, 40]), atol=1)
    assert (train.labels == 3).sum() == 1  # a type with a single cell trains
    assert (finetuned.stratified(cells, share, seed=0)[1].tokens == validation.tokens).all()
    assert not np.array_equal(finetuned.stratified(cells, share, seed=1)[1].tokens, validation.tokens)
    assert (labels[train.tokens[:, 0]] == train.labels).all()


def test_too_few_cells_give_none_away_and_the_last_epoch_is_kept(model, sides):
    few = sides[0][:12].copy()
    fitted = model(recipe="clean", epochs=2).fit(few, seed=0)
    assert fitted.diagnostics_["best_epoch"] == 2
    assert "validation_loss" not in fitted.diagnostics_
    none = model(recipe="clean", validation_share=0.0, epochs=2).fit(sides[0], seed=0)
    assert none.diagnostics_["best_epoch"] == 2


# Wrong choices are sentences


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            {"weights": ...},
            r"scbert needs weights, for its genes .* set the override 'weights' .*scbert_panglao.*scbert_quick",
        ),
        ({"trainable": "last"}, r"Unknown trainable 'last'\..*all, head, last_layer"),
        ({"class_weights": "balanced"}, r"Unknown class_weights 'balanced'\. Valid: inverse, none"),
        ({"stabiliser": "cell"}, r"Unknown stabiliser 'cell'\..*batch, per_cell"),
        ({"precision": "fp16"}, r"Unknown precision 'fp16'\..*bf16, float32"),
        ({"recipe": "clean", "validation_share": 1.0}, r"validation_share=1\.0 should be at least 0 and below 1"),
        ({"device": "gpu"}, r"device='gpu' is not a device; expected cpu, cuda"),
        ({"weights": "no_such_name"}, r"Unknown weights 'no_such_name'"),
    ],
)
def test_a_wrong_choice_is_a_sentence(overrides, sentence, model, sides):
    with pytest.raises(BenchError, match=sentence):
        model(**overrides).fit(sides[0], seed=0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["scbert", "scbert_head"])
def test_a_gpu_that_is_not_there_is_a_sentence(name, model, sides):
    with pytest.raises(BenchError, match="device='cuda' was asked for, but torch finds no GPU; use device='cpu'"):
        model(name, device="cuda").fit(sides[0], seed=0)


@pytest.mark.parametrize("name", ["scbert", "scbert@no_pretraining", "scbert@shuffled_genes", "scbert@no_gene2vec"])
def test_weights_of_the_other_kind_are_refused_with_the_remedy(name, model, sides, tiny_scbert):
    lacks = name != "scbert@no_gene2vec"
    weights = str(tiny_scbert("other", gene2vec=not lacks))
    state = "without" if lacks else "with"
    with pytest.raises(
        BenchError, match=rf"pretrained {state} gene2vec, which {name}.* cannot use; .*'scbert@no_gene2vec'"
    ):
        model(name, weights=weights).fit(sides[0], seed=0)


@pytest.mark.parametrize("name", ["scbert", "scbert_head"])
@pytest.mark.parametrize("key", ["genes", "library"])
def test_weights_that_do_not_say_their_genes_are_refused_with_the_command(name, key, model, sides, tiny_scbert):
    weights = tiny_scbert("silent", **{key: None})
    with pytest.raises(
        BenchError, match=rf"does not say its {key}; convert it with: bench weights scbert --path .*--genes"
    ):
        model(name, weights=str(weights)).fit(sides[0], seed=0)


def test_weights_that_are_no_scbert_are_refused(model, sides, tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / "a.safetensors", {"genes": '["ISG15"]', "library": "all"})
    with pytest.raises(BenchError, match="This is no scBERT checkpoint"):
        model(weights=str(tmp_path / "a.safetensors")).fit(sides[0], seed=0)


def test_a_scored_cell_that_was_pretrained_on_is_refused(model, sides, tiny_scbert):
    train, scored = sides
    cells, name = without_labels(scored), scored.uns["bench"]["name"]
    weights = tiny_scbert("seen")
    ids = cell_ids(name, [*without_labels(train).obs_names, *cells.obs_names[:3]])
    np.save(weights.with_suffix(".cells.npy"), np.sort(ids))
    fitted = model(weights=str(weights), epochs=1).fit(train, seed=0)
    with pytest.raises(BenchError, match=r"3 of the 80 cells to score were pretrained on \(seen\.cells\.npy\)"):
        fitted.predict_proba(cells)
    assert fitted.predict_proba(cells[3:].copy()).shape == (77, 8)  # training cells may have been seen
    moved = cells.copy()
    moved.uns["bench"] = moved.uns["bench"] | {"name": "another_set"}
    assert fitted.predict_proba(moved).shape == (80, 8)  # the same names in another data set are other cells
    random = model("scbert@no_pretraining", weights=str(weights), epochs=1).fit(train, seed=0)
    with pytest.raises(BenchError, match="3 of the 80 cells"):  # its gene vectors were trained on these cells
        random.predict_proba(cells)


# The control without a transformer


def test_head_on_bins_is_the_published_head_without_its_first_step():
    on_bins, whole = HeadOnBins(16_907, 11), Head(16_907, 11, 200)
    n, n_whole = (sum(p.numel() for p in network.parameters()) for network in (on_bins, whole))
    assert n_whole - n == 201
    numbers = torch.rand(4, 16_907)
    on_bins.load_state_dict({k: t for k, t in whole.state_dict().items() if not k.startswith("conv1")})
    torch.testing.assert_close(on_bins(numbers), whole.classify(numbers))


@pytest.mark.slow
@pytest.mark.parametrize("genes", ["weights", "panglao", "all"])
def test_head_takes_its_genes_from_weights_or_a_list_and_learns(genes, model, sides):
    options = {} if genes == "weights" else {"weights": ..., "genes": genes}
    fitted = model("scbert_head", epochs=6, lr=1e-3, **options).fit(sides[0], seed=0)
    cells = without_labels(sides[1])
    assert fitted.network_.fc1.in_features == {"weights": 61, "panglao": 16_907, "all": 501}[genes]
    assert (fitted.predict(cells) == sides[1].obs["cell_type"].to_numpy()).mean() > 0.4  # one in eight by chance
    assert not fitted.batch_dependent


# Through the runner


def recorded(small, tmp_path, weights, name="scbert", **overrides):
    """Return what `run_task` says, and the records of the trial."""
    small.write_h5ad(tmp_path / "small.h5ad")
    overrides = {name: {"weights": str(weights)} | TUNED | overrides}
    (task,) = Grid("tuned", "quick", str(tmp_path / "small.h5ad"), name, overrides=overrides).tasks()
    said = run_task(task)
    table = records.read("tuned", committed=False)
    return said, table[table["key"] == task.trial.key]


def values(table, metric) -> list[float]:
    return table.loc[table["metric"] == metric].sort_values("epoch")["value"].tolist()


def test_diverged_training_is_a_failed_record_with_its_reason(small, tmp_path, tiny_scbert):
    said, table = recorded(small, tmp_path, tiny_scbert(), lr=1e38)
    assert "failed: BenchError: The loss is" in said
    (status,) = set(table["status"])
    assert status.startswith("failed: BenchError: The loss is nan at epoch ") and "lower lr" in status
    assert table["value"].isna().all()


@pytest.mark.slow
def test_a_good_training_records_epochs_and_what_it_needed(small, tmp_path, tiny_scbert):
    said, table = recorded(small, tmp_path, tiny_scbert())
    assert said == ""
    for metric in ("train_loss", "validation_loss", "validation_accuracy"):
        assert len(values(table, metric)) == 3
        assert table.loc[table["metric"] == metric, "epoch"].tolist() == [1, 2, 3]
    accuracies = values(table, "validation_accuracy")
    assert values(table, "best_epoch") == [1 + np.argmax(accuracies)]
    assert values(table, "micro_batch") == [16]
    assert values(table, "accuracy") == [pytest.approx(max(accuracies))]  # published: on the very cells that it scores
    assert set(table["sees_scored_cells"]) == {"yes"}
    assert (set(table["genes_wanted"]), set(table["genes_used"])) == ({60}, {60})
    assert set(table["weights_sha256"]) == {sha256(tiny_scbert().read_bytes()).hexdigest()}


@pytest.mark.slow
def test_out_of_memory_gives_the_same_result_and_is_recorded(small, tmp_path, tiny_scbert, monkeypatch):
    _, whole = recorded(small, tmp_path, tiny_scbert(), lr=1e-3)
    forward = ScBERTNetwork.forward

    def _forward(self, tokens):
        if self.training and len(tokens) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, tokens)

    monkeypatch.setattr(ScBERTNetwork, "forward", _forward)
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "other"))
    said, parts = recorded(small, tmp_path, tiny_scbert(), lr=1e-3)
    assert said == ""
    assert (values(whole, "micro_batch"), values(parts, "micro_batch")) == ([16], [4])
    np.testing.assert_allclose(values(parts, "train_loss"), values(whole, "train_loss"), rtol=1e-4)
    monkeypatch.setattr(
        ScBERTNetwork, "forward", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("none at all"))
    )
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "third"))
    said, nothing = recorded(small, tmp_path, tiny_scbert(), lr=1e-3)
    assert set(nothing["status"]) == {"failed: OutOfMemoryError: none at all"}


@pytest.mark.slow
def test_ctrl_c_in_the_third_epoch_leaves_a_model_with_its_best_epoch_so_far(model, sides, monkeypatch):
    train, scored = sides
    expected = model(epochs=2).fit(train, seed=0, validation=scored)
    count = ScBERTNetwork.count_pass

    def _count(self, seed):
        if self.performer.calls_since_last_redraw == 2 * 10 + 3:
            raise KeyboardInterrupt
        return count(self, seed)

    monkeypatch.setattr(ScBERTNetwork, "count_pass", _count)
    stopped = model(epochs=10)
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(train, seed=0, validation=scored)
    cells = without_labels(scored)
    np.testing.assert_array_equal(stopped.predict_proba(cells), expected.predict_proba(cells))
    assert (stopped.predict(cells) == scored.obs["cell_type"].to_numpy()).mean() == pytest.approx(
        max(expected.diagnostics_["validation_accuracy"])
    )
