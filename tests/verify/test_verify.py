"""Golden cases are met within the tolerances of their README, and every way of missing one is a miss."""

import json
import re
import shutil
from copy import deepcopy
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import GOLDEN, folder_of
from golden_cases import change, compared, on_cpu, patched, tell, verdicts
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from bench import verify as package
from bench.cli import main
from bench.core.errors import BenchError
from bench.core.families import families, imported
from bench.models.baselines import golden as lr
from bench.models.baselines import l1_logistic
from bench.models.baselines.l1_logistic import L1LogisticConfig
from bench.models.scbert.network import ScBERTNetwork
from bench.verify import RESULTS, Verdict, cases, verify
from bench.verify.case import Case
from bench.verify.verdict import Backend, Compared

COMMITTED = Path(__file__).parents[1] / "golden"
CASES = cases()
MODULES = {target.partition(":")[0] for target in CASES.values()}  # TOLERANCES in each: case -> kind of output -> limit
OLDER = ("scbert", "scgpt", "lr")  # whose set has a README of tolerances; others say theirs case by case
TOLERANCES = {name: limits for module in MODULES for name, limits in import_module(module).TOLERANCES.items()}
LENDER = "scbert_pretrain"  # whose weights other cases use
BASELINE = "lr_liblinear"
NAMES = sorted({path.stem for folder in GOLDEN for path in folder.glob("*.json")})


def results(name: str) -> dict[str, str]:
    """Return the types of the results in a case, none where its description says all."""
    files = [folder / f"{name}.safetensors" for folder in GOLDEN if (folder / f"{name}.safetensors").is_file()]
    if not files:
        return {}
    with safe_open(files[0], "pt") as file:
        return {key: file.get_slice(key).get_dtype() for key in file.keys() if key.startswith(RESULTS)}  # noqa: SIM118


WITH_RESULTS = [name for name in NAMES if results(name) or "_keys_" in name]
OF_FRACTIONS = [name for name in NAMES if any(t[0] == "F" for k, t in results(name).items() if k.startswith("output"))]
QUICK = [name for name in OF_FRACTIONS if name != BASELINE]  # of a second


@pytest.fixture(scope="module", autouse=True)
def solved_once():
    """Have liblinear solve each problem of the baseline's case once: what differs between tests is what is compared."""
    solve, solved = l1_logistic.fitted, {}

    def _solved(X, y, C, config, seed, parallel=False):
        assert isinstance(X, np.ndarray) and isinstance(y, np.ndarray)
        problem = X.tobytes(), X.shape, y.tobytes(), float(C), config.tol, config.max_iter, seed
        if problem not in solved:
            solved[problem] = solve(X, y, C, config, seed, parallel)
        return deepcopy(solved[problem])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(l1_logistic, "fitted", _solved)
        patch.setattr(lr, "fitted", _solved)
        yield


@cache
def unharmed(name: str) -> dict[str, Compared]:
    """Return how far every output of a case is and may be before a test changes a copy of it; computed once."""
    return compared(folder_of(name), name)


# All is well


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_golden_case_is_met(name):
    found = list(verdicts(folder_of(name), name))
    assert found
    for verdict in found:
        assert verdict.passed, verdict


def test_committed_subset_covers_every_model_and_stays_small():
    beyond = {"scbert_classify", "scbert_finetune"}  # five megabytes each
    beyond |= {"scgpt_mvc", "scgpt_forward_keys_flash", "scgpt_forward_keys_impl"}  # as much again as there is room for
    beyond |= {"geneformer_forward_v2", "geneformer_embed_v2", "geneformer_pretrain_v2", "geneformer_classify"}
    beyond |= {"geneformer_finetune_annotation"}  # a recipe without decay and frozen layers, which the other one has
    beyond |= {"geneformer_tokenize_real"}  # needs the published dictionaries
    texts = {"geneformer_keys"}  # names and shapes: no tensors
    beyond |= {"scfoundation_cell_embed", "scfoundation_preprocess"}  # the latter needs the published list of genes
    assert {path.stem for path in COMMITTED.glob("*.json")} == set(CASES) - beyond
    assert {path.stem for path in COMMITTED.glob("*.safetensors")} == set(CASES) - beyond - texts
    assert sum(path.stat().st_size for path in COMMITTED.iterdir()) < 12e6


def test_cases_tolerances_and_functions_have_the_same_names():
    assert set(CASES) == set(TOLERANCES)
    assert all(callable(imported(target)) for target in CASES.values())


