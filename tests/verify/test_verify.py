"""Golden cases are met within the tolerances of their README, and every way of missing one is a miss."""

import json
import re
import shutil
from copy import deepcopy
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from click.testing import CliRunner
from conftest import GOLDEN, folder_of
from safetensors.torch import load_file, save_file

from bench import verify as package
from bench.cli import main
from bench.core.errors import BenchError
from bench.core.families import imported
from bench.models.baselines import golden as lr
from bench.models.baselines import l1_logistic
from bench.models.baselines.l1_logistic import L1LogisticConfig
from bench.models.layers import favor_sums, packed
from bench.models.layers.favor_sums import KeySummary
from bench.models.layers.packed import Packed
from bench.models.layers.projection import draw_projection
from bench.models.scbert import golden as scbert
from bench.models.scbert import masking
from bench.models.scbert.network import ScBERTNetwork
from bench.models.scgpt import binning
from bench.models.scgpt import golden as scgpt
from bench.models.scgpt import golden_inputs as scgpt_inputs
from bench.models.scgpt.network import ScGPTNetwork
from bench.training.schedule import cosine_warm_restarts
from bench.verify import RESULTS, Verdict, cases, verify
from bench.verify.case import Case, Compared

COMMITTED = Path(__file__).parents[1] / "golden"
CASES = cases()
MODULES = {target.partition(":")[0] for target in CASES.values()}  # TOLERANCES in each: case -> kind of output -> limit
OLDER = ("scbert", "scgpt", "lr")  # whose set has a README of tolerances; others say theirs case by case
TOLERANCES = {name: limits for module in MODULES for name, limits in import_module(module).TOLERANCES.items()}
LENDER = "scbert_pretrain"  # whose weights other cases use
NAMES = sorted({path.stem for folder in GOLDEN for path in folder.glob("*.json")})
QUICK = [name for name in NAMES if name != "lr_liblinear" and "_keys_" not in name]  # of a second, with own results


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


@pytest.fixture
def folder(tmp_path):
    """Return a maker of folders with private copies of some cases, and of what they borrow."""

    def _folder(*names: str) -> Path:
        to = tmp_path / "cases"
        to.mkdir(exist_ok=True)
        forward = {"scgpt_forward"} if any("_keys_" in name for name in names) else set()
        for name in {*names, *forward, *lenders(names), LENDER}:
            for suffix in (".json", ".safetensors"):
                shutil.copyfile(folder_of(name) / f"{name}{suffix}", to / f"{name}{suffix}")
        return to

    return _folder


def lenders(names) -> set[str]:
    """Return the cases that lend weights to some cases, and those that lend to these."""
    told = [json.loads((folder_of(name) / f"{name}.json").read_text()).get("weights_from") for name in names]
    found = {name for name in told if name}
    return found | lenders(found) if found else found


def verdicts(where: Path, name: str) -> list[Verdict]:
    return [verdict for verdict in verify(where, name) if verdict.case == name]


def on_cpu(where: Path, name: str) -> Verdict:
    return verdicts(where, name)[0]


def change(where: Path, name: str, **changes) -> None:
    """Write a case again with some tensors replaced, added, or with None left out; __ stands for a dot."""
    file = where / f"{name}.safetensors"
    tensors = load_file(file) | {key.replace("__", "."): value for key, value in changes.items()}
    save_file({key: value.contiguous() for key, value in tensors.items() if value is not None}, file)


def tell(where: Path, name: str, **changes) -> None:
    """Write the description of a case again with some entries replaced."""
    file = where / f"{name}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


# All is well


@pytest.mark.parametrize("name", NAMES)
def test_golden_case_is_met(name):
    for verdict in verdicts(folder_of(name), name):
        assert verdict.passed, verdict


def test_committed_subset_covers_every_model_and_stays_small():
    beyond = {"scbert_classify", "scbert_finetune"}  # five megabytes each
    beyond |= {"scgpt_mvc", "scgpt_forward_keys_flash", "scgpt_forward_keys_impl"}  # as much again as there is room for
    assert {path.stem for path in COMMITTED.glob("*.json")} == set(CASES) - beyond
    assert {path.stem for path in COMMITTED.glob("*.safetensors")} == set(CASES) - beyond
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


