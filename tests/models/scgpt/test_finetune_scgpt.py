"""scGPT as an annotator: what its recipes see, what its variants train, and what stops it, on real cells."""

import json
import os
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest
import torch
from in_process import run_task
from scipy import sparse as sp
from sklearn.model_selection import train_test_split

from bench.core.errors import BenchError
from bench.datasets.names import cell_ids
from bench.models import create, describe, finetuned
from bench.models.contract import without_labels
from bench.models.layers.sequences import Sequences
from bench.models.scgpt.annotator import FROM_SCRATCH, FROZEN
from bench.models.scgpt.binning import CLS, at_most, binned
from bench.models.scgpt.network import Architecture, ScGPTNetwork
from bench.protocol import records
from bench.protocol.trials import Grid
from bench.training import finetune as loop
from bench.training.step import training_step
from bench.weights import read

QUICK = {"epochs": 2, "lr": 1e-3, "batch_size": 16, "max_tokens": 81}
SMALL = {"layers": 2, "dim": 12, "hidden": 20, "heads": 3}  # not those of the weights
VARIANTS = ["pretrained", *FROM_SCRATCH]


@pytest.fixture
def model(tiny_scgpt):
    """Return an unfitted scGPT with small weights; ``...`` leaves an option out."""

    def _model(name="scgpt", **overrides):
        overrides = {"weights": str(tiny_scgpt())} | QUICK | overrides
        if name.endswith("scratch_tuned"):
            overrides = SMALL | overrides
        return create(describe(name, {key: value for key, value in overrides.items() if value is not ...}))

    return _model


@pytest.fixture
def watched(model, monkeypatch):
    """Fit, and return the model with what the training was given and what each of its steps saw."""

    def _watched(train, *, name="scgpt", seed=0, validation=None, **overrides):
        seen = {"rows": [], "rate": [], "eps": set(), "clip": set()}
        finetune, step, whole = finetuned.finetune, loop.step_within_memory, training_step

        def _finetune(network, cells, scored, schedule, history, *, class_weights, seed):
            seen.update(train=cells, validation=scored, schedule=schedule, weights=class_weights, start=state(network))
            return finetune(network, cells, scored, schedule, history, class_weights=class_weights, seed=seed)

        def _step(fit, cells, rows, seed):
            group = fit.optimizer.param_groups[0]
            seen["rows"].append(rows.tolist())
            seen["rate"].append(group["lr"])
            seen["eps"].add(group["eps"])
            return step(fit, cells, rows, seed)

        def _training_step(network, optimizer, parts, class_weights, *, clip, **more):
            seen["clip"].add(clip)
            loss = whole(network, optimizer, parts, class_weights, clip=clip, **more)
            norms = [p.grad.norm() for p in network.parameters() if p.grad is not None]
            assert torch.stack(norms).norm() <= clip * 1.001
            return loss

        with monkeypatch.context() as patch:
            patch.setattr(finetuned, "finetune", _finetune)
            patch.setattr(loop, "step_within_memory", _step)
            patch.setattr("bench.training.step.training_step", _training_step)
            fitted = model(name, **overrides).fit(train, seed=seed, validation=validation)
        return fitted, seen

    return _watched


def state(network) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same_state(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def same_cells(one: Sequences, other: Sequences) -> bool:
    return np.array_equal(one.labels, other.labels) and (one.tokens != other.tokens).nnz == 0


# What each recipe trains on


@pytest.mark.slow
def test_published_recipe_draws_a_tenth_whatever_its_types_and_keeps_one_order(watched, sides):
    fitted, seen = watched(sides[0], epochs=3, seed=4)
    rows = train_test_split(np.arange(160), test_size=0.1, random_state=np.random.RandomState(4))
    cells = fitted.cells(sides[0], np.unique(sides[0].obs["cell_type"], return_inverse=True)[1])
    for side, chosen in zip(("train", "validation"), rows, strict=True):
        assert same_cells(seen[side], cells.take(chosen))
    assert len(seen["validation"]) == 16
    assert len(set(np.bincount(seen["validation"].labels, minlength=8))) > 1  # there are 20 of each type
    epochs = np.reshape(seen["rows"], (3, 144))
    np.testing.assert_array_equal(epochs, np.tile(np.arange(144), (3, 1)))


def test_clean_recipe_draws_a_tenth_of_each_type_and_another_order_every_epoch(watched, sides):
    _, seen = watched(sides[0], epochs=3, recipe="clean")
    np.testing.assert_array_equal(np.bincount(seen["validation"].labels), 2)
    epochs = np.reshape(seen["rows"], (3, 144))
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(144), (3, 1)))
    assert all((one != other).mean() > 0.8 for one, other in pairwise(epochs))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scgpt", "scgpt@scratch_tuned"])
