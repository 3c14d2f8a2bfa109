"""Golden case of scGPT's fine-tuning."""

from itertools import product

import torch

from bench.models.golden import GradientNorm, compare_unchanged, run
from bench.models.scgpt.golden import network_of, packed
from bench.models.scgpt.network import ScGPTNetwork
from bench.training.step import training_step
from bench.verify.case import Case
from bench.verify.tolerances import BF16_LOSS, BF16_WEIGHTS, ROUNDING, after_training, or_bf16

TOLERANCES = {"scgpt_finetune": {"outputs": 2e-5}}  # case -> kind of output -> largest error of numbers of size one


def finetune(case: Case) -> None:
    """Compare losses, rates, logits and final weights over the steps of a fine-tuning."""
    network = network_of(case)
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    evaluated = packed(case, "", "eval_")[0]
    tolerance = or_bf16(case.backend, TOLERANCES[case.name]["outputs"])
    case.compare("output.eval_logits_before", run(case, network, evaluated), tolerance)
    found, trained = _train(case, network), after_training(case.backend, tolerance)
    case.compare("output.lr", found["lr"], ROUNDING, relative=True)
    case.compare("output.loss", found["loss"], **after_training(case.backend, tolerance, BF16_LOSS))
    case.compare("output.grad_norm", found["grad_norm"], **trained)
    case.compare("output.train_logits", torch.stack(found["train_logits"]), **trained)
    network.eval()
    case.compare("output.eval_logits_after", run(case, network, evaluated), **trained)
    case.compare("output.eval_cell_emb_after", run(case, network.embed, evaluated), **trained)
    for name, tensor in network.state_dict().items():
        case.compare(f"final.{name}", tensor, **after_training(case.backend, tolerance, BF16_WEIGHTS))
    compare_unchanged(case, case.about["unchanged_parameters"], start, network.state_dict())


def _train(case: Case, network: ScGPTNetwork) -> dict[str, list]:
    """Make the case's steps; return what each was."""
    s, device = case.settings, case.backend.device
    optimizer = torch.optim.Adam(network.parameters(), eps=1e-4)
    found = {"loss": [], "lr": [], "grad_norm": [], "train_logits": []}
    for epoch, batch in product(range(s["epochs"]), range(s["batches_per_epoch"])):
        network.train()
        rate = s["lr"] * 0.9**epoch
        for group in optimizer.param_groups:
            group["lr"] = rate
        cells, labels = packed(case, "", "", batch)[0], case["input.labels"][batch].to(device)
        found["train_logits"].append(run(case, network, cells))
        norm = GradientNorm(network)
        told = {"clip": s["grad_clip_norm"], "precision": case.backend.precision}
        found["loss"].append(training_step(network, optimizer, [(cells, labels)], None, scaler=norm, **told))
        found["grad_norm"].append(norm.value)
        found["lr"].append(rate)
    return found
