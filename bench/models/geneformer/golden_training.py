"""Golden cases of Geneformer's training: a step of its pretraining, and the fine-tuning of its classifier."""

import numpy as np
import torch

from bench.models.geneformer import masking
from bench.models.geneformer.golden import network_of, packed
from bench.models.geneformer.network import GeneformerNetwork
from bench.models.golden import GradientNorm, compare_gradients, compare_unchanged, gradients_of, run
from bench.training.device import autocast
from bench.training.schedule import Schedule, warmed_up
from bench.training.step import optimizer_of, training_step
from bench.verify.case import Case
from bench.verify.tolerances import BF16, BF16_LOSS, BF16_WEIGHTS, after_training, or_bf16

_STEPS = {"outputs": 5e-6, "final": 2e-6, "relative lr": 1e-12, "relative norm": 1e-5}
TOLERANCES = {  # case -> kind of output -> largest error, of numbers of size one unless the kind says relative
    "geneformer_pretrain_v1": {"outputs": 1e-5, "loss": 5e-6, "integers": 0},
    "geneformer_pretrain_v2": {"outputs": 1e-5, "loss": 5e-6, "integers": 0},
    "geneformer_finetune_annotation": _STEPS,
    "geneformer_finetune_state": _STEPS,
}
# In bf16 the norm of small embeddings makes rounding large: up to 0.18 of a gradient's length; not in the last bias.
BF16_GRADIENTS = {"cls.predictions.bias": BF16, "": 0.3}
NOT_LEARNED = "attention.self.key.bias"  # its gradient is 0 but for rounding, of which Adam makes steps of the rate


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
    cells, there = packed(case, torch.from_numpy(shown), case["input.attention_mask"])
    wanted = torch.from_numpy(where)[there].to(case.backend.device)
    true = ids[torch.from_numpy(where)].to(case.backend.device)
    network.train()
    with autocast(torch.device(case.backend.device), case.backend.precision):
        logits = network.genes_at(network.encode(cells)[wanted]).float()
    loss = masking.cross_entropy(logits, true, len(true))
    loss.backward()
    case.compare("output.masked_logits", logits, tolerance)
    case.compare("output.loss", [loss.item()], _tolerance(case, "loss"))
    right = (logits.argmax(1) == true).double().mean().item()
    case.compare("output.accuracy", [right], 0 if case.backend.precision == "float32" else 2 / len(true))
    compare_gradients(case, gradients_of(network), TOLERANCES[case.name]["outputs"], BF16_GRADIENTS)


def finetune(case: Case) -> None:
    """Compare losses, rates, norms, logits and final weights over the steps of a fine-tuning."""
    network, s, tolerance = network_of(case), case.settings, _tolerance(case, "outputs")
    network.freeze(s["frozen_encoder_layers"])
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    evaluated, _ = packed(case, case["input.eval_input_ids"], case["input.eval_attention_mask"])
    case.compare("output.eval_logits_before", run(case, network, evaluated), tolerance)
    found = _train(case, network)
    limits = TOLERANCES[case.name]
    trained = after_training(case.backend, tolerance)
    case.compare("output.lr", found["lr"], limits["relative lr"], relative=True)
    norm = _tolerance(case, "relative norm")
    case.compare("output.grad_norm", found["grad_norm"], relative=True, **after_training(case.backend, norm))
    case.compare("output.loss", found["loss"], **after_training(case.backend, tolerance, BF16_LOSS))
    case.compare("output.train_logits", torch.stack(found["train_logits"]), **trained)
    network.eval()
    case.compare("output.eval_logits_after", run(case, network, evaluated), **trained)
    final = after_training(case.backend, _tolerance(case, "final"), BF16_WEIGHTS)
    for name in case.outputs(("final.",)):
        moved = {"tolerance": max(sum(found["lr"]), final["tolerance"])} if name.endswith(NOT_LEARNED) else {}
        case.compare(name, network.state_dict()[name.removeprefix("final.")], **final | moved)
    compare_unchanged(case, case.about["unchanged_parameters"], start, network.state_dict())


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
        cells, _ = packed(case, ids, mask)
        logits = torch.full_like(case["output.train_logits"][step], torch.nan)
        logits[:n_cells] = run(case, network, cells)
        norm = GradientNorm(network)
        told = {"clip": schedule.clip, "precision": case.backend.precision, "scaler": norm}
        found["loss"].append(training_step(network, optimizer, [(cells, labels.to(device))], None, **told))
        found["train_logits"].append(logits)
        found["grad_norm"].append(norm.value)
        found["lr"].append(rate)
    return found


def _tolerance(case: Case, kind: str) -> float:
    return or_bf16(case.backend, TOLERANCES[case.name][kind])