def readme() -> dict[str, str]:
    """Return the tolerances that the golden set's README suggests, case by case."""
    file = folder_of(LENDER) / "README.md"
    if not file.is_file():
        pytest.skip(f"{file.parent} has no README; name the whole set in BENCH_GOLDEN")
    return dict(re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", file.read_text(), re.M))


def parsed(text: str) -> dict[str, float]:
    """Return kind of output -> tolerance; of a text without kinds the key is empty."""
    found = {}
    if text.startswith("as "):
        return parsed(readme()[text.removeprefix("as ")])
    for clause in text.split("; "):
        said = re.match(r"(?P<kinds>[a-z, ]*?)(?: abs)? ?(?P<value>exact|\d[\d.e-]*)(?P<rest>.*)", clause)
        if not said:
            continue
        value = 0.0 if said["value"] == "exact" else float(said["value"])
        kinds = said["kinds"].split(", ")
        found |= {kind or ("relative" if said["rest"].strip() == "relative" else ""): value for kind in kinds}
        for other, C in re.findall(r", (\d[\d.e-]*) at (\d+)", said["rest"]):
            found[f"{kinds[0]}, C = {C}"] = float(other)
    return found


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith(OLDER)])
def test_tolerances_are_those_of_the_readme(name):
    suggested, ours = parsed(readme()[name]), TOLERANCES[name]
    assert suggested
    if "" in suggested:
        assert set(ours.values()) == {suggested[""]}
    else:
        assert ours == suggested


# Outputs of every kind are compared


RELATIVE = ("lr_", ".lr", "objective", "grad_norm", "loss", "masked_", "neg_log", "ecs", "edges", "X_normed")


def ten_tolerances(name: str, tensor: torch.Tensor, found: Compared) -> torch.Tensor:
    """Return the expected values moved by ten times what is allowed."""
    tolerance = found.allowed
    if tensor.dtype == torch.bool:
        return ~tensor
    if not tensor.is_floating_point():
        return tensor + 1
    if name.startswith("grad_step0."):  # a share of the largest
        return tensor + 10 * tolerance * tensor.abs().max()
    if any(kind in name for kind in RELATIVE) and not name.endswith("output.loss"):
        return tensor * (1 + (10 * tolerance or 1))
    return tensor + (10 * tolerance or 1) * tensor.abs().clamp(min=1)  # a loss may be compared either way


def a_hundredth(name: str, tensor: torch.Tensor, found: Compared) -> torch.Tensor:
    """Return the expected values moved by a hundredth of the largest; integers cannot be."""
    if not tensor.is_floating_point():
        return ten_tolerances(name, tensor, found)
    assert found.tolerance < 0.01
    return tensor + 0.01 * (tensor[tensor.isfinite()].abs().max() or 1)


@pytest.mark.slow
@pytest.mark.parametrize("moved", [ten_tolerances, a_hundredth])
@pytest.mark.parametrize("name", WITH_RESULTS)
def test_every_output_that_is_moved_is_a_miss(name, moved, own_cases):
    where, allowed = own_cases(name), unharmed(name)
    results = {key: t for key, t in load_file(where / f"{name}.safetensors").items() if key.startswith(RESULTS)}
    assert results.keys() <= allowed.keys()
    assert all(found.share <= 1 for found in allowed.values())
    if "output.decision" in results:  # says which predictions are compared: moving all of them alike would not show
        results.pop("output.prediction"), results.pop("output.test_accuracy")
    save_file(
        load_file(where / f"{name}.safetensors") | {k: moved(k, t, allowed[k]) for k, t in results.items()},
        where / f"{name}.safetensors",
    )
    found = compared(where, name)
    assert not {key: found[key] for key in results if found[key].share <= 1}


IN_BF16 = [name for name in NAMES if results(name) and any(name in family.on_gpu for family in families().values())]
# what a few steps of Adam make of rounding; of scFoundation also where a maximum over tokens passes gradients to
DECIDED_BY_ROUNDING = ("logits_after", "train_logits", "final_logits", "logits_step", "emb_after", "grad_norm")
DECIDED_BY_ROUNDING += ("running_mean", "running_var", "grad_step0.encoder.transformer_encoder.1", "scores", "valid_")


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_BF16)
def test_in_bf16_an_output_that_is_moved_by_a_tenth_is_a_miss_unless_rounding_decides_it(name):
    case = Case(folder_of(name), name, Backend("cpu", "bf16"))
    results = {k: t for k, t in case.tensors.items() if k.startswith(RESULTS) and t.is_floating_point()}
    case.tensors |= {k: t + (0.1 * t[t.isfinite()].abs().max() or 1) for k, t in results.items()}
    imported(CASES[name])(case)
    unseen = {k for k in results if case.compared[k].share <= 1}
    assert not {k for k in unseen if not any(kind in k for kind in DECIDED_BY_ROUNDING)}
    assert len(unseen) < len(results)


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("kind", ["beyond", "nan"])
def test_one_altered_entry_is_a_miss_that_names_its_output(name, kind, own_cases):
    where = own_cases(name)
    tensors = load_file(where / f"{name}.safetensors")
    key = [k for k, t in tensors.items() if k.startswith("output") and t.is_floating_point()][-1]
    altered = tensors[key].clone()
    place = altered.flatten().isfinite().nonzero()[0]
    first = altered.flatten()[place]
    allowed = unharmed(name)[key].allowed or 0.1
    altered.view(-1)[place] = torch.nan if kind == "nan" else first + 10 * allowed * max(1, abs(first))
    change(where, name, **{key.replace(".", "__"): altered})
    verdict = on_cpu(where, name)
    assert not verdict.passed
    assert verdict.output == key
    assert np.isinf(verdict.found.error) == (kind == "nan")