@pytest.mark.parametrize("recipe", ["published", "clean"])
def test_scored_cells_do_not_matter(name, recipe, watched, sides):
    train, scored = sides
    other = scored.copy()
    other.X = scored.X[::-1].copy()
    other.obs["cell_type"] = "B cells"
    options = {"name": name, "recipe": recipe, "class_weights": "inverse"}
    fits = [watched(train, validation=validation, **options) for validation in (None, scored, other)]
    (first, given), *others = fits
    for fitted, seen in others:
        assert same_state(state(fitted.network_), state(first.network_))
        assert fitted.diagnostics_ == first.diagnostics_
        assert same_cells(seen["train"], given["train"]) and same_cells(seen["validation"], given["validation"])
    np.testing.assert_allclose(given["weights"], 1 / 20)  # of all training cells, those that validate included


@pytest.mark.slow
def test_the_epoch_is_chosen_by_validation_loss_not_accuracy(model, sides, monkeypatch):
    fits = []
    for epochs in (2, 4):
        told = iter([(2.0, 0.1), (1.0, 0.2), (1.5, 0.9), (1.0, 0.9)])
        monkeypatch.setattr(loop, "evaluate", lambda *_, told=told: next(told))
        fits.append(model(epochs=epochs).fit(sides[0], seed=0))
    assert [fitted.diagnostics_["best_epoch"] for fitted in fits] == [2, 2]
    assert same_state(*(state(fitted.network_) for fitted in fits))


def test_validation_loss_is_that_of_the_cells_given_away(watched, sides):
    fitted, seen = watched(sides[0], epochs=3)
    losses = fitted.diagnostics_["validation_loss"]
    loss, _ = loop.evaluate(fitted.network_, seen["validation"], fitted.schedule(), None)
    assert fitted.diagnostics_["best_epoch"] == 1 + np.argmin(losses)
    assert loss == pytest.approx(min(losses), rel=1e-6)


def test_published_stream_bins_splits_and_cuts_in_one_sequence_of_numbers(watched, sides):
    most = 60
    fitted, seen = watched(sides[0], seed=3, epochs=1, published_rng=True, max_tokens=most + 1)
    stream, vocabulary = np.random.RandomState(3), json.loads(read(fitted.weights).metadata["genes"])
    genes = sides[0].var_names.tolist()
    whole = binned(sides[0].X, genes, vocabulary, ids=np.zeros(160), seed=0, published_rng=stream)
    assert np.diff(whole.indptr).max() > most
    rows = train_test_split(np.arange(160), test_size=0.1, random_state=stream)
    for side, chosen in zip(("train", "validation"), rows, strict=True):
        expected = at_most(whole[chosen], most, ids=np.zeros(160), seed=0, published_rng=stream)
        np.testing.assert_array_equal(seen[side].tokens.indices, expected.indices)  # in the order they were drawn in
        np.testing.assert_array_equal(seen[side].tokens.data, expected.data)
    cells = without_labels(sides[1])
    again = binned(
        cells.X, genes, vocabulary, ids=np.zeros(80), seed=0, max_genes=most, published_rng=np.random.RandomState(3)
    )
    np.testing.assert_array_equal(fitted.cells(cells).tokens.data, again.data)


