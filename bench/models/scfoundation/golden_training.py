"""Golden cases of scFoundation's training: a step of its pretraining, and the fine-tuning of its classifier."""

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.core.errors import BenchError
from bench.models.golden import compare_gradients, compare_unchanged, gradients_of, run
from bench.models.scfoundation.classifier import ScFoundationClassifier, class_weights
from bench.models.scfoundation.golden import ROUNDED_OUTPUTS, architecture, network_of
from bench.models.scfoundation.inputs import Expressed, with_depth
from bench.models.scfoundation.objective import hidden_of, masked_mse, pretraining_values
from bench.training.device import autocast
from bench.training.step import adam, training_step
from bench.verify.case import Case, size_of
from bench.verify.tolerances import BF16_LOSS, BF16_WEIGHTS, or_bf16
from bench.weights import load_into

TOLERANCES = {  # case -> kind of output -> largest error, of numbers of size one unless the kind says relative
    "scfoundation_pretrain": {"outputs": 2e-5, "loss": 1e-5, "gradients": 1e-4},
    "scfoundation_finetune": {"loss": 5e-5, "logits": 1e-4, "statistics": 1e-5, "gradients": 1e-4, "final": 2e-5},
}
DECODER = ("decoder.*", "decoder_embed.*", "norm.*", "to_final.*")
# In bf16 another token, of nearly the same value, may be the largest of a cell, so that gradients of the encoder go
# elsewhere (errors of up to 0.42 of their length), and with them what is learned: no tenth of these can show.
ROUNDED = 0.4  # of the largest logit or mean after training, and of the gradients' norm
ROUNDED_GRADIENTS = {"fc1.2.": 0.1, "fc1.0.": 0.3, "": 0.75}  # beginning of a name -> error, of the gradient's length
RARE = 0.02  # share of the entries of a trained tensor that Adam may move otherwise, where a gradient is all rounding


def pretrain(case: Case) -> None:
    """Compare inputs, predictions, loss and gradients of one step with given masks."""
    allowed, device = TOLERANCES[case.name], torch.device(case.backend.device)
    network = network_of(case)
    raw, low = (sp.csr_matrix(case[f"input.{name}_counts"].numpy().astype(np.float64)) for name in ("raw", "low"))
    given, target = pretraining_values(low, raw)
    case.compare("output.values", given.toarray(), allowed["outputs"])
    case.compare("output.target", target.toarray(), allowed["outputs"])
    mask = case["input.mask"].numpy()
    network.train()
    tokens, place, values = hidden_of(given, mask, architecture(case), device)
    with autocast(device, case.backend.precision):
        predicted = network(tokens, place, values)[:, : mask.shape[1]]
    truth = torch.from_numpy(target.toarray()).float().to(device)
    loss = masked_mse(predicted.float(), truth, torch.from_numpy(mask).to(device))
    loss.backward()
    case.compare("output.prediction", predicted, or_bf16(case.backend, allowed["outputs"], ROUNDED_OUTPUTS))
    case.compare("output.loss", loss, or_bf16(case.backend, allowed["loss"]))
    compare_gradients(case, gradients_of(network), allowed["gradients"])


def finetune(case: Case) -> None:
    """Compare losses, logits, statistics and weights over a fine-tuning, and over one that accumulates gradients."""
    allowed = TOLERANCES[case.name]
    logits = _trained(case, "logits", ROUNDED)
    weights = torch.from_numpy(class_weights(np.array(case.settings["class_counts"]), "as_printed")).float()
    case.compare("input.class_weight", weights, allowed["statistics"])
    network = _classifier(case)
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    _compare_before(case, network, or_bf16(case.backend, allowed["logits"]))
    found, norms = {"loss": [], "train_logits": []}, []
    optimizer = adam(network, lr=case.settings["lr"])
    for step, (values, labels) in enumerate(zip(case["input.values"], case["input.labels"], strict=True)):
        loss, said = _step(case, network, optimizer, [(values, labels)], weights)
        found["loss"].append(loss)
        found["train_logits"].append(said[0])
        if step == 0:
            compare_gradients(case, gradients_of(network), allowed["gradients"], ROUNDED_GRADIENTS)
        norms.append(torch.stack([p.grad.norm() for p in network.parameters() if p.grad is not None]).norm().item())
    case.compare("output.loss", found["loss"], **_trained(case, "loss", BF16_LOSS))
    case.compare("output.train_logits", torch.stack(found["train_logits"]), **logits)
    case.compare("output.grad_norm", norms, or_bf16(case.backend, allowed["gradients"], ROUNDED), relative=True)
    case.compare("output.eval_logits_after", _said(case, network, case["input.eval_values"]), **logits)
    _compare_final(case, network, start)
    _accumulated(case, weights)


