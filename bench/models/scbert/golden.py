"""Golden cases of scBERT, computed with the very functions that embed, mask, schedule and train."""

import re

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from bench.core.errors import BenchError
from bench.models.layers.performer import REDRAW_INTERVAL
from bench.models.layers.projection import projection_from
from bench.models.scbert import masking
from bench.models.scbert.network import Architecture, ScBERTNetwork
from bench.preprocess import align, log1p_cp10k, tokens
from bench.training.device import autocast
from bench.training.schedule import cosine_warm_restarts
from bench.training.step import training_step
from bench.verify.case import Case, size_of
from bench.verify.tolerances import BF16, after_training
from bench.weights import load_into

TOLERANCES = {  # case -> kind of output -> largest error, of numbers of size one unless the kind says relative
    "scbert_pretrain": {"logits": 2e-5},
    "scbert_pretrain_nog2v": {"logits": 2e-5},
    "scbert_embed": {"encodings": 5e-5},
    "scbert_classify": {"logits": 5e-6},
    "scbert_finetune": {
        "loss": 2e-5,
        "logits": 2e-5,
    },  # final.* and gradients: see `finetune`
    "scbert_mask": {"integers": 0, "logits": 2e-5, "losses": 2e-5},
    "scbert_schedule": {"relative": 1e-12},
    "scbert_preprocess": {"values": 5e-6, "integers": 0},
    "scbert_redraw": {"counters": 0, "projection": 1e-5},
}


def network_of(case: Case, *, n_classes: int | None = None, stabiliser: str = "batch") -> ScBERTNetwork:
    """Return the network with the case's weights, every tensor of which is used."""
    weights = case.weights()
    architecture = Architecture.of(weights)
    for name in ("n_genes", "dim", "depth", "heads", "dim_head"):
        wanted = case.settings.get(name, getattr(architecture, name))
        if getattr(architecture, name) != wanted and not (name == "n_genes" and not architecture.gene2vec):
            raise BenchError(f"{case.name}: its weights have {name} {getattr(architecture, name)}, it says {wanted}.")
    network = ScBERTNetwork(architecture, stabiliser=stabiliser)
    if n_classes:
        network.classify_into(n_classes, seed=0)
    load_into(network, weights)
    return network.to(case.backend.device).eval()


def masked_language(case: Case) -> None:
    """Compare logits over tokens and encodings, cells together and the first one alone."""
    network, ids = network_of(case), case["input.tokens"]
    for output in case.outputs(("output.",)):
        cells = ids[:1] if output.endswith("_cell0_alone") else ids
        run = network.encode if "encodings" in output else network
        for trained in (False, True):  # the two ways through a layer: in blocks, and with a gradient
            case.compare(output, _run(case, run, cells, trained), _tolerance(case))


def classify(case: Case) -> None:
    """Compare class logits for several compositions of the batch."""
    n_classes = case.settings["n_classes"]
    network, ids = network_of(case, n_classes=n_classes), case["input.tokens"]
    for output in case.outputs(("output.",)):
        sizes = [int(size) for size in re.findall(r"\d+", output)] or [1] * len(ids)
        batches = ids[: sum(sizes)].split(sizes)
        for trained in (False, True):
            found = torch.cat([_run(case, network, batch, trained) for batch in batches])
            case.compare(output, found, _tolerance(case))
    alone = network_of(case, n_classes=n_classes, stabiliser="per_cell")
    case.compare("output.logits_each_alone", _run(case, alone, ids, False), _tolerance(case))


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
    case.compare("output.eval_logits_before", _run(case, network, case["input.eval_tokens"], False), _tolerance(case))
    tolerance = after_training(case.backend, _tolerance(case))
    losses, logits, norms = [], [], []
    for step, (ids, labels) in enumerate(zip(case["input.tokens"], case["input.labels"], strict=True)):
        network.train()
        network.count_pass(step)
        logits.append(_run(case, network, ids, True))
        parts, weights = [(ids.to(device), labels.to(device))], case["input.class_weight"].to(device)
        clip = case.settings["grad_clip_norm"]
        losses.append(training_step(network, optimizer, parts, weights, clip=clip, precision=case.backend.precision))
        gradients = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
        norms.append(torch.stack([g.norm() for g in gradients.values()]).norm().item())
        for name in case.outputs(("grad_step0.",)) if step == 0 else ():
            expected = case[name]
            case.note(name, _share(gradients[name.removeprefix("grad_step0.")], expected), 1e-4 * _loose(case))
    case.compare("output.loss", losses, tolerance)
    case.compare("output.train_logits", torch.stack(logits), tolerance)
    case.compare("output.grad_norm", norms, 1e-4 * _loose(case), relative=True)
    network.eval()
    case.compare("output.eval_logits_after", _run(case, network, case["input.eval_tokens"], False), tolerance)
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


