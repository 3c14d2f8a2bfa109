"""Golden cases of scGPT, computed with the very functions that bin, pack, encode and train."""

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from bench import binning
from bench.errors import BenchError
from bench.models.packed import Packed
from bench.models.scgpt import Architecture, ScGPTNetwork, plain_name
from bench.training import losses
from bench.training.device import autocast
from bench.training.step import training_step
from bench.verify.case import Case
from bench.verify.tolerances import BF16, ROUNDING, TOLERANCES
from bench.weights import load_into

SIZES = {"n_tokens": "ntoken", "dim": "d_model", "depth": "nlayers", "hidden": "d_hid"}


def network_of(case: Case) -> ScGPTNetwork:
    """Return the network with the case's weights, every tensor of which is used."""
    weights = case.weights()
    architecture = Architecture.of(
        {plain_name(name): tensor for name, tensor in weights.items()}, case.settings["nhead"]
    )
    for ours, theirs in SIZES.items():
        if getattr(architecture, ours) != case.settings[theirs]:
            raise BenchError(f"{case.name}: its weights have {ours} {getattr(architecture, ours)}, not as it says.")
    network = ScGPTNetwork(replace(architecture, dropout=case.settings["dropout"]))
    network.classify_into(case.settings["n_cls"], seed=0, n_layers=case.settings["nlayers_cls"])
    load_into(network, weights, rename=plain_name)
    return network.to(case.backend.device).eval()


def forward(case: Case) -> None:
    """Compare embeddings, logits and predicted values, padded cells without their padding, for all key layouts."""
    of = case.other("inputs_and_outputs_from") if "inputs_and_outputs_from" in case.about else case
    network = network_of(case)
    for number in ("", "2"):
        if f"input{number}.gene_ids" in of.tensors:
            _compare_outputs(of, network, number)
    if "probe.values" in of.tensors:
        device = torch.device(case.backend.device)
        probed = _run(case, network.value_encoder.encode, of["probe.values"].to(device))
        of.compare("probe.value_encoding", probed, _tolerance(case))
    for name, found in of.compared.items() if of is not case else ():
        case.note(name, *found)


def _compare_outputs(case: Case, network: ScGPTNetwork, number: str) -> None:
    packed, there = _packed(case, number)
    tolerance, output = _tolerance(case), f"output{number}"
    computed = {
        "gene_embedding": (network.gene_embedding, there),
        "transformer": (network.encode, there),
        "cell_emb": (network.embed, None),
        "cls_output": (network, None),
        "mlm_output": (lambda p: network.masked_values(p)[0], there),
        "mvc_output": (lambda p: network.masked_values(p)[1], there),
    }
    for name in case.outputs((f"{output}.",)):
        run, positions = computed.get(name.removeprefix(f"{output}."), (None, None))
        if run:
            found = _run(case, run, packed)
            case.compare(name, found if positions is None else _spread(found, there), tolerance, where=positions)
    if f"{output}.mvc_loss" in case.tensors:
        hidden, target = case["input.masked"], case["input.target_values"]
        for kind, found in zip(("mlm", "mvc"), _run(case, network.masked_values, packed), strict=True):
            loss = losses.masked_mse(_spread(found, there), target, hidden)
            case.compare(f"{output}.{kind}_loss", loss, ROUNDING, relative=True)


def finetune(case: Case) -> None:
    """Compare losses, rates, logits and final weights over the steps of a fine-tuning."""
    network, s = network_of(case), case.settings
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.Adam(network.parameters(), eps=1e-4)
    device, tolerance = case.backend.device, _tolerance(case)
    evaluated = _packed(case, "", "eval_")[0]
    case.compare("output.eval_logits_before", _run(case, network, evaluated), tolerance)
    found = {"loss": [], "lr": [], "grad_norm": [], "train_logits": []}
    for epoch in range(s["epochs"]):
        for batch in range(s["batches_per_epoch"]):
            network.train()
            rate = s["lr"] * 0.9**epoch
            for group in optimizer.param_groups:
                group["lr"] = rate
            packed, labels = _packed(case, "", "", batch)[0], case["input.labels"][batch].to(device)
            found["train_logits"].append(_run(case, network, packed))
            norm = _Norm(network)
            told = {"clip": s["grad_clip_norm"], "precision": case.backend.precision}
            found["loss"].append(training_step(network, optimizer, [(packed, labels)], None, scaler=norm, **told))
            found["grad_norm"].append(norm.value)
            found["lr"].append(rate)
    case.compare("output.lr", found.pop("lr"), ROUNDING, relative=True)
    for name, values in found.items():
        case.compare(f"output.{name}", torch.stack(values) if name == "train_logits" else values, tolerance)
    network.eval()
    case.compare("output.eval_logits_after", _run(case, network, evaluated), tolerance)
    case.compare("output.eval_cell_emb_after", _run(case, network.embed, evaluated), tolerance)
    for name, tensor in network.state_dict().items():
        case.compare(f"final.{name}", tensor, tolerance)
    moved = [
        name for name in case.about["unchanged_parameters"] if not torch.equal(start[name], network.state_dict()[name])
    ]
    case.note("unchanged parameters changed", float(len(moved)), 0)


