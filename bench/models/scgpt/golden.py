"""Golden cases of scGPT's network, computed with the very functions that pack, encode and train."""

from dataclasses import replace

import torch
from torch import Tensor

from bench.core.errors import BenchError
from bench.models.layers.packed import Packed
from bench.models.scgpt import losses
from bench.models.scgpt.network import Architecture, ScGPTNetwork, plain_name
from bench.training.device import autocast
from bench.training.step import training_step
from bench.verify.case import Case
from bench.verify.tolerances import BF16, ROUNDING, after_training
from bench.weights import load_into

TOLERANCES = {  # case -> kind of output -> largest error, of numbers of size one unless the kind says relative
    "scgpt_forward": {"outputs": 2e-5},  # where nothing is padded
    "scgpt_forward_keys_flash": {"outputs": 2e-5},
    "scgpt_forward_keys_impl": {"outputs": 2e-5},
    "scgpt_mvc": {"outputs": 5e-5},
    "scgpt_finetune": {"outputs": 2e-5},
    "scgpt_binning": {"bins": 0},
    "scgpt_tokenize": {"integers": 0},
    "scgpt_losses": {"relative": 1e-6},
}

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
            case.compare(name, found if positions is None else spread(found, there), tolerance, where=positions)
    if f"{output}.mvc_loss" in case.tensors:
        hidden, target = case["input.masked"], case["input.target_values"]
        for kind, found in zip(("mlm", "mvc"), _run(case, network.masked_values, packed), strict=True):
            loss = losses.masked_mse(spread(found, there), target, hidden)
            allowed = BF16 if case.backend.precision == "bf16" else ROUNDING
            case.compare(f"{output}.{kind}_loss", loss, allowed, relative=True)


def finetune(case: Case) -> None:
    """Compare losses, rates, logits and final weights over the steps of a fine-tuning."""
    network, s = network_of(case), case.settings
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.Adam(network.parameters(), eps=1e-4)
    device = case.backend.device
    evaluated = _packed(case, "", "eval_")[0]
    case.compare("output.eval_logits_before", _run(case, network, evaluated), _tolerance(case))
    tolerance = after_training(case.backend, _tolerance(case))
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


def _packed(case: Case, number: str, kind: str = "", batch: int | None = None) -> tuple[Packed, Tensor]:
    """Return padded cells of the case without their padding, and where they were not padded."""
    genes, values = (case[f"input{number}.{kind}{name}"] for name in ("gene_ids", "values"))
    genes, values = (genes, values) if batch is None else (genes[batch], values[batch])
    there = genes != case.settings["pad_id"]
    parts = (tensor[there].long().to(case.backend.device) for tensor in (genes, values))
    return Packed(*parts, tuple(there.sum(1).tolist())), there


def spread(found: Tensor, there: Tensor, fill: float = 0) -> Tensor:
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