def test_a_result_that_is_not_a_number_is_a_miss(monkeypatch):
    monkeypatch.setattr(ScBERTNetwork, "encode", lambda self, ids: torch.full((*ids.shape, 200), torch.nan))
    verdict = on_cpu(folder_of(LENDER), LENDER)
    assert not verdict.passed
    assert verdict.found.error == np.inf


@pytest.mark.filterwarnings("ignore:invalid value encountered in subtract")
def test_not_a_number_in_both_is_equal_and_an_infinity_of_the_other_sign_is_not(own_cases):
    case = Case(own_cases(LENDER), LENDER)
    case.tensors = {"output.x": torch.tensor([torch.nan, torch.inf, 1.0])}
    case.compare("output.x", [np.nan, np.inf, 1.0], 0)
    assert case.compared == {"output.x": Compared(0.0, 0)}
    case.compare("output.x", [np.nan, -np.inf, 1.0], 1e9)
    assert case.compared["output.x"].error == np.inf


@pytest.mark.filterwarnings("ignore:invalid value encountered in subtract")
def test_tolerances_grow_with_the_largest_finite_value_that_counts(own_cases):
    case = Case(own_cases(LENDER), LENDER)
    case.tensors = {"output.x": torch.tensor([-4.0, torch.inf, 100.0]), "output.small": torch.tensor([0.5])}
    counted = np.array([True, True, False])
    case.compare("output.x", [-4.00003, np.inf, 0], 1e-5, where=counted)
    assert case.compared["output.x"].size == 4
    assert case.compared["output.x"].share == pytest.approx(0.75, rel=0.01)
    case.compare("output.small", [0.5], 1e-5)
    assert case.compared["output.small"].size == 1
    case.compare("output.x", [-4.0, np.inf, 100.0], 1e-5, relative=True)
    assert case.compared["output.x"].size == 1
    case.compare("output.x", [-4.0, np.inf, 100.0], 0)
    assert case.compared["output.x"].allowed == 0


def test_an_error_that_is_not_a_number_is_a_miss_wherever_it_was_computed(own_cases):
    case = Case(own_cases(LENDER), LENDER)
    case.note("gradient", 0.0, 1.0)
    case.note("gradient", float("nan"), 1.0)
    assert case.compared["gradient"].share == np.inf


def test_the_largest_error_of_several_ways_is_kept(own_cases):
    case = Case(own_cases(LENDER), LENDER)
    case.tensors = {"output.x": torch.zeros(3)}
    for error in (0.1, 0.3, 0.2):
        case.compare("output.x", [0, error, 0], 1.0)
    assert case.compared == {"output.x": Compared(0.3, 1.0)}


def test_where_limits_the_comparison_and_relative_divides(own_cases):
    case = Case(own_cases(LENDER), LENDER)
    case.tensors = {"output.x": torch.tensor([100.0, 5.0])}
    case.compare("output.x", [101.0, 0.0], 0.1, relative=True, where=np.array([True, False]))
    assert case.compared["output.x"][0] == pytest.approx(0.01)


def test_exactness_is_asked_of_whole_numbers():
    assert Verdict("a", "cpu", "output.x", Compared(0.0, 0.0)).passed
    assert not Verdict("a", "cpu", "output.x", Compared(1e-30, 0.0)).passed
    assert not Verdict("a", "cpu", "output.x", Compared(np.nan, 1.0)).passed
    assert not Verdict("a", "cpu", reason="damaged").passed


# Whatever is wrong with a case is a miss


def drop(where: Path, name: str, key: str):
    change(where, name, **{key.replace(".", "__"): None})