class _Norm(torch.amp.GradScaler):
    """Look at the norm of the gradient before it is cut."""

    def __init__(self, network: ScGPTNetwork):
        super().__init__("cpu", enabled=False)
        self.network, self.value = network, 0.0

    def unscale_(self, optimizer) -> None:
        gradients = [p.grad.norm() for p in self.network.parameters() if p.grad is not None]
        self.value = torch.stack(gradients).norm().item()


def bins(case: Case) -> None:
    """Compare edges' effect: bins with the published stream, with given numbers, and what a bin can be at all."""
    exact, seed = TOLERANCES[case.name]["bins"], case.about["seeds"]["numpy_legacy_global_rng"]
    n_bins = case.settings["n_bins"]
    X = sp.csr_matrix(case["input.X"].numpy())
    streams = {
        "output.binned": lambda: np.random.RandomState(seed),
        "output.low": lambda: _Always(0.999_999),
        "output.high": lambda: _Always(0.0),
    }
    found = {name: _binned(X, stream(), n_bins) for name, stream in streams.items()}
    for name, values in found.items():
        case.compare(name, values, exact)
    given = case["random.uniform"].numpy()
    case.compare("output.binned", _binned(X, _Given(given[given >= 0]), n_bins), exact)
    fixed = found["output.low"] == found["output.high"]
    case.compare("output.deterministic", fixed, exact)
    free = fixed.all(axis=1)
    case.compare("output.row_tie_free", free, exact)
    case.compare("output.binned_tie_free_rows", found["output.binned"][free], exact)
    case.compare("output.bin_edges", _edges(X, n_bins), ROUNDING, relative=True)
    normed = binning.scaled(sp.csr_matrix(case["input_normalised.X"].numpy()))
    case.compare("output_normalised.X_normed", normed.toarray(), ROUNDING, relative=True)
    case.compare("output_normalised.bin_edges", _edges(normed, n_bins), ROUNDING, relative=True)
    case.compare("output_normalised.binned", _binned(normed, np.random.RandomState(seed + 1), n_bins), exact)


def tokenize(case: Case) -> None:
    """Compare genes and values of packed cells, long ones cut in the published way."""
    exact, s = TOLERANCES[case.name]["integers"], case.settings
    vocabulary, ids = case.about["vocabulary"], np.zeros(len(case["input.X"]), int)
    columns = case["input.gene_ids"].numpy()
    placed = sp.csr_matrix(case["input.X"].numpy())
    placed = sp.csr_matrix((placed.data, columns[placed.indices], placed.indptr), (len(ids), len(vocabulary)))
    stream = np.random.RandomState(case.about["seeds"]["numpy_legacy_global_rng_short"])
    cut = {"output_long": (placed, s["max_len_long"]), "output_subset": (placed[1:4], s["max_len_long"])}
    cut |= {"output_short": (placed, s["max_len_short"])}
    for name, (cells, most) in cut.items():
        kept = binning.at_most(cells, most - 1, ids=ids, seed=0, published_rng=stream)
        packed = Packed.of(kept, s["cls_id"])
        there = torch.arange(max(packed.lengths)) < torch.tensor(packed.lengths)[:, None]
        prefix = f"{name}.{'seeded_' * (name == 'output_short')}"
        case.compare(f"{prefix}genes", _spread(packed.genes, there, s["pad_id"]), exact)
        case.compare(f"{prefix}values", _spread(packed.bins, there, s["pad_value"]), exact)
    n_expressed = np.diff(placed.indptr)
    case.compare("output_short.n_expressed", n_expressed, exact)
    case.compare("output_short.truncated", n_expressed > s["max_len_short"] - 1, exact)
    _check_own_cut(case, placed, s["max_len_short"] - 1)