@pytest.mark.parametrize(
    ("n_cells", "options"),
    [(40, {"validation_share": 0.0}), (12, {"recipe": "clean"}), (1, {}), (5, {"validation_share": 0.95})],
)
def test_where_no_cell_is_given_away_the_last_epoch_is_kept(n_cells, options, model, sides):
    few = sides[0][:n_cells].copy()
    fitted = model(published_rng=True, **options).fit(few, seed=0)
    assert fitted.diagnostics_["best_epoch"] == 2
    assert "validation_loss" not in fitted.diagnostics_
    assert np.isfinite(fitted.predict_proba(without_labels(sides[1]))).all()


def test_with_few_cells_one_of_them_validates_as_scikit_learn_rounds(watched, sides):
    for n_cells, expected in ((4, 1), (11, 2), (21, 3)):
        _, seen = watched(sides[0][:n_cells].copy(), epochs=1)
        assert len(seen["validation"]) == expected


# The schedule


def test_rates_fall_by_a_tenth_each_epoch_and_adam_and_clipping_are_the_published_ones(watched, sides):
    _, seen = watched(sides[0], epochs=3, lr=1e-4)
    np.testing.assert_allclose(np.reshape(seen["rate"], (3, 9)), 1e-4 * 0.9 ** np.arange(3)[:, None] * np.ones(9))
    assert (seen["eps"], seen["clip"]) == ({1e-4}, {1.0})


@pytest.mark.slow
def test_the_rate_rises_over_the_first_steps(watched, sides):
    _, seen = watched(sides[0], epochs=3, lr=1e-3, decay=0.5, warmup_steps=12)
    expected = 1e-3 * np.repeat([1, 0.5, 0.25], 9) * np.minimum(np.arange(1, 28) / 12, 1)
    np.testing.assert_allclose(seen["rate"], expected)


def test_defaults_are_the_published_numbers():
    c = describe("scgpt").hyperparameters
    published = {"epochs": 20, "batch_size": 32, "lr": 1e-4, "decay": 0.9, "warmup_steps": 0, "shuffle": False}
    published |= {"trainable": "all", "class_weights": "none", "dropout": 0.2, "validation_share": 0.1}
    assert published.items() <= c.items()
    assert c["max_tokens"] == 3001
    assert describe("scgpt").recipe == "published" and not describe("scgpt").sees_scored_cells


@pytest.mark.parametrize(("weights", "expected"), [("none", None), ("inverse", 1 / np.array([5, *[20] * 7]))])
def test_class_weights_count_the_training_cells(weights, expected, watched, sides):
    labels = sides[0].obs["cell_type"].to_numpy()
    kept = np.delete(np.arange(160), np.flatnonzero(labels == "B cells")[5:])
    _, seen = watched(sides[0][kept].copy(), epochs=1, class_weights=weights)
    assert (seen["weights"] is None) == (expected is None)
    if expected is not None:
        np.testing.assert_allclose(seen["weights"], expected, rtol=1e-6)


# What is trained, and from where


LAST = "transformer_encoder.layers.2."
HEAD = "cls_decoder."


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"trainable": "all"}, lambda name: True),
        ({"trainable": "last_layer"}, lambda name: name.startswith((LAST, HEAD))),
        ({"trainable": "head"}, lambda name: name.startswith(HEAD)),
        (
            {"name": "scgpt@no_pretraining_frozen_embeddings"},
            lambda name: "encoder" not in name or "transformer_encoder" in name,  # the paper's filter of names
        ),
    ],
    ids=["all", "last_layer", "head", "frozen_embeddings"],
)
def test_exactly_what_is_said_is_trained(options, expected, watched, sides):
    fitted, seen = watched(sides[0], **options)
    parameters = dict(fitted.network_.named_parameters())
    assert {name for name, p in parameters.items() if p.requires_grad} == set(filter(expected, parameters))
    unused = ("decoder.", "mvc_decoder.")  # annotation does not run them
    for name, tensor in state(fitted.network_).items():
        moves = expected(name) and not name.startswith(unused)
        assert torch.equal(tensor, seen["start"][name]) != moves, name


