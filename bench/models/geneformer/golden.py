"""Golden cases of Geneformer's network, computed with the very functions that pack, encode, mask and train."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.core.errors import BenchError
from bench.models.geneformer import embedding, masking
from bench.models.geneformer.checkpoint import without_copies
from bench.models.geneformer.network import Architecture, GeneformerNetwork
from bench.models.geneformer.packs import Ranked
from bench.training.device import autocast
from bench.training.schedule import Schedule, warmed_up
from bench.training.step import optimizer_of, training_step
from bench.verify.case import Case
from bench.verify.tolerances import BF16, after_training
from bench.weights import load_into

TOLERANCES = {  # case -> kind of output -> largest error, of numbers of size one unless the kind says relative
    "geneformer_forward_v1": {"outputs": 2e-5},  # where nothing is padded
    "geneformer_forward_v2": {"outputs": 2e-5},
    "geneformer_forward_v1_keys_bin": {"outputs": 2e-5},
    "geneformer_embed_v1": {"outputs": 1e-5, "integers": 0},
    "geneformer_embed_v2": {"outputs": 1e-5, "integers": 0},
    "geneformer_classify": {"outputs": 1e-5, "integers": 0},
    "geneformer_pretrain_v1": {"outputs": 1e-5, "loss": 5e-6, "integers": 0},
    "geneformer_pretrain_v2": {"outputs": 1e-5, "loss": 5e-6, "integers": 0},
    "geneformer_finetune_annotation": {"outputs": 5e-6, "final": 2e-6, "relative lr": 1e-12, "relative norm": 1e-5},
    "geneformer_finetune_state": {"outputs": 5e-6, "final": 2e-6, "relative lr": 1e-12, "relative norm": 1e-5},
}
SIZES = {
    **{"n_tokens": "vocab_size", "dim": "hidden_size", "depth": "num_hidden_layers", "hidden": "intermediate_size"},
    "positions": "max_position_embeddings",
}
BF16_GRADIENTS = 0.5  # of the largest: the norm of small embeddings, and of nothing but these, makes rounding large
NOT_LEARNED = "attention.self.key.bias"  # its gradient is 0 but for rounding, of which Adam makes steps of the rate


def network_of(case: Case) -> GeneformerNetwork:
    """Return the network with the case's weights, every tensor of which is used or a copy of another one."""
    own = {name.removeprefix("weights."): t for name, t in case.tensors.items() if name.startswith("weights.")}
    weights, s = without_copies(case.weights() | own), case.settings
    found = Architecture.of(weights, s["num_attention_heads"])
    for ours, theirs in SIZES.items():
        if getattr(found, ours) != s[theirs]:
            raise BenchError(
                f"{case.name}: its weights have {ours} {getattr(found, ours)}, not {s[theirs]} as it says."
            )
    network = GeneformerNetwork(replace(found, dropout=s["hidden_dropout_prob"]))
    if "num_labels" in s:
        network.classify_into(s["num_labels"], seed=0)
    load_into(network, weights)
    return network.to(case.backend.device).eval()


def forward(case: Case) -> None:
    """Compare all hidden states and the logits, padded cells without their padding."""
    of = case.other("inputs_and_outputs_from") if "inputs_and_outputs_from" in case.about else case
    network, tolerance = network_of(case), _tolerance(case, "outputs")
    packed, there = _packed(of, of["input.input_ids"], of["input.attention_mask"])
    for name in sorted(of.outputs(("output.hidden_state_",))):
        depth = int(name.rpartition("_")[2])
        found = _run(case, lambda p, depth=depth: network.encode(p, depth), packed)
        of.compare(name, spread(found, there), tolerance, where=there)
    logits = _run(case, lambda p: network.genes_at(network.encode(p)), packed)
    of.compare("output.logits", spread(logits, there), tolerance, where=there)
    for name, found in of.compared.items() if of is not case else ():
        case.note(name, *found)