DAMAGES = {
    "unknown name": (
        lambda w: [shutil.copyfile(w / f"scbert_schedule{s}", w / f"scbert_new{s}") for s in (".json", ".safetensors")],
        "scbert_new",
        "nobody here knows this case",
    ),
    "tensors alone": (lambda w: (w / "scbert_schedule.json").unlink(), "scbert_schedule", "FileNotFoundError"),
    "no tensors": (lambda w: (w / "scbert_schedule.safetensors").unlink(), "scbert_schedule", "no tensor"),
    "truncated tensors": (
        lambda w: (w / "scbert_schedule.safetensors").write_bytes(
            (folder_of("scbert_schedule") / "scbert_schedule.safetensors").read_bytes()[:-9]
        ),
        "scbert_schedule",
        "Safetensor",
    ),
    "truncated header": (
        lambda w: (w / "scbert_schedule.safetensors").write_bytes(
            (folder_of("scbert_schedule") / "scbert_schedule.safetensors").read_bytes()[:50]
        ),
        "scbert_schedule",
        "Safetensor",
    ),
    "damaged description": (
        lambda w: (w / "scbert_schedule.json").write_text('{"case": "scbert_sch'),
        "scbert_schedule",
        "JSONDecodeError",
    ),
    "description of another kind": (
        lambda w: (w / "scbert_schedule.json").write_text("[]"),
        "scbert_schedule",
        "AttributeError",
    ),
    "no settings": (lambda w: tell(w, "scbert_schedule", hyperparameters={}), "scbert_schedule", "KeyError"),
    "no results": (
        lambda w: change(w, "scbert_schedule", output__lr_0=None, output__lr_1=None, input__x=torch.zeros(1)),
        "scbert_schedule",
        "no tensor 'output.lr_0'",
    ),
    "wrong shape": (
        lambda w: change(w, "scbert_schedule", output__lr_0=torch.zeros(60)),
        "scbert_schedule",
        "output.lr_0 has shape (60,)",
    ),
    "shape that would broadcast": (
        lambda w: change(w, LENDER, output__logits=torch.zeros(1, 1, 7)),
        LENDER,
        "output.logits has shape (1, 1, 7)",
    ),
    "a result that nobody compares": (
        lambda w: change(w, "scbert_schedule", output__extra=torch.zeros(1)),
        "scbert_schedule",
        "not compared: output.extra",
    ),
    "a gradient that nobody compares": (
        lambda w: change(w, "scbert_redraw", grad_step0__extra=torch.zeros(1)),
        "scbert_redraw",
        "not compared: grad_step0.extra",
    ),
    "a weight is missing": (lambda w: drop(w, LENDER, "weights.norm.bias"), LENDER, "norm.bias"),
    "a weight too many": (lambda w: change(w, LENDER, weights__norm__more=torch.zeros(2)), LENDER, "norm.more"),
    "a weight of another shape": (
        lambda w: change(w, LENDER, weights__norm__bias=torch.zeros(3)),
        LENDER,
        "norm.bias: shape (3,) in the file",
    ),
    "a weight that is not a number": (
        lambda w: change(w, LENDER, weights__norm__bias=torch.full((200,), torch.nan)),
        LENDER,
        "norm.bias",
    ),
    "nobody to borrow weights from": (
        lambda w: tell(w, "scbert_embed", weights_from="scbert_nobody"),
        "scbert_embed",
        "FileNotFoundError",
    ),
    "a lender without weights": (
        lambda w: tell(w, "scbert_embed", weights_from="scbert_schedule"),
        "scbert_embed",
        "scbert_schedule has no tensor weights.*",
    ),
    "other sizes than the description says": (
        lambda w: tell(w, LENDER, hyperparameters={"heads": 999}),
        LENDER,
        "it says 999",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_whatever_is_wrong_with_a_case_is_a_miss_with_its_reason(damage, own_cases):
    where = own_cases("scbert_schedule", "scbert_redraw", "scbert_embed", LENDER)
    harm, name, said = DAMAGES[damage]
    assert damage == "unknown name" or all(found.share <= 1 for found in unharmed(name).values())
    harm(where)
    verdict = on_cpu(where, name)
    assert not verdict.passed
    assert said in verdict.reason
    assert "\n" not in verdict.reason
    assert any(v.passed for v in verify(where))  # the other cases are looked at all the same


# The baseline's case, all here: its problems are solved once


def test_every_prediction_and_accuracy_of_the_baseline_is_compared_where_nothing_ties(own_cases):
    where = own_cases(BASELINE)
    tensors = load_file(where / f"{BASELINE}.safetensors")
    wrong = {name: tensors[name] + 1 for name in ("output.prediction", "output.test_accuracy")}
    change(where, BASELINE, **{name.replace(".", "__"): tensor for name, tensor in wrong.items()})
    found = compared(where, BASELINE)
    assert found["output.prediction"].error == found["output.test_accuracy"].error == 1


def test_other_folds_are_a_miss(own_cases):
    where = own_cases(BASELINE)
    settings = json.loads((where / f"{BASELINE}.json").read_text())["hyperparameters"]
    tell(where, BASELINE, hyperparameters=settings | {"cv_folds": 7})
    assert "has 7 folds" in on_cpu(where, BASELINE).reason


MISTAKES_OF_BASELINE = {
    "solver stopped early, as by default": patched(
        lr, "fitted", lambda fit: lambda X, y, C, _, seed: fit(X, y, C, L1LogisticConfig(), seed)
    ),
    "folds in another order": patched(
        lr, "choose_C", lambda choose: lambda *a: (choose(*a)[0], choose(*a)[1][:, ::-1])
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES_OF_BASELINE)
def test_a_mistake_of_the_baseline_is_a_miss(mistake, own_cases, monkeypatch):
    where = own_cases(BASELINE)
    MISTAKES_OF_BASELINE[mistake](monkeypatch)
    assert not on_cpu(where, BASELINE).passed


# The command


def bench(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def test_command_prints_case_error_tolerance_and_verdict(own_cases):
    code, said = bench("verify", own_cases("scbert_schedule"), "--only", "scbert_s")
    assert code == 0
    line, last = said.splitlines()
    assert re.fullmatch(r"scbert_schedule +cpu float32 +ok +\d\.\d\de[+-]\d\d of 1e-12 allowed, output\.lr_\d", line)
    assert last == "all within tolerance"


def test_command_says_that_a_tolerance_grew_with_the_size_of_the_output(own_cases):
    where = own_cases("scbert_redraw")
    projection = load_file(where / "scbert_redraw.safetensors")["output.projection"]
    size = projection.abs().max().item()
    change(where, "scbert_redraw", output__projection=projection + 3e-5 * (projection.abs() == size))
    code, said = bench("verify", where, "--only", "scbert_redraw")
    assert code == 0
    found, rest = re.search(r"ok +(\S+) of (.*?), output\.projection", said).groups()
    assert 2e-5 < float(found) < 3.8e-5  # the change, with what another processor or thread rounds
    assert rest == f"{1e-5 * size:.1e} allowed (1e-05 x largest value {size:.3g})"


def test_command_ends_with_1_on_a_miss_and_still_prints_the_other_cases(own_cases):
    where = own_cases("scbert_schedule", "scbert_redraw")
    tensors = load_file(where / "scbert_schedule.safetensors")
    change(where, "scbert_schedule", output__lr_0=tensors["output.lr_0"] * (1 + 1e-11))
    (where / "somebody_elses.json").write_text("{}")
    code, said = bench("verify", where)
    assert code == 1
    lines = {line.split()[0]: line for line in said.splitlines()}
    assert re.search(r"MISS +1\.00e-11 of 1e-12 allowed, output\.lr_0$", lines["scbert_schedule"])
    assert " MISS  BenchError: nobody here knows this case; known are scbert_pretrain" in lines["somebody_elses"]
    assert " ok " in lines["scbert_redraw"] and " ok " in lines[LENDER]
    assert said.splitlines()[-1] == "2 missed"


def test_only_takes_the_beginning_of_names(own_cases):
    where = own_cases("scbert_schedule", "scbert_redraw")
    assert {v.case for v in verify(where, "scbert_")} == {LENDER, "scbert_schedule", "scbert_redraw"}
    assert {v.case for v in verify(where, "scbert_r")} == {"scbert_redraw"}
    with pytest.raises(BenchError, match="holds no golden case whose name begins with 'redraw'"):
        list(verify(where, "redraw"))


def test_missing_and_empty_folders_are_sentences(tmp_path, own_cases):
    with pytest.raises(BenchError, match="nowhere is not a folder; it should hold golden cases"):
        list(verify(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "README.md").write_text("nothing")
    with pytest.raises(BenchError, match=r"empty holds no golden case\."):
        list(verify(tmp_path / "empty"))
    for where in ("nowhere", "empty"):
        code, said = bench("verify", tmp_path / where)
        assert code == 2
        assert said.startswith("bench: ")


def test_a_case_is_run_on_the_gpu_too_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [str(b) for b in package._backends(LENDER)] == ["cpu float32", "cpu bf16", "cuda float32", "cuda bf16"]
    assert [str(b) for b in package._backends("scbert_schedule")] == ["cpu float32"]
