"""Golden cases of scBERT's training: what is masked and its loss, learning rates, and a fine-tuning."""

import torch
from torch import Tensor

from bench.core.errors import BenchError
from bench.models.golden import compare_gradients, gradients_of, run
from bench.models.scbert import masking
from bench.models.scbert.golden import network_of
from bench.training.schedule import cosine_warm_restarts
from bench.training.step import training_step
from bench.verify.case import Case, size_of
from bench.verify.tolerances import BF16_LOSS, after_training, or_bf16

TOLERANCES = {  # case -> kind of output -> largest error, of numbers of size one unless the kind says relative
    "scbert_finetune": {"loss": 2e-5, "logits": 2e-5},  # final.* and gradients: see `finetune`
    "scbert_mask": {"integers": 0, "logits": 2e-5, "losses": 2e-5},
    "scbert_schedule": {"relative": 1e-12},
}


def mask(case: Case) -> None:
    """Compare masking, losses, accuracies and the most common bin."""
    exact, tolerance = TOLERANCES[case.name]["integers"], TOLERANCES[case.name]["logits"]
    ids = case["input.tokens"]
    masked = masking.mask(ids, case["random.score"], case["random.replace"])
    case.compare("output.selected", masked.selected, exact)
    case.compare("output.replaced", masked.replaced, exact)
    case.compare("output.masked_tokens", masked.tokens, exact)
    case.compare("output.labels", masked.labels, exact)
    case.compare("output.n_selected", masked.selected.sum(1), exact)
    network = network_of(case)
    logits = torch.cat([run(case, network, cell) for cell in masked.tokens.split(case.settings["batch_size"])])
    case.compare("output.model_logits", logits, tolerance)
    common = masking.most_common_bin(ids)
    case.compare("output.most_common_bin", common, exact)
    everywhere = common[:, None].expand_as(ids)
    found = masking.accuracy_where(everywhere, ids, masked.replaced)
    case.compare("output.most_common_bin_accuracy", found, tolerance)
    for source, values in (("model", logits), ("synthetic", case["input.synthetic_logits"])):
        per_cell = [masking.masked_loss(v[None], label[None]) for v, label in zip(values, masked.labels, strict=True)]
        case.compare(f"output.{source}_loss_per_cell", torch.stack(per_cell), tolerance)
        case.compare(f"output.{source}_loss_pooled", masking.masked_loss(values, masked.labels), tolerance)
        said, restricted = values.argmax(-1), masking.expressed_prediction(values)
        right = masking.accuracy_where(said, ids, masked.replaced)
        case.compare(f"output.{source}_replaced_accuracy", right, tolerance)
        agreement = masking.accuracy_where(said, everywhere, masked.replaced)
        case.compare(f"output.{source}_agreement_with_most_common", agreement, tolerance)
        per_cell = masking.accuracy_per_cell(restricted, ids, masked.selected)
        case.compare(f"output.{source}_selected_accuracy_per_cell", per_cell, tolerance)
    case.compare("output.synthetic_restricted_prediction", restricted, exact)
    n = len(case["batch.random_score"])
    batch = masking.mask(ids[:n], case["batch.random_score"], case["batch.random_replace"])
    case.compare("batch.masked_tokens", batch.tokens, exact)
    case.compare("batch.labels", batch.labels, exact)
    maskable = torch.arange(len(case["table.n_selected"]))
    case.compare("table.n_selected", masking.selected_count(maskable, len(maskable)), exact)


def schedule(case: Case) -> None:
    """Compare learning rates after every step, for each variant of the settings."""
    for number, variant in enumerate(case.settings["variants"]):
        rates = [
            cosine_warm_restarts(
                step,
                peak=variant["max_lr"],
                floor=variant["min_lr"],
                first=variant["first_cycle_steps"],
                warmup=variant["warmup_steps"],
                growth=variant["cycle_mult"],
                gamma=variant["gamma"],
            )
            for step in range(case.settings["n_steps"] + 1)
        ]
        case.compare(f"output.lr_{number}", rates, TOLERANCES[case.name]["relative"], relative=True)


def finetune(case: Case) -> None:
    """Compare losses, gradients, logits and final weights over the steps of a fine-tuning."""
    network = network_of(case, n_classes=case.settings["n_classes"])
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    trainable = network.layers[-1], network.norm, network.to_out
    network.requires_grad_(False)
    parameters = [p.requires_grad_() for module in trainable for p in module.parameters()]
    names = {name for name, p in network.named_parameters() if p.requires_grad}
    if names != set(case.about["trainable_parameters"]):
        raise BenchError(f"Trained are {sorted(names)}, the case trains {sorted(case.about['trainable_parameters'])}.")
    optimizer = torch.optim.Adam(parameters, lr=case.settings["lr"])
    device = case.backend.device
    case.compare("output.eval_logits_before", run(case, network, case["input.eval_tokens"]), _tolerance(case))
    trained = after_training(case.backend, _tolerance(case))
    losses, logits, norms = [], [], []
    for step, (ids, labels) in enumerate(zip(case["input.tokens"], case["input.labels"], strict=True)):
        network.train()
        network.count_pass(step)
        logits.append(run(case, network, ids, gradient=True))
        parts, weights = [(ids.to(device), labels.to(device))], case["input.class_weight"].to(device)
        clip = case.settings["grad_clip_norm"]
        losses.append(training_step(network, optimizer, parts, weights, clip=clip, precision=case.backend.precision))
        gradients = gradients_of(network)
        norms.append(torch.stack([g.norm() for g in gradients.values()]).norm().item())
        if step == 0:
            compare_gradients(case, gradients, 1e-4)
    case.compare("output.loss", losses, **after_training(case.backend, _tolerance(case), BF16_LOSS))
    case.compare("output.train_logits", torch.stack(logits), **trained)
    case.compare("output.grad_norm", norms, 1e-4 * _loose(case), relative=True)
    network.eval()
    case.compare("output.eval_logits_after", run(case, network, case["input.eval_tokens"]), **trained)
    _compare_weights(case, network.state_dict(), start, names, steps=len(losses))


def _compare_weights(case: Case, final: dict[str, Tensor], start: dict[str, Tensor], trained: set, steps: int) -> None:
    """Compare; an entry with hardly any gradient may move by the whole rate in a direction that rounding decides."""
    for name in case.outputs(("final.",)):
        difference = (final[name.removeprefix("final.")].cpu() - case[name]).abs().flatten()
        n_rare = min(max(1, len(difference) // 1000), len(difference) - 1)  # of a single entry none is rare
        usual = difference.sort().values[: len(difference) - n_rare].max().item()
        case.note(name, usual, 5e-6 * _loose(case), size_of(case[name]))
        case.note(f"{name} (rare entries)", difference.max().item(), steps * case.settings["lr"])
    counter = "performer.calls_since_last_redraw"
    moved = [n for n in start if n not in trained and n != counter and not torch.equal(start[n], final[n])]
    case.note("frozen tensors changed", float(len(moved)), 0)
    case.note("redraw counter", float(abs(final[counter].item() - start[counter].item() - steps)), 0)


def _tolerance(case: Case) -> float:
    """Return the tolerance of logits and losses on the case's backend."""
    return or_bf16(case.backend, max(TOLERANCES[case.name].values()))


def _loose(case: Case) -> float:
    return or_bf16(case.backend, 1.0, rounded=1000.0)