def test_numbers_of_weights_at_true_size_are_the_papers():
    with torch.device("meta"):
        network = ScGPTNetwork(Architecture(mvc=False))
        network.classify_into(21, seed=0)
    numbers = {name: p.numel() for name, p in network.named_parameters()}
    assert sum(numbers.values()) == 51_342_358
    frozen = sum(n for name, n in numbers.items() if name.partition(".")[0] in FROZEN)
    assert sum(numbers.values()) - frozen == 19_999_766


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_start_from_what_their_names_say(variant, watched, tiny_scgpt, sides):
    name, given = f"scgpt@{variant}", read(tiny_scgpt()).tensors
    (fitted, seen), (_, again), (_, other) = (watched(sides[0], name=name, epochs=1, seed=s) for s in (0, 0, 1))
    start = seen["start"]
    assert same_state(start, again["start"])
    assert not torch.equal(start["cls_decoder.out_layer.weight"], other["start"]["cls_decoder.out_layer.weight"])
    matrices = [key for key in given if key.endswith("weight") and given[key].dim() == 2]
    if variant == "pretrained":
        assert all(torch.equal(start[key], tensor) for key, tensor in given.items())
        return
    for key in matrices if variant != "scratch_tuned" else ():
        assert start[key].shape == given[key].shape
        assert not torch.equal(start[key], given[key]) and not torch.equal(start[key], other["start"][key])
    first, second = (start[f"transformer_encoder.layers.{i}.linear1.weight"] for i in (0, 1))
    assert torch.equal(first, second) == (variant != "scratch_tuned")  # as torch's TransformerEncoder copies its layer
    assert (start["encoder.embedding.weight"].abs() <= 0.1).all()
    sizes = {"depth": 2, "dim": 12, "hidden": 20, "heads": 3} if variant == "scratch_tuned" else {"depth": 3, "dim": 16}
    assert sizes.items() <= asdict(fitted.network_.architecture).items()


def test_variants_have_settings_of_their_own_which_overrides_change(small, tmp_path, tiny_scgpt):
    assert [describe(f"scgpt@{v}").hyperparameters["epochs"] for v in VARIANTS] == [20, 30, 30, 30]
    tuned = {"layers": 4, "dim": 128, "hidden": 128, "heads": 4, "warmup_steps": 200, "shuffle": True, "lr": 5e-4}
    assert tuned.items() <= describe("scgpt@scratch_tuned").hyperparameters.items()
    assert not any(describe("scgpt@no_pretraining").hyperparameters[key] for key in ("layers", "dim", "warmup_steps"))
    small.write_h5ad(tmp_path / "small.h5ad")
    overrides = {"scgpt": {"weights": str(tiny_scgpt()), "epochs": 7}, "scgpt@scratch_tuned": {"dim": 64}}
    models = ["scgpt", "scgpt@scratch_tuned"]
    tasks = Grid("tuned", "quick", str(tmp_path / "small.h5ad"), models, overrides=overrides).tasks()
    plain, scratch = (json.loads(task.trial.hyperparameters) for task in tasks)
    assert (plain["epochs"], plain["dim"], plain["layers"]) == (7, 0, 0)
    assert (scratch["epochs"], scratch["dim"], scratch["layers"], scratch["lr"]) == (7, 64, 4, 5e-4)
    assert len({task.trial.key for task in tasks}) == 2


@pytest.mark.parametrize("variant", VARIANTS)
def test_audit_names_what_was_loaded_and_the_genes_that_are_used(variant, model, tiny_scgpt, sides):
    weights = read(tiny_scgpt())
    fitted = model(f"scgpt@{variant}", epochs=1).fit(sides[0], seed=0)
    n, digest = len(weights.tensors), weights.sha256[:16]
    loaded, _, genes = fitted.audit_.partition("; 400 of 500 genes ")
    if variant == "pretrained":
        assert loaded.startswith(f"{n} of {n} tensors, sha256 {digest}")
    else:
        assert loaded == f"0 of {n} tensors, only the vocabulary, sha256 {digest}"
    dropped = [gene for gene in sides[0].var_names if gene not in json.loads(weights.metadata["genes"])]
    assert len(dropped) == 100
    assert genes == f"are in the vocabulary; dropped 100: {', '.join(dropped[:3])} and 97 more"