def embed(case: Case) -> None:
    """Compare embeddings of cells and of genes, of the last layer and of the one before it."""
    network, tolerance = network_of(case), _tolerance(case, "outputs")
    exact, ids, lengths = TOLERANCES[case.name]["integers"], case["input.input_ids"], case["input.length"]
    packed, _ = _packed(case, ids, torch.arange(ids.shape[1]) < lengths[:, None])
    bounded = "<cls>" in case.about["token_dictionary_special"]
    case.compare("output.order", np.argsort(-lengths.numpy(), kind="stable"), exact)
    for layer, which in ((-1, "second_to_last"), (0, "last")):
        for mode in [mode for mode in embedding.MODES if f"output.{mode}_{which}" in case.tensors]:
            told = {"layer": layer, "mode": mode, "bounded": bounded}
            found = _run(case, lambda p, told=told: embedding.of_cells(network, p, **told), packed)
            case.compare(f"output.{mode}_{which}", found, tolerance)
        with torch.no_grad(), autocast(torch.device(case.backend.device), case.backend.precision):
            tokens, found = embedding.of_genes(network, packed, layer=layer)
        case.compare(f"output.gene_{which}.tokens", tokens, exact)
        case.compare(f"output.gene_{which}.embedding", found, tolerance)


def classify(case: Case) -> None:
    """Compare the pooler, logits, loss and classes."""
    network, tolerance = network_of(case), _tolerance(case, "outputs")
    exact = TOLERANCES[case.name]["integers"]
    packed, _ = _packed(case, case["input.input_ids"], case["input.attention_mask"])
    case.compare("output.pooled", _run(case, network.pooled, packed), tolerance)
    logits = _run(case, network, packed)
    case.compare("output.logits", logits, tolerance)
    case.compare("output.loss", F.cross_entropy(logits, case["input.labels"])[None], tolerance)
    clear = np.ptp(np.sort(case["output.logits"].numpy(), axis=1)[:, -2:], axis=1) > 2 * tolerance
    case.compare("output.predicted", logits.argmax(1), exact, where=clear)
    n_cells, told = len(logits), case.about["tensors"]["output.reference_evaluated_cells"]["what"]
    at_a_time = int(told.rpartition("forward_batch_size ")[2])
    case.compare("output.reference_evaluated_cells", [n_cells - (n_cells % at_a_time == 1)], exact)  # theirs: not ours


def pretrain(case: Case) -> None:
    """Compare masks, loss, logits and first gradients."""
    network, tolerance = network_of(case), _tolerance(case, "outputs")
    exact, ids = TOLERANCES[case.name]["integers"], case["input.input_ids"]
    draws = masking.Draws(
        *(case[f"random.{name}"].numpy() for name in ("selected", "replace_by_mask", "replace_by_random", "words"))
    )
    shown, where = masking.masked(ids.numpy(), draws)
    case.compare("output.eligible", masking.eligible(ids.numpy()), exact)
    case.compare("output.masked_input_ids", shown, exact)
    case.compare("output.labels", np.where(where, ids, -100), exact)
    packed, there = _packed(case, torch.from_numpy(shown), case["input.attention_mask"])
    wanted = torch.from_numpy(where)[there].to(case.backend.device)
    true = ids[torch.from_numpy(where)].to(case.backend.device)
    network.train()
    with autocast(torch.device(case.backend.device), case.backend.precision):
        logits = network.genes_at(network.encode(packed)[wanted]).float()
    loss = masking.cross_entropy(logits, true, len(true))
    loss.backward()
    case.compare("output.masked_logits", logits, tolerance)
    case.compare("output.loss", [loss.item()], _tolerance(case, "loss"))
    right = (logits.argmax(1) == true).double().mean().item()
    case.compare("output.accuracy", [right], 0 if case.backend.precision == "float32" else 2 / len(true))
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    for name in case.outputs(("grad_step0.",)):
        found, expected = gradients[name.removeprefix("grad_step0.")].cpu(), case[name]
        largest = expected.abs().max()  # gradients are compared as shares of the largest
        limit = BF16_GRADIENTS if case.backend.precision == "bf16" else TOLERANCES[case.name]["outputs"]
        case.note(name, ((found - expected).abs().max() / largest).item(), limit)