def _compare_before(case: Case, network: ScFoundationClassifier, allowed: float) -> None:
    """Compare logits before training: of a batch, of cells alone, with T and S where the published class has them."""
    batch, pad = case["input.eval_values"], case.settings["pad_token_id"]
    case.compare("output.eval_logits_before", _said(case, network, batch), allowed)
    alone = torch.cat([_said(case, network, cell[None]) for cell in batch])
    case.compare("output.eval_logits_before_one_by_one", alone, allowed)
    if "input.eval_values_with_T_S" in case.tensors:  # takes both for the position that is numbered like padding
        literal = []
        for cell in case["input.eval_values_with_T_S"]:
            tokens = _batch(case, cell[None], depth=True)
            genes = tokens.parts[0].genes
            genes[genes >= case.settings["n_genes"]] = pad
            literal.append(run(case, network, tokens))
        case.compare("output.eval_logits_with_T_S_literal", torch.cat(literal), allowed)


def _accumulated(case: Case, weights: Tensor) -> None:
    """Compare the run in which every step adds up the gradients of several batches."""
    network, losses = _classifier(case), []
    optimizer = adam(network, lr=case.settings["lr"])
    for values, labels in zip(case["input.accumulation_values"], case["input.accumulation_labels"], strict=True):
        said = _step(case, network, optimizer, list(zip(values, labels, strict=True)), weights)[1]
        losses.append(
            [F.cross_entropy(logits, label, weights).item() for logits, label in zip(said, labels, strict=True)]
        )
    case.compare("output.accumulation_loss", losses, **_trained(case, "loss", BF16_LOSS))
    after = _said(case, network, case["input.eval_values"])
    case.compare("output.accumulation_eval_logits_after", after, **_trained(case, "logits", ROUNDED))


def _step(case: Case, network, optimizer, parts: list, weights: Tensor) -> tuple[float, list[Tensor]]:
    """Make a step on the values and labels of some batches; return the loss and what the network said of each."""
    device, said = case.backend.device, []
    batches = [(_batch(case, values), labels.to(device)) for values, labels in parts]
    network.train()
    watching = network.register_forward_hook(lambda *told: said.append(told[2].detach().float().cpu()))
    told = {"precision": case.backend.precision, "each_alike": True}
    loss = training_step(network, optimizer, batches, weights.to(device), **told)
    watching.remove()
    return loss, said


def _classifier(case: Case) -> ScFoundationClassifier:
    """Return the classifier as it begins: pretrained weights without the decoder, and the case's head."""
    network = ScFoundationClassifier(architecture(case), case.settings["n_classes"])
    lent = case.other("weights_from").weights()
    own = {k.removeprefix("weights."): t for k, t in case.tensors.items() if k.startswith("weights.")}
    load_into(network, lent, allow_missing=("fc1.*", "norm.*"), allow_unused=DECODER)
    load_into(network, own, allow_missing=("token_emb.*", "pos_emb.*", "encoder.*", "norm.*"))
    network.train_only("one_layer")
    asked = set(case.about["trainable_parameters"])
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    if trained != asked:
        raise BenchError(f"{case.name} trains {sorted(asked ^ trained)[:3]} otherwise.")
    return network.to(case.backend.device)


def _compare_final(case: Case, network, start: dict[str, Tensor]) -> None:
    """Compare what training leaves; Adam follows rounding in the bias of keys, and in rare entries elsewhere."""
    state, told = network.state_dict(), _trained(case, "final", BF16_WEIGHTS)
    for name in sorted(case.outputs(("final.",))):
        found, expected = state[name.removeprefix("final.")].cpu(), case[name]
        where = torch.ones_like(expected, dtype=torch.bool)
        if name.endswith("in_proj_bias"):
            where[len(where) // 3 : 2 * len(where) // 3] = False
        if "running" in name:
            case.compare(name, found, **_trained(case, "statistics", ROUNDED))
            continue
        limit = told["tolerance"] * size_of(expected, least=0.0 if told["of_largest"] else 1.0)
        off = ((found - expected).abs() > limit) & where
        rare = off if off.float().mean() <= RARE else torch.zeros_like(off)
        case.compare(name, found, where=(where & ~rare).numpy(), **told)
    frozen = [name for name, p in network.named_parameters() if not p.requires_grad]
    compare_unchanged(case, frozen, start, state)


def _trained(case: Case, kind: str, rounded: float) -> dict[str, float | bool]:
    """Return the tolerance of what the steps give, for `Case.compare`: in bf16 on any device a share of the largest."""
    of_largest = case.backend.precision == "bf16"
    return {"tolerance": rounded if of_largest else TOLERANCES[case.name][kind], "of_largest": of_largest}


def _said(case: Case, network: ScFoundationClassifier, values: Tensor) -> Tensor:
    return run(case, network.eval(), _batch(case, values))


def _batch(case: Case, values: Tensor, depth: bool = False):
    """Return the batch of cells whose values, (n_cells, n_genes), have no T and S unless ``depth``."""
    found = sp.csr_matrix(values.numpy())
    given = found if depth else with_depth(found)
    rows = np.arange(len(values))
    return Expressed(given, np.zeros(len(rows), int), case.settings["pad_token_id"]).inputs(
        rows, torch.device(case.backend.device)
    )
