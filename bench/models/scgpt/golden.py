"""Golden cases of scGPT's network, computed with the very functions that pack and encode."""

from dataclasses import replace

import torch
from torch import Tensor

from bench.core.errors import BenchError
from bench.models.golden import run, spread
from bench.models.layers.packed import Packed
from bench.models.scgpt import losses
from bench.models.scgpt.network import Architecture, ScGPTNetwork, plain_name
from bench.verify.case import Case
from bench.verify.tolerances import ROUNDING, or_bf16
from bench.weights import load_into

TOLERANCES = {  # case -> kind of output -> largest error, of numbers of size one unless the kind says relative
    "scgpt_forward": {"outputs": 2e-5},  # where nothing is padded
    "scgpt_forward_keys_flash": {"outputs": 2e-5},
    "scgpt_forward_keys_impl": {"outputs": 2e-5},
    "scgpt_mvc": {"outputs": 5e-5},
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
        probed = run(case, network.value_encoder.encode, of["probe.values"])
        of.compare("probe.value_encoding", probed, _allowed(case))
    for name, found in of.compared.items() if of is not case else ():
        case.note(name, *found)


def _compare_outputs(case: Case, network: ScGPTNetwork, number: str) -> None:
    cells, there = packed(case, number)
    tolerance, output = _allowed(case), f"output{number}"
    computed = {
        "gene_embedding": (network.gene_embedding, there),
        "transformer": (network.encode, there),
        "cell_emb": (network.embed, None),
        "cls_output": (network, None),
        "mlm_output": (lambda p: network.masked_values(p)[0], there),
        "mvc_output": (lambda p: network.masked_values(p)[1], there),
    }
    for name in case.outputs((f"{output}.",)):
        part, positions = computed.get(name.removeprefix(f"{output}."), (None, None))
        if part:
            found = run(case, part, cells)
            case.compare(name, found if positions is None else spread(found, there), tolerance, where=positions)
    if f"{output}.mvc_loss" in case.tensors:
        hidden, target = case["input.masked"], case["input.target_values"]
        both = run(case, lambda p: torch.stack(network.masked_values(p)), cells)
        for kind, found in zip(("mlm", "mvc"), both, strict=True):
            loss = losses.masked_mse(spread(found, there), target, hidden)
            case.compare(f"{output}.{kind}_loss", loss, or_bf16(case.backend, ROUNDING), relative=True)


def packed(case: Case, number: str, kind: str = "", batch: int | None = None) -> tuple[Packed, Tensor]:
    """Return padded cells of the case without their padding, and where they were not padded."""
    genes, values = (case[f"input{number}.{kind}{name}"] for name in ("gene_ids", "values"))
    genes, values = (genes, values) if batch is None else (genes[batch], values[batch])
    there = genes != case.settings["pad_id"]
    parts = (tensor[there].long().to(case.backend.device) for tensor in (genes, values))
    return Packed(*parts, tuple(there.sum(1).tolist())), there


def _allowed(case: Case) -> float:
    """Return the tolerance of what the network gives on the case's backend."""
    return or_bf16(case.backend, TOLERANCES[case.name]["outputs"])