def compared(where: Path, name: str) -> dict[str, Compared]:
    """Return how far every output is and may be, from the function that compares."""
    module, _, function = CASES[name].partition(":")
    case = Case(where, name)
    getattr(import_module(module), function)(case)
    return case.compared


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
    return tensor + 0.01 * tensor[tensor.isfinite()].abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("moved", [ten_tolerances, a_hundredth])
@pytest.mark.parametrize("name", NAMES)
def test_every_output_that_is_moved_is_a_miss(name, moved, folder):
    where = folder(name)
    allowed = compared(where, name)
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


def test_every_prediction_and_accuracy_of_the_baseline_is_compared_where_nothing_ties(folder):
    where = folder("lr_liblinear")
    tensors = load_file(where / "lr_liblinear.safetensors")
    wrong = {name: tensors[name] + 1 for name in ("output.prediction", "output.test_accuracy")}
    change(where, "lr_liblinear", **{name.replace(".", "__"): tensor for name, tensor in wrong.items()})
    found = compared(where, "lr_liblinear")
    assert found["output.prediction"].error == found["output.test_accuracy"].error == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("kind", ["beyond", "nan"])
def test_one_altered_entry_is_a_miss_that_names_its_output(name, kind, folder):
    where = folder(name)
    tensors = load_file(where / f"{name}.safetensors")
    key = [k for k, t in tensors.items() if k.startswith("output") and t.is_floating_point()][-1]
    altered = tensors[key].clone()
    first = altered.flatten()[0]
    allowed = compared(where, name)[key].allowed or 0.1
    altered.view(-1)[0] = torch.nan if kind == "nan" else first + 10 * allowed * max(1, abs(first))
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
def test_not_a_number_in_both_is_equal_and_an_infinity_of_the_other_sign_is_not(folder):
    case = Case(folder(LENDER), LENDER)
    case.tensors = {"output.x": torch.tensor([torch.nan, torch.inf, 1.0])}
    case.compare("output.x", [np.nan, np.inf, 1.0], 0)
    assert case.compared == {"output.x": Compared(0.0, 0)}
    case.compare("output.x", [np.nan, -np.inf, 1.0], 1e9)
    assert case.compared["output.x"].error == np.inf


@pytest.mark.filterwarnings("ignore:invalid value encountered in subtract")
def test_tolerances_grow_with_the_largest_finite_value_that_counts(folder):
    case = Case(folder(LENDER), LENDER)
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


def test_an_error_that_is_not_a_number_is_a_miss_wherever_it_was_computed(folder):
    case = Case(folder(LENDER), LENDER)
    case.note("gradient", 0.0, 1.0)
    case.note("gradient", float("nan"), 1.0)
    assert case.compared["gradient"].share == np.inf


def test_the_largest_error_of_several_ways_is_kept(folder):
    case = Case(folder(LENDER), LENDER)
    case.tensors = {"output.x": torch.zeros(3)}
    for error in (0.1, 0.3, 0.2):
        case.compare("output.x", [0, error, 0], 1.0)
    assert case.compared == {"output.x": Compared(0.3, 1.0)}


def test_where_limits_the_comparison_and_relative_divides(folder):
    case = Case(folder(LENDER), LENDER)
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


@pytest.mark.parametrize("damage", DAMAGES)
def test_whatever_is_wrong_with_a_case_is_a_miss_with_its_reason(damage, folder):
    where = folder("scbert_schedule", "scbert_redraw", "scbert_embed", LENDER)
    harm, name, said = DAMAGES[damage]
    assert damage == "unknown name" or on_cpu(where, name).passed
    harm(where)
    verdict = on_cpu(where, name)
    assert not verdict.passed
    assert said in verdict.reason
    assert "\n" not in verdict.reason
    assert any(v.passed for v in verify(where))  # the other cases are looked at all the same


