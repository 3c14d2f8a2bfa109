"""Golden cases of scBERT's network, computed with the very functions that embed, classify and redraw."""

import re

import torch

from bench.core.errors import BenchError
from bench.models.golden import run
from bench.models.layers.performer import REDRAW_INTERVAL
from bench.models.layers.projection import projection_from
from bench.models.scbert.network import Architecture, ScBERTNetwork
from bench.verify.case import Case
from bench.verify.tolerances import or_bf16
from bench.weights import load_into

TOLERANCES = {  # case -> kind of output -> largest error, of numbers of size one
    "scbert_pretrain": {"logits": 2e-5},
    "scbert_pretrain_nog2v": {"logits": 2e-5},
    "scbert_embed": {"encodings": 5e-5},
    "scbert_classify": {"logits": 5e-6},
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
        part = network.encode if "encodings" in output else network
        for trained in (False, True):  # the two ways through a layer: in blocks, and with a gradient
            case.compare(output, run(case, part, cells, gradient=trained), _tolerance(case))


def classify(case: Case) -> None:
    """Compare class logits for several compositions of the batch."""
    n_classes = case.settings["n_classes"]
    network, ids = network_of(case, n_classes=n_classes), case["input.tokens"]
    for output in case.outputs(("output.",)):
        sizes = [int(size) for size in re.findall(r"\d+", output)] or [1] * len(ids)
        batches = ids[: sum(sizes)].split(sizes)
        for trained in (False, True):
            found = torch.cat([run(case, network, batch, gradient=trained) for batch in batches])
            case.compare(output, found, _tolerance(case))
    alone = network_of(case, n_classes=n_classes, stabiliser="per_cell")
    case.compare("output.logits_each_alone", run(case, alone, ids), _tolerance(case))


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
        run(case, network, case["input.tokens"], gradient=bool(training))
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


def _tolerance(case: Case) -> float:
    """Return the tolerance of logits and encodings on the case's backend."""
    return or_bf16(case.backend, max(TOLERANCES[case.name].values()))