def _check_own_cut(case: Case, placed: sp.csr_matrix, most: int) -> None:
    """Our draws per cell keep the properties of the published one: enough genes, different ones, with their values."""
    kept = binning.at_most(placed, most, ids=np.arange(placed.shape[0]), seed=0)
    wrong = (np.diff(kept.indptr) != np.minimum(np.diff(placed.indptr), most)).sum()
    genes = [kept.indices[a:b] for a, b in zip(kept.indptr, kept.indptr[1:], strict=False)]
    wrong += sum(len(set(g.tolist())) != len(g) for g in genes)
    wrong += ((kept > 0).multiply(placed) != kept).nnz
    case.note("cells cut otherwise than promised", float(wrong), 0)


def loss(case: Case) -> None:
    """Compare the losses on given tensors."""
    relative = TOLERANCES[case.name]["relative"]
    said, target, mask = case["input.prediction"], case["input.target"], case["input.mask"]
    found = {
        "masked_mse": losses.masked_mse(said, target, mask),
        "masked_mse_single_row": losses.masked_mse(said[:1], target[:1], mask[:1]),
        "neg_log_bernoulli": losses.neg_log_bernoulli(case["input.probability"], target, mask),
        "masked_relative_error": losses.masked_relative_error(said, target + 1, mask),
        "ecs": [
            losses.elastic_cell_similarity(case["input.embeddings"], t) for t in case["input.ecs_thresholds"].tolist()
        ],
    }
    for name, value in found.items():
        case.compare(f"output.{name}", value, relative, relative=True)


class _Always:
    """A generator of one number."""

    def __init__(self, value: float):
        self.value = value

    def random_sample(self, size: int) -> np.ndarray:
        return np.full(size, self.value)


class _Given:
    """A generator of recorded numbers."""

    def __init__(self, values: np.ndarray):
        self.values = values

    def random_sample(self, size: int) -> np.ndarray:
        drawn, self.values = self.values[:size], self.values[size:]
        return drawn


def _binned(X: sp.csr_matrix, stream, n_bins: int) -> np.ndarray:
    found = sp.csr_matrix((binning.quantile_bins(X, lambda row: stream, n_bins), X.indices, X.indptr), X.shape)
    return found.toarray().astype(int)


def _edges(X: sp.csr_matrix, n_bins: int) -> np.ndarray:
    cells = [X.data[start:end] for start, end in zip(X.indptr, X.indptr[1:], strict=False)]
    rows = [binning.edges(values, n_bins) if len(values) else np.zeros(n_bins - 1) for values in cells]
    return np.pad(rows, ((0, 0), (1, 0)))


def _packed(case: Case, number: str, kind: str = "", batch: int | None = None) -> tuple[Packed, Tensor]:
    """Return padded cells of the case without their padding, and where they were not padded."""
    genes, values = (case[f"input{number}.{kind}{name}"] for name in ("gene_ids", "values"))
    genes, values = (genes, values) if batch is None else (genes[batch], values[batch])
    there = genes != case.settings["pad_id"]
    parts = (tensor[there].long().to(case.backend.device) for tensor in (genes, values))
    return Packed(*parts, tuple(there.sum(1).tolist())), there


def _spread(found: Tensor, there: Tensor, fill: float = 0) -> Tensor:
    """Return packed results (n_positions, ...) where they were in the padded array, (cells, length, ...)."""
    spread = found.new_full((*there.shape, *found.shape[1:]), fill)
    spread[there] = found
    return spread


def _run(case: Case, run, inputs):
    """Return what a part of the network says, on the CPU."""
    with torch.no_grad(), autocast(torch.device(case.backend.device), case.backend.precision):
        found = run(inputs)
    return tuple(f.float().cpu() for f in found) if isinstance(found, tuple) else found.float().cpu()


def _tolerance(case: Case) -> float:
    return BF16 if case.backend.precision == "bf16" else TOLERANCES[case.name]["outputs"]