def finetune(case: Case) -> None:
    """Compare losses, rates, norms, logits and final weights over the steps of a fine-tuning."""
    network, s, tolerance = network_of(case), case.settings, _tolerance(case, "outputs")
    network.freeze(s["frozen_encoder_layers"])
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    evaluated, _ = _packed(case, case["input.eval_input_ids"], case["input.eval_attention_mask"])
    case.compare("output.eval_logits_before", _run(case, network, evaluated), tolerance)
    found = _train(case, network)
    limits = TOLERANCES[case.name]
    tolerance = after_training(case.backend, tolerance)
    case.compare("output.lr", found["lr"], limits["relative lr"], relative=True)
    norm = BF16 if case.backend.precision == "bf16" else limits["relative norm"]
    case.compare("output.grad_norm", found["grad_norm"], after_training(case.backend, norm), relative=True)
    case.compare("output.loss", found["loss"], tolerance)
    case.compare("output.train_logits", torch.stack(found["train_logits"]), tolerance)
    network.eval()
    case.compare("output.eval_logits_after", _run(case, network, evaluated), tolerance)
    final = after_training(case.backend, _tolerance(case, "final"))
    for name in case.outputs(("final.",)):
        of_key = max(sum(found["lr"]), final) if name.endswith(NOT_LEARNED) else final
        case.compare(name, network.state_dict()[name.removeprefix("final.")], of_key)
    same = [torch.equal(start[name], network.state_dict()[name]) for name in case.about["unchanged_parameters"]]
    case.note("unchanged parameters changed", float(len(same) - sum(same)), 0)


def _train(case: Case, network: GeneformerNetwork) -> dict[str, list]:
    """Make the case's steps; return what each was."""
    s, device = case.settings, case.backend.device
    peak = {"peak": s["lr"], "warmup": s["warmup_steps"], "shape": s["lr_schedule"]}
    schedule = Schedule(
        epochs=s["epochs"],
        batch_size=s["batch_size"],
        rate=lambda epoch: s["lr"],
        clip=s["max_grad_norm"],
        weight_decay=s["weight_decay"],
        of_step=lambda step, n_steps: warmed_up(step, n_steps, **peak),
    )
    optimizer, found = optimizer_of(network, schedule), {"loss": [], "lr": [], "grad_norm": [], "train_logits": []}
    for step, n_cells in enumerate(case["input.batch_size"].tolist()):
        network.train()
        rate = schedule.rate_at(0, step, s["total_steps"])
        for group in optimizer.param_groups:
            group["lr"] = rate
        named = ("input_ids", "attention_mask", "labels")
        ids, mask, labels = (case[f"input.{name}"][step, :n_cells] for name in named)
        packed, _ = _packed(case, ids, mask)
        logits = torch.full_like(case["output.train_logits"][step], torch.nan)
        logits[:n_cells] = _run(case, network, packed)
        norm = _Norm(network)
        told = {"clip": schedule.clip, "precision": case.backend.precision, "scaler": norm}
        found["loss"].append(training_step(network, optimizer, [(packed, labels.to(device))], None, **told))
        found["train_logits"].append(logits)
        found["grad_norm"].append(norm.value)
        found["lr"].append(rate)
    return found


class _Norm(torch.amp.GradScaler):
    """Look at the norm of the gradient before it is cut."""

    def __init__(self, network: GeneformerNetwork):
        super().__init__("cpu", enabled=False)
        self.network, self.value = network, 0.0

    def unscale_(self, optimizer) -> None:
        gradients = [p.grad.double().norm() for p in self.network.parameters() if p.grad is not None]
        self.value = torch.stack(gradients).norm().item()


def _packed(case: Case, ids: Tensor, mask: Tensor) -> tuple[Ranked, Tensor]:
    """Return padded cells without their padding, and where they were not padded."""
    there = mask.bool()
    return Ranked.packed(ids[there], there.sum(1).numpy(), case.backend.device), there


def spread(found: Tensor, there: Tensor) -> Tensor:
    """Return packed results (n_positions, ...) where they were in the padded array, (cells, length, ...)."""
    spread = found.new_zeros((*there.shape, *found.shape[1:]))
    spread[there] = found
    return spread


def _run(case: Case, run: Callable[[Ranked], Tensor], packed: Ranked) -> Tensor:
    """Return what a part of the network says, on the CPU."""
    with torch.no_grad(), autocast(torch.device(case.backend.device), case.backend.precision):
        return run(packed).float().cpu()


def _tolerance(case: Case, kind: str) -> float:
    return BF16 if case.backend.precision == "bf16" else TOLERANCES[case.name][kind]