def mask(case: Case) -> None:
    """Compare masking, losses, accuracies and the most common bin."""
    exact, tolerance = TOLERANCES[case.name]["integers"], _tolerance(case)
    ids = case["input.tokens"]
    masked = masking.mask(ids, case["random.score"], case["random.replace"])
    case.compare("output.selected", masked.selected, exact)
    case.compare("output.replaced", masked.replaced, exact)
    case.compare("output.masked_tokens", masked.tokens, exact)
    case.compare("output.labels", masked.labels, exact)
    case.compare("output.n_selected", masked.selected.sum(1), exact)
    network = network_of(case)
    logits = torch.cat([_run(case, network, cell, False) for cell in masked.tokens.split(case.settings["batch_size"])])
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


def preprocess(case: Case) -> None:
    """Compare alignment, cell filter, normalisation and token ids."""
    allowed = TOLERANCES[case.name]
    counts = sp.csr_matrix(case["input.counts"].numpy().astype(np.float32))
    aligned = align(counts, case.about["gene_names"], case.about["reference_genes"])
    case.compare("output.aligned_counts", aligned.toarray(), allowed["integers"])
    n_genes = np.diff(aligned.indptr)
    kept = np.flatnonzero(n_genes >= case.settings["min_genes"])
    case.compare("output.kept_cells", kept, allowed["integers"])
    per_cell = n_genes if len(case["output.n_genes"]) == len(n_genes) else n_genes[kept]
    case.compare("output.n_genes", per_cell, allowed["integers"])
    values = log1p_cp10k(aligned[kept], base=case.settings["log_base"])
    case.compare("output.normalised", values.toarray(), allowed["values"])
    ids = np.pad(tokens(values).toarray(), ((0, 0), (0, 1)))  # the appended token
    case.compare("output.tokens", ids, allowed["integers"])


def redraw(case: Case) -> None:
    """Compare when random features are redrawn, and how they are made of Gaussian numbers."""
    allowed, network = TOLERANCES[case.name], network_of(case)
    if case.settings["feature_redraw_interval"] != REDRAW_INTERVAL:
        raise BenchError(f"{case.name} redraws every {case.settings['feature_redraw_interval']} passes.")
    network.performer.calls_since_last_redraw.fill_(case.settings["start_counter"])
    counters, redrawn = [], []
    for number, training in enumerate(case["input.training_mode"].tolist()):
        network.train(bool(training))
        before = [layer[0]["fn"].projection.clone() for layer in network.layers]
        if training:
            network.count_pass(seed=number)
        _run(case, network, case["input.tokens"], bool(training))
        changed = [
            not torch.equal(p, layer[0]["fn"].projection) for p, layer in zip(before, network.layers, strict=True)
        ]
        counters.append(network.performer.calls_since_last_redraw.item())
        redrawn.append(sum(changed) / len(changed))
    case.compare("output.counter", counters, allowed["counters"])
    case.compare("output.redrawn", redrawn, allowed["counters"])
    found = projection_from(case["input.gaussian_blocks"], case["input.gaussian_norms"])
    sign = (found * case["output.projection"]).sum(1, keepdim=True).sign()  # a QR decomposition leaves it open
    case.compare("output.projection", found * sign, allowed["projection"])


def _run(case: Case, run, ids: Tensor, trained: bool) -> Tensor:
    """Return what a network says of token ids, with or without keeping what a gradient needs."""
    device = torch.device(case.backend.device)
    with torch.set_grad_enabled(trained), autocast(device, case.backend.precision):
        return run(ids.to(device)).detach().float().cpu()


def _tolerance(case: Case) -> float:
    """Return the tolerance of logits, encodings and losses on this path."""
    return BF16 if case.backend.precision == "bf16" else max(TOLERANCES[case.name].values())


def _loose(case: Case) -> float:
    return 1000.0 if case.backend.precision == "bf16" else 1.0


def _share(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference as a share of the largest expected value."""
    return ((found.cpu() - expected).abs().max() / expected.abs().max()).item()