def test_a_missing_redraw_interval_or_other_folds_are_a_miss(folder):
    where = folder("scbert_redraw", "lr_liblinear")
    settings = json.loads((where / "scbert_redraw.json").read_text())["hyperparameters"]
    tell(where, "scbert_redraw", hyperparameters=settings | {"feature_redraw_interval": 500})
    assert "redraws every 500 passes" in on_cpu(where, "scbert_redraw").reason
    settings = json.loads((where / "lr_liblinear.json").read_text())["hyperparameters"]
    tell(where, "lr_liblinear", hyperparameters=settings | {"cv_folds": 7})
    assert "has 7 folds" in on_cpu(where, "lr_liblinear").reason


# The command


def bench(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def test_command_prints_case_error_tolerance_and_verdict(folder):
    code, said = bench("verify", folder("scbert_schedule"), "--only", "scbert_s")
    assert code == 0
    line, last = said.splitlines()
    assert re.fullmatch(r"scbert_schedule +cpu float32 +ok +\d\.\d\de[+-]\d\d of 1e-12 allowed, output\.lr_\d", line)
    assert last == "all within tolerance"


def test_command_says_that_a_tolerance_grew_with_the_size_of_the_output(folder):
    where = folder("scbert_redraw")
    projection = load_file(where / "scbert_redraw.safetensors")["output.projection"]
    size = projection.abs().max().item()
    change(where, "scbert_redraw", output__projection=projection + 3e-5 * (projection.abs() == size))
    code, said = bench("verify", where, "--only", "scbert_redraw")
    assert code == 0
    found, rest = re.search(r"ok +(\S+) of (.*?), output\.projection", said).groups()
    assert 2e-5 < float(found) < 3.8e-5  # the change, with what another processor or thread rounds
    assert rest == f"{1e-5 * size:.1e} allowed (1e-05 x largest value {size:.3g})"


def test_command_ends_with_1_on_a_miss_and_still_prints_the_other_cases(folder):
    where = folder("scbert_schedule", "scbert_redraw")
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


def test_only_takes_the_beginning_of_names(folder):
    where = folder("scbert_schedule", "scbert_redraw")
    assert {v.case for v in verify(where, "scbert_")} == {LENDER, "scbert_schedule", "scbert_redraw"}
    assert {v.case for v in verify(where, "scbert_r")} == {"scbert_redraw"}
    with pytest.raises(BenchError, match="holds no golden case whose name begins with 'redraw'"):
        list(verify(where, "redraw"))


def test_missing_and_empty_folders_are_sentences(tmp_path, folder):
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


# Mistakes that are easily made are beyond the tolerance


def patched(target, name, make):
    """Return a mistake: replace an attribute by what ``make`` makes of it."""
    return lambda monkeypatch: monkeypatch.setattr(target, name, make(getattr(target, name)))


def _maximum_per_cell_and_head(_):
    return lambda self, _stabiliser: (
        self.sums * (self.reference - self.top).exp()[..., None, None] + favor_sums.EPS * self.values,
        self.top.amax(1),
    )


def _add_with_maximum_of_each_key(self, cells, k, v, **_):
    dash = k @ self.projection
    E = (dash - dash.amax(-1, keepdim=True) - favor_sums.half_norm(k)[..., None]).exp()
    augmented = favor_sums.with_ones(v)
    self.sums[cells] += E.transpose(2, 3) @ augmented
    self.values[cells] += augmented.sum(2, keepdim=True)


def _key_maximum_per_row(monkeypatch):
    monkeypatch.setattr(KeySummary, "add", _add_with_maximum_of_each_key)
    monkeypatch.setattr(KeySummary, "context", lambda self, _: (self.sums + favor_sums.EPS * self.values, None))


def _scaled_by_the_root(monkeypatch):
    monkeypatch.setattr(favor_sums, "scaled", lambda p, dtype: (p * p.shape[1] ** -0.5).to(dtype).T.contiguous())
    monkeypatch.setattr(favor_sums, "half_norm", lambda x: x.square().sum(-1) / x.shape[-1] / 2)


def _other_projection(monkeypatch):
    load = scbert.load_into

    def _load(network, weights):
        audit = load(network, weights)
        for number, layer in enumerate(network.layers):
            projection = layer[0]["fn"].projection
            projection.copy_(draw_projection(*projection.shape, torch.Generator().manual_seed(number)))
        return audit

    monkeypatch.setattr(scbert, "load_into", _load)


def _head_without_relu(monkeypatch):
    monkeypatch.setattr(torch.nn.functional, "relu", lambda x: x)


SENSITIVITY = {  # mistakes named in the golden set, and how far it says that they move the logits
    "key_max_per_row": _key_maximum_per_row,
    "key_max_per_cell_and_head": patched(KeySummary, "context", _maximum_per_cell_and_head),
    "key_max_per_cell": patched(KeySummary, "context", lambda context: lambda self, _: context(self, "per_cell")),
    "no_eps": patched(favor_sums, "EPS", lambda _: 0.0),
    "scale_d^-0.5": _scaled_by_the_root,
    "gelu_tanh": patched(torch.nn.functional, "gelu", lambda gelu: lambda x: gelu(x, approximate="tanh")),
    "other_random_projection": _other_projection,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [LENDER, "scbert_classify"])
@pytest.mark.parametrize("mistake", SENSITIVITY)
def test_a_named_mistake_is_a_miss_of_the_size_that_the_golden_set_says(mistake, name, folder, monkeypatch):
    where = folder(name)
    output = "output.logits" if name == LENDER else "output.logits_batch5"
    said = json.loads((where / f"{name}.json").read_text())["sensitivity"]
    assert f"change of {output} " in said["meaning"]
    SENSITIVITY[mistake](monkeypatch)
    assert not on_cpu(where, name).passed
    if mistake != "other_random_projection":  # any projection is another one
        found = compared(where, name)[output]
        assert found.share > 1
        assert found.error == pytest.approx(said[mistake], rel=0.02)


def _of_training_step(change_of):
    return lambda step: (
        lambda network, optimizer, parts, weights, **more: step(*change_of(network, optimizer, parts, weights), **more)
    )


MISTAKES = {  # case, mistake
    "unweighted_loss": (
        "scbert_finetune",
        patched(scbert, "training_step", _of_training_step(lambda n, o, p, w: (n, o, p, torch.ones_like(w)))),
    ),
    "square roots of the class weights": (
        "scbert_finetune",
        patched(scbert, "training_step", _of_training_step(lambda n, o, p, w: (n, o, p, w.sqrt()))),
    ),
    "head trained alone": (
        "scbert_finetune",
        patched(scbert, "training_step", _of_training_step(lambda n, o, p, w: (_frozen(n), o, p, w))),
    ),
    "second_to_last_layer_instead_of_last": (
        "scbert_finetune",
        lambda m: m.setattr(ScBERTNetwork, "layers", property(lambda n: n.performer["net"]["layers"][:-1])),
    ),
    "head without ReLU": ("scbert_classify", _head_without_relu),
    "most common bin with zeros": (
        "scbert_mask",
        patched(
            masking,
            "most_common_bin",
            lambda _: lambda ids: torch.stack([(ids == t).sum(1) for t in range(6)], 1).argmax(1),
        ),
    ),
    "number of masked positions in exact arithmetic": (
        "scbert_mask",
        patched(masking, "selected_count", lambda _: lambda k, n: (k * 15 + 99).div(100, rounding_mode="floor")),
    ),
    "visible positions not in the loss": (
        "scbert_mask",
        patched(masking, "mask", lambda mask: lambda *a: _labels_where_replaced(mask(*a))),
    ),
    "all seven ids compete in the restricted accuracy": (
        "scbert_mask",
        patched(masking, "expressed_prediction", lambda _: lambda logits: logits.argmax(-1)),
    ),
    "eight in ten hidden": ("scbert_mask", patched(masking, "REPLACED", lambda _: 0.8)),
    "schedule begins at its peak": (
        "scbert_schedule",
        patched(scbert, "cosine_warm_restarts", lambda rate: lambda step, **more: rate(step + 5, **more)),
    ),
    "no warm-up in later cycles": (
        "scbert_schedule",
        patched(
            scbert, "cosine_warm_restarts", lambda rate: lambda step, **more: max(rate(step, **more), more["peak"] / 2)
        ),
    ),
    "peaks do not fall": (
        "scbert_schedule",
        patched(scbert, "cosine_warm_restarts", lambda rate: lambda step, **more: rate(step, **more | {"gamma": 1})),
    ),
    "library size before the alignment": (
        "scbert_preprocess",
        patched(scbert, "align", lambda align: _aligned_after_normalising(align)),
    ),
    "last column of a repeated symbol": (
        "scbert_preprocess",
        patched(scbert, "align", lambda align: lambda X, genes, reference: align(X[:, ::-1], genes[::-1], reference)),
    ),
    "tokens rounded": (
        "scbert_preprocess",
        patched(scbert, "tokens", lambda tokens: lambda X: tokens(sp.csr_matrix(np.round(X.toarray())))),
    ),
    "natural logarithm": (
        "scbert_preprocess",
        patched(scbert, "log1p_cp10k", lambda log: lambda X, base: log(X, base=np.e)),
    ),
    "counter is 1 after a redraw": (
        "scbert_redraw",
        patched(ScBERTNetwork, "count_pass", lambda count: lambda self, seed: _count_from_one(count, self, seed)),
    ),
    "rows of unit length": (
        "scbert_redraw",
        patched(
            scbert,
            "projection_from",
            lambda make: lambda blocks, norms: make(blocks, norms / norms.norm(dim=1)[:, None]),
        ),
    ),
    "gene2vec shifted by a gene": (
        "scbert_embed",
        patched(Case, "weights", lambda weights: lambda self: _shifted(weights(self))),
    ),
    "final norm left out": (
        "scbert_embed",
        patched(Case, "weights", lambda weights: lambda self: weights(self) | {"norm.bias": torch.zeros(200)}),
    ),
    "attention projections dropped without a word": (
        "scgpt_forward_keys_flash",
        patched(scgpt, "load_into", lambda load: lambda n, weights, rename: _what_fits(load, n, weights)),
    ),
    "flags of hidden values left out": (
        "scgpt_mvc",
        patched(ScGPTNetwork, "value_embedding", lambda embed: lambda self, p: embed(self, _nothing_hidden(p))),
    ),
    "values predicted from genes before their norm": (
        "scgpt_mvc",
        patched(ScGPTNetwork, "gene_embedding", lambda _: lambda self, p: self.encoder["embedding"](p.genes)),
    ),
    "cell embedding from the second position": (
        "scgpt_forward",
        patched(Packed, "first", lambda first: property(lambda self: first.func(self) + 1)),
    ),
    "padding attended to": (
        "scgpt_forward",
        patched(packed, "_group", lambda group: lambda *a: replace(group(*a), mask=None)),
    ),
    "numbers drawn for ties alone": (
        "scgpt_binning",
        patched(binning, "quantile_bins", lambda bins: lambda X, draw, n=51: _for_ties_alone(bins, X, draw)),
    ),
    "edges a hundredth too high": (
        "scgpt_binning",
        patched(binning, "edges", lambda edges: lambda values, n=51: edges(values, n) * 1.01),
    ),
    "long cells cut to their first genes": (
        "scgpt_tokenize",
        patched(binning, "_draw", lambda draw: lambda *a: lambda row: _First()),
    ),
    "similarity of a cell to itself counts": (
        "scgpt_losses",
        patched(torch.Tensor, "fill_diagonal_", lambda _: lambda self, value: self),
    ),
    "solver stopped early, as by default": (
        "lr_liblinear",
        patched(lr, "fitted", lambda fit: lambda X, y, C, _, seed: fit(X, y, C, L1LogisticConfig(), seed)),
    ),
    "folds in another order": (
        "lr_liblinear",
        patched(lr, "choose_C", lambda choose: lambda *a: (choose(*a)[0], choose(*a)[1][:, ::-1])),
    ),
}


def _what_fits(load, network, weights):
    """Load as those do who keep "what matches"."""
    fitting = {name: t for name, t in weights.items() if name in network.state_dict()}
    return load(network, fitting, allow_missing=["*in_proj*"])


def _nothing_hidden(cells):
    return Packed(cells.genes, cells.bins.clamp(min=0), cells.lengths)


def _for_ties_alone(bins, X, draw):
    generator = draw(0)
    low, high = bins(X, lambda row: scgpt_inputs._Always(0.999_999)), bins(X, lambda row: scgpt_inputs._Always(0.0))
    found = high.copy()
    found[low < high] = np.ceil(low + generator.random_sample((low < high).sum()) * (high - low)[low < high])
    return found


class _First:
    def choice(self, n, size, replace):
        return np.arange(size)


def _labels_where_replaced(masked):
    labels = masked.labels.masked_fill(~masked.replaced, masking.MASK)
    return masking.Masked(masked.tokens, labels, masked.selected, masked.replaced)


def _aligned_after_normalising(align):
    def _align(X, genes, reference):
        total = np.asarray(X.sum(axis=1)).ravel()
        return align(sp.csr_matrix(sp.diags(1 / np.maximum(total, 1)) @ X), genes, reference)

    return _align


def _count_from_one(count, network, seed):
    due = count(network, seed)
    if due:
        network.performer.calls_since_last_redraw.fill_(1)
    return due


def _shifted(weights):
    return weights | {"pos_emb.emb.weight": weights["pos_emb.emb.weight"].roll(1, 0)}


def _frozen(network):
    network.layers.requires_grad_(False)
    return network


SENSITIVITY_SCGPT = {  # case, output, mistake
    "query_and_key_swapped": (
        "scgpt_forward",
        "output.cls_output",
        patched(Case, "weights", lambda weights: lambda self: _swapped(weights(self))),
    ),
    "adam_eps_1e-8": (
        "scgpt_finetune",
        "output.loss",
        patched(torch.optim, "Adam", lambda adam: lambda parameters, eps: adam(parameters, eps=1e-8)),
    ),
    "no_clipping": (
        "scgpt_finetune",
        "output.loss",
        patched(scgpt, "training_step", lambda step: lambda *a, clip, **more: step(*a, clip=1e9, **more)),
    ),
}


def _swapped(weights):
    swapped = {}
    for name, tensor in weights.items():
        q, k, v = tensor.chunk(3) if "in_proj" in name else (None,) * 3
        swapped[name] = tensor if q is None else torch.cat([k, q, v])
    return swapped


@pytest.mark.parametrize("mistake", SENSITIVITY_SCGPT)
def test_a_named_mistake_of_scgpt_has_the_size_that_the_golden_set_says(mistake, folder, monkeypatch):
    name, output, make = SENSITIVITY_SCGPT[mistake]
    where = folder(name)
    said = json.loads((where / f"{name}.json").read_text())["sensitivity"]
    assert output in said["meaning"]
    make(monkeypatch)
    found = compared(where, name)[output]
    assert found.share > 1
    assert found.error == pytest.approx(said[mistake], rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_a_miss(mistake, folder, monkeypatch):
    name, make = MISTAKES[mistake]
    where = folder(name)
    make(monkeypatch)
    assert not on_cpu(where, name).passed


def test_the_schedule_that_is_verified_is_the_one_that_trains():
    from bench.models.scbert.annotator import ScBERT, ScBERTConfig

    assert scbert.cosine_warm_restarts is cosine_warm_restarts
    rate = ScBERT(ScBERTConfig(lr=1e-4)).schedule().rate
    assert [rate(epoch) for epoch in range(40)] == [cosine_warm_restarts(e, peak=1e-4, floor=1e-6) for e in range(40)]
