"""Golden cases of Geneformer's network, computed with the very functions that pack, encode and embed."""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.core.errors import BenchError
from bench.models.geneformer import embedding
from bench.models.geneformer.checkpoint import without_copies
from bench.models.geneformer.network import Architecture, GeneformerNetwork
from bench.models.geneformer.packs import Ranked
from bench.models.golden import run, spread
from bench.training.device import autocast
from bench.verify.case import Case
from bench.verify.tolerances import or_bf16
from bench.weights import load_into

TOLERANCES = {  # case -> kind of output -> largest error, of numbers of size one
    "geneformer_forward_v1": {"outputs": 2e-5},  # where nothing is padded
    "geneformer_forward_v2": {"outputs": 2e-5},
    "geneformer_forward_v1_keys_bin": {"outputs": 2e-5},
    "geneformer_embed_v1": {"outputs": 1e-5, "integers": 0},
    "geneformer_embed_v2": {"outputs": 1e-5, "integers": 0},
    "geneformer_classify": {"outputs": 1e-5, "integers": 0},
}
SIZES = {
    **{"n_tokens": "vocab_size", "dim": "hidden_size", "depth": "num_hidden_layers", "hidden": "intermediate_size"},
    "positions": "max_position_embeddings",
}


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
    cells, there = packed(of, of["input.input_ids"], of["input.attention_mask"])
    for name in sorted(of.outputs(("output.hidden_state_",))):
        depth = int(name.rpartition("_")[2])
        found = run(case, lambda p, depth=depth: network.encode(p, depth), cells)
        of.compare(name, spread(found, there), tolerance, where=there)
    logits = run(case, lambda p: network.genes_at(network.encode(p)), cells)
    of.compare("output.logits", spread(logits, there), tolerance, where=there)
    for name, found in of.compared.items() if of is not case else ():
        case.note(name, *found)


def embed(case: Case) -> None:
    """Compare embeddings of cells and of genes, of the last layer and of the one before it."""
    network, tolerance = network_of(case), _tolerance(case, "outputs")
    exact, ids, lengths = TOLERANCES[case.name]["integers"], case["input.input_ids"], case["input.length"]
    cells, _ = packed(case, ids, torch.arange(ids.shape[1]) < lengths[:, None])
    bounded = "<cls>" in case.about["token_dictionary_special"]
    case.compare("output.order", np.argsort(-lengths.numpy(), kind="stable"), exact)
    for layer, which in ((-1, "second_to_last"), (0, "last")):
        for mode in [mode for mode in embedding.MODES if f"output.{mode}_{which}" in case.tensors]:
            told = {"layer": layer, "mode": mode, "bounded": bounded}
            found = run(case, lambda p, told=told: embedding.of_cells(network, p, **told), cells)
            case.compare(f"output.{mode}_{which}", found, tolerance)
        with torch.no_grad(), autocast(torch.device(case.backend.device), case.backend.precision):
            tokens, found = embedding.of_genes(network, cells, layer=layer)
        case.compare(f"output.gene_{which}.tokens", tokens, exact)
        case.compare(f"output.gene_{which}.embedding", found, tolerance)


def classify(case: Case) -> None:
    """Compare the pooler, logits, loss and classes."""
    network, tolerance = network_of(case), _tolerance(case, "outputs")
    exact = TOLERANCES[case.name]["integers"]
    cells, _ = packed(case, case["input.input_ids"], case["input.attention_mask"])
    pooled = or_bf16(case.backend, tolerance, 0.05)  # off by up to 0.021 there
    case.compare("output.pooled", run(case, network.pooled, cells), pooled)
    logits = run(case, network, cells)
    case.compare("output.logits", logits, tolerance)
    case.compare("output.loss", F.cross_entropy(logits, case["input.labels"])[None], tolerance)
    clear = np.ptp(np.sort(case["output.logits"].numpy(), axis=1)[:, -2:], axis=1) > 2 * tolerance
    case.compare("output.predicted", logits.argmax(1), exact, where=clear)
    n_cells, told = len(logits), case.about["tensors"]["output.reference_evaluated_cells"]["what"]
    at_a_time = int(told.rpartition("forward_batch_size ")[2])
    case.compare("output.reference_evaluated_cells", [n_cells - (n_cells % at_a_time == 1)], exact)  # theirs: not ours


def packed(case: Case, ids: Tensor, mask: Tensor) -> tuple[Ranked, Tensor]:
    """Return padded cells without their padding, and where they were not padded."""
    there = mask.bool()
    return Ranked.packed(ids[there], there.sum(1).numpy(), case.backend.device), there


def _tolerance(case: Case, kind: str) -> float:
    return or_bf16(case.backend, TOLERANCES[case.name][kind])