def test_embedding_is_the_output_at_the_first_token(model, sides):
    fitted = model(evaluation_batch=7).fit(sides[0], seed=0)
    cells = without_labels(sides[1])
    cells.X[0] *= 0
    found = fitted.embed(cells)
    assert found.shape == (80, 16)
    packed = fitted.cells(cells).inputs(np.arange(80), torch.device("cpu"))
    assert packed.lengths[0] == 1  # an empty cell is its first token alone
    assert (packed.genes[packed.first] == fitted._vocabulary.index(CLS)).all()
    with torch.no_grad():
        expected = fitted.network_.eval().encode(packed)[packed.first]
        logits = fitted.network_.cls_decoder(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(fitted.predict_proba(cells), logits.softmax(1), rtol=0, atol=1e-5)
    assert np.isfinite(found).all() and found.std(axis=0).max() > 0.01


@pytest.mark.slow
def test_it_learns(model, sides):
    train, scored = sides
    options = {"layers": 1, "dim": 32, "heads": 4, "hidden": 32, "lr": 3e-3, "batch_size": 8, "dropout": 0.0}
    options["max_tokens"] = ...  # all genes
    fitted = model("scgpt@scratch_tuned", recipe="clean", epochs=14, warmup_steps=20, **options).fit(train, seed=0)
    right = fitted.predict(without_labels(scored)) == scored.obs["cell_type"].to_numpy()
    assert right.mean() > 0.4  # one in eight by chance


@pytest.mark.slow
def test_deep_layers_from_random_weights_give_all_cells_one_embedding_and_one_type(model, sides):
    """The collapse that the paper's points show, small: depth is all that differs."""
    alike, types = {}, {}
    for depth in (2, 12):
        sizes = {"layers": depth, "dim": 64, "hidden": 64, "heads": 4, "epochs": 12, "lr": 1e-3}
        fitted = model("scgpt@no_pretraining", **sizes).fit(sides[0], seed=0)
        found = fitted.embed(without_labels(sides[1]))
        alike[depth] = np.square(found.mean(0)).sum() / np.square(found).sum(1).mean()
        types[depth] = len(set(fitted.predict(without_labels(sides[1]))))
    print(alike, types)
    assert alike[12] > 0.9999 > 0.99 > alike[2]
    assert types[12] == 1 < types[2]


# Precision, memory, interruption


BF16 = pytest.param(
    "bf16",
    marks=pytest.mark.skipif(
        "ATEN_CPU_CAPABILITY" in os.environ and "ONEDNN_MAX_CPU_ISA" not in os.environ,
        reason="PyTorch packs bf16 for the processor that oneDNN sees, which kernels told to be older refuse; "
        "ONEDNN_MAX_CPU_ISA=AVX2 tells both",
    ),
)


@pytest.mark.slow
@pytest.mark.parametrize("precision", [BF16, "fp16"])
def test_half_precision_runs_on_the_cpu_and_is_about_the_same(precision, model, sides):
    cells = without_labels(sides[1])
    whole, half = (model(precision=p, dropout=0.0, lr=1e-4).fit(sides[0], seed=0) for p in ("float32", precision))
    assert half.diagnostics_["train_loss"] != whole.diagnostics_["train_loss"]
    np.testing.assert_allclose(half.diagnostics_["train_loss"], whole.diagnostics_["train_loss"], rtol=0.02)
    np.testing.assert_allclose(half.predict_proba(cells), whole.predict_proba(cells), rtol=0, atol=0.05)
    assert all(p.dtype == torch.float32 for p in half.network_.parameters())


@pytest.mark.slow
def test_out_of_memory_halves_the_cells_at_a_time_with_the_same_result(model, sides, monkeypatch, capsys):
    whole = model(dropout=0.0).fit(sides[0], seed=0)
    forward = ScGPTNetwork.forward

    def _forward(self, packed):
        if self.training and len(packed.lengths) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, packed)

    monkeypatch.setattr(ScGPTNetwork, "forward", _forward)
    parts = model(dropout=0.0).fit(sides[0], seed=0)
    assert (whole.diagnostics_["micro_batch"], parts.diagnostics_["micro_batch"]) == (16, 4)
    assert "Out of memory: 4 cells at a time" in capsys.readouterr().out
    np.testing.assert_allclose(parts.diagnostics_["train_loss"], whole.diagnostics_["train_loss"], rtol=1e-4)
    np.testing.assert_allclose(parts.predict_proba(sides[1]), whole.predict_proba(sides[1]), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_ctrl_c_in_the_third_epoch_leaves_the_best_epoch_so_far(model, sides, monkeypatch):
    expected = model(epochs=2, decay=0.5).fit(sides[0], seed=0)
    step, taken = loop.step_within_memory, []

    def _step(*arguments):
        taken.append(1)
        if len(taken) == 2 * 9 + 4:
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(loop, "step_within_memory", _step)
    stopped = model(epochs=10, decay=0.5)
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(sides[0], seed=0)
    cells = without_labels(sides[1])
    np.testing.assert_array_equal(stopped.predict_proba(cells), expected.predict_proba(cells))
    assert stopped.diagnostics_["best_epoch"] == expected.diagnostics_["best_epoch"]
    assert stopped.diagnostics_["validation_loss"] == expected.diagnostics_["validation_loss"]
    assert stopped.audit_ == expected.audit_


# Mistakes are sentences


@pytest.mark.parametrize(
    ("name", "overrides", "sentence"),
    [
        ("scgpt", {"weights": ...}, r"scgpt needs weights, for its vocabulary .*'weights'.*scgpt_human.*scgpt_quick"),
        ("scgpt@no_pretraining", {"weights": ...}, r"scgpt needs weights, for its vocabulary even without pretraining"),
        ("scgpt", {"weights": "scgpt_humans"}, r"Unknown weights 'scgpt_humans'\. Did you mean 'scgpt_human'"),
        ("scgpt", {"max_tokens": 1}, r"max_tokens=1 should be a whole number of at least 2"),
        ("scgpt@scratch_tuned", {"dim": 10, "heads": 4}, r"dim=10 should be a multiple of heads=4"),
        ("scgpt@no_pretraining", {"heads": 3}, r"dim=16 should be a multiple of heads=3"),
        ("scgpt@scratch_tuned", {"layers": -1}, r"layers=-1 should be a whole number of at least 0"),
        ("scgpt", {"dim": 64, "layers": 2}, r"Other sizes .*'depth': 2, 'dim': 64.* from scratch only: scgpt@no_pret"),
        ("scgpt", {"dimension": 64}, r"hyper-parameter of scgpt 'dimension'.*Valid: .*batch_size.*dim,"),
        ("scgpt@pretraned", {}, r"variant of scgpt 'pretraned'\. Did you mean 'pretrained'"),
        ("scgpt", {"recipe": "fair"}, r"recipe of scgpt 'fair'\. Valid: clean, published"),
        ("scgpt", {"trainable": "last"}, r"Unknown trainable 'last'\..*all, head, last_layer"),
        ("scgpt", {"class_weights": "balanced"}, r"Unknown class_weights 'balanced'\. Valid: inverse, none"),
        ("scgpt", {"precision": "fp32"}, r"Unknown precision 'fp32'\..*bf16, float32, fp16"),
        ("scgpt", {"validation_share": 1.5}, r"validation_share=1\.5 should be at least 0 and below 1"),
        ("scgpt", {"validation_share": -0.1}, r"validation_share=-0\.1 should be at least 0 and below 1"),
        ("scgpt", {"recipe": "clean", "validation_share": 1}, r"validation_share=1\.0 should be at least 0"),
        ("scgpt", {"lr": 1e30}, r"The loss is (nan|inf) at epoch 1, step \d; lower lr"),
        ("scgpt", {"epochs": 0, "batch_size": 0}, r"(?s)epochs=0 should .*\nbatch_size=0 should"),
        ("scgpt", {"evaluation_batch": 0}, r"evaluation_batch=0 should be a whole number of at least 1"),
        ("scgpt", {"warmup_steps": -3}, r"warmup_steps=-3 should be a whole number of at least 0"),
        ("scgpt", {"decay": -0.9}, r"decay=-0\.9 should be above 0"),
        ("scgpt", {"dropout": 1.5}, r"dropout=1\.5 should be at least 0 and below 1"),
        ("scgpt", {"device": "gpu"}, r"device='gpu' is not a device; expected cpu, cuda"),
    ],
)
def test_a_wrong_choice_is_a_sentence(name, overrides, sentence, model, sides):
    with pytest.raises(BenchError, match=sentence):
        model(name, **overrides).fit(sides[0], seed=0)


def test_sizes_that_are_those_of_the_weights_may_be_said(model, sides):
    assert model(layers=3, dim=16, hidden=24, heads=2, epochs=1).fit(sides[0], seed=0).classes_.size == 8


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_a_sentence(model, sides):
    with pytest.raises(BenchError, match="device='cuda' was asked for, but torch finds no GPU; use device='cpu'"):
        model(device="cuda").fit(sides[0], seed=0)


@pytest.mark.parametrize("variant", ["pretrained", "no_pretraining"])
def test_weights_of_a_scbert_are_refused_by_name(variant, model, sides, tiny_scbert):
    with pytest.raises(BenchError, match=r"This is no scGPT checkpoint: .*encoder\.embedding\.weight.*performer\."):
        model(f"scgpt@{variant}", weights=str(tiny_scbert())).fit(sides[0], seed=0)


@pytest.mark.parametrize("name", ["scbert", "scbert@no_pretraining", "scbert_head"])
def test_scbert_refuses_weights_of_a_scgpt(name, sides, tiny_scgpt):
    with pytest.raises(BenchError, match=r"holds weights of scgpt; set the override 'weights' to some of scbert"):
        create(describe(name, {"weights": str(tiny_scgpt()), "epochs": 1})).fit(sides[0], seed=0)


@pytest.mark.parametrize("key", ["genes", "heads"])
def test_weights_that_do_not_say_what_is_needed_are_refused_with_the_command(key, model, sides, tiny_scgpt):
    weights = tiny_scgpt("silent", **{key: None})
    with pytest.raises(
        BenchError, match=rf"silent\.safetensors does not say its {key}; .*: bench weights scgpt --path"
    ):
        model(weights=str(weights)).fit(sides[0], seed=0)


@pytest.mark.parametrize(
    ("tokens", "sentence"),
    [
        (["A", "B", "<pad>", "<eoc>"], r"names 4 tokens without <cls>, and embeds 423"),
        (["A", "<cls>", "<pad>", "<eoc>"], r"names 4 tokens with <cls>, and embeds 423; .*bench weights scgpt --path"),
    ],
)
def test_a_vocabulary_of_another_network_is_refused(tokens, sentence, model, sides, tiny_scgpt):
    with pytest.raises(BenchError, match=sentence):
        model(weights=str(tiny_scgpt("other", genes=json.dumps(tokens)))).fit(sides[0], seed=0)


@pytest.mark.parametrize(
    ("rename", "sentence"),
    [
        (lambda gene, i: f"ENSG{i:011d}", r"None of the 500 genes \(ENSG.*Ensembl identifiers: give gene symbols"),
        (
            lambda gene, i: gene.capitalize(),
            r"Only 1 of the 500 genes .*look mouse .*map them to",
        ),
        (lambda gene, i: f"peak_{i}", r"None of the 500 genes \(peak_0, .*official human symbols"),
    ],
    ids=["ensembl", "mouse", "peaks"],
)
def test_genes_that_the_vocabulary_lacks_are_explained(rename, sentence, model, sides):
    train = sides[0]
    train.var_names = [rename(gene, i) for i, gene in enumerate(train.var_names)]
    with pytest.raises(BenchError, match=sentence):
        model().fit(train, seed=0)


def test_scored_cells_with_other_genes_are_predicted_from_those_that_are_known(model, sides):
    fitted = model().fit(sides[0], seed=0)
    cells = without_labels(sides[1])
    known = np.isin(cells.var_names, fitted._vocabulary)
    np.testing.assert_allclose(fitted.predict_proba(cells[:, known].copy()), fitted.predict_proba(cells), atol=1e-6)
    cells.var_names = [f"peak_{i}" for i in range(500)]
    with pytest.raises(BenchError, match="None of the 500 genes"):
        fitted.predict_proba(cells)


def test_a_scored_cell_that_was_pretrained_on_is_refused_for_the_pretrained_variant(model, sides, tiny_scgpt):
    train, scored = sides
    cells, weights = without_labels(scored), tiny_scgpt("seen")
    ids = cell_ids(scored.uns["bench"]["name"], [*without_labels(train).obs_names, *cells.obs_names[:3]])
    np.save(weights.with_suffix(".cells.npy"), np.sort(ids))
    fitted = model(weights=str(weights), epochs=1).fit(train, seed=0)
    with pytest.raises(BenchError, match=r"3 of the 80 cells to score were pretrained on \(seen\.cells\.npy\)"):
        fitted.predict_proba(cells)
    assert fitted.predict_proba(cells[3:].copy()).shape == (77, 8)  # training cells may have been seen
    scratch = model("scgpt@no_pretraining", weights=str(weights), epochs=1).fit(train, seed=0)
    assert scratch.predict_proba(cells).shape == (80, 8)  # of its weights only the vocabulary is used


@pytest.mark.parametrize(
    ("value", "sentence"), [(-1.0, "X holds negative values"), (np.nan, "X holds NaN, infinite values")]
)
def test_negative_and_missing_values_stop_at_loading(value, sentence, small, tmp_path, tiny_scgpt):
    bad = small.copy()
    bad.X = sp.csr_matrix(bad.X)
    bad.X.data[5] = value
    bad.write_h5ad(tmp_path / "bad.h5ad")
    overrides = {"scgpt": {"weights": str(tiny_scgpt())}}
    with pytest.raises(BenchError, match=sentence):
        Grid("bad", "quick", str(tmp_path / "bad.h5ad"), "scgpt", overrides=overrides).tasks()


# Through the runner


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["published", "clean"])
def test_a_training_is_recorded_with_its_epochs_weights_and_genes(recipe, small, tmp_path, tiny_scgpt):
    small.write_h5ad(tmp_path / "small.h5ad")
    overrides = {"scgpt": {"weights": str(tiny_scgpt()), "recipe": recipe} | QUICK}
    (task,) = Grid("tuned", "quick", str(tmp_path / "small.h5ad"), "scgpt", overrides=overrides).tasks()
    assert run_task(task) == ""
    table = records.read("tuned", committed=False)
    assert set(table["sees_scored_cells"]) == {"no"} and set(table["pretrained_on_scored_cells"]) == {"unknown"}
    assert (set(table["genes_wanted"]), set(table["genes_used"])) == ({420}, {400})
    assert table["genes_share"].between(0.5, 1, inclusive="neither").all()
    (audit,) = set(table["weights"])
    assert "tensors, sha256" in audit and "400 of 500 genes are in the vocabulary" in audit
    for metric in ("train_loss", "validation_loss", "validation_accuracy"):
        assert sorted(table.loc[table["metric"] == metric, "epoch"]) == [1, 2]
    losses = table[table["metric"] == "validation_loss"].set_index("epoch")["value"]
    assert table.loc[table["metric"] == "best_epoch", "value"].item() == losses.idxmin()


@pytest.mark.slow
def test_a_failed_training_is_a_record_with_its_reason_and_others_go_on(small, tmp_path, tiny_scgpt):
    small.write_h5ad(tmp_path / "small.h5ad")
    overrides = {"scgpt": {"weights": str(tiny_scgpt())} | QUICK | {"lr": 1e30}, "scgpt@no_pretraining": {"lr": 1e-3}}
    models = ["scgpt", "scgpt@no_pretraining"]
    tasks = Grid("tuned", "quick", str(tmp_path / "small.h5ad"), models, overrides=overrides).tasks()
    assert ["failed: BenchError: The loss is" in run_task(task) for task in tasks] == [True, False]
    table = records.read("tuned", committed=False)
    assert table.groupby("variant")["value"].apply(lambda v: v.isna().all()).to_dict() == {
        "no_pretraining": False,
        "pretrained": True,
    }
