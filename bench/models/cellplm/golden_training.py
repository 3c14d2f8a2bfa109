"""Golden cases of CellPLM's fine-tuning: its steps, what they hide, its rates, and the epoch that is kept."""

import numpy as np
import torch
from torch import Tensor

from bench.models.cellplm import finetuning
from bench.models.cellplm.finetuning import Batch, Draws, Hiding, Rates, Trainer
from bench.models.cellplm.golden import cells_of, macro, network_of
from bench.models.cellplm.network import Architecture, CellPLMNetwork
from bench.models.cellplm.passes import groups
from bench.models.golden import compare_gradients, compare_unchanged, run
from bench.verify.case import Case
from bench.verify.tolerances import BF16_LOSS, BF16_TRAINED, BF16_WEIGHTS, ROUNDING, after_training

_STEPS = {"logits": 5e-5, "loss": 1e-5, "grad_norm, relative": 1e-5, "final": 2e-5, "gradients": 2e-5}
TOLERANCES = {  # case -> kind of output -> largest error, of numbers of size one unless the kind says relative
    "cellplm_finetune": _STEPS,
    "cellplm_finetune_masked": _STEPS | {"masks": 0},
    "cellplm_schedule": {"relative": 1e-12},
}


def finetune(case: Case) -> None:
    """Compare the steps of a fine-tuning, its choice of an epoch, and what it predicts in the end."""
    batches = _batches(case, groups(case["input.batch"].numpy(), len(case["input.batch"])))
    recorded, best = _Recorded(case), None
    for epoch, order in enumerate(case["random.batch_order"].tolist()):
        recorded.epoch(epoch, [batches[number] for number in order], batches)
        f1 = recorded.validated[-1]["f1_score"]
        if best is None or f1 >= best[0]:  # of equals the latest
            best = f1, epoch, _predicted(case, recorded.network, batches)
    for name in recorded.validated[0]:
        found = [metrics[name] for metrics in recorded.validated]
        case.compare(f"output.valid_{name}", found, **(_trained(case, name) if name == "loss" else _scores(case)))
    case.note("epoch that was chosen", float(best[1] != case.about["best_epoch"]), 0)
    predictions = best[2].argmax(1)
    case.compare("output.predictions", predictions, 0)
    scored = case["input.split"].numpy() == 2
    found = macro(case["input.labels"].numpy()[scored], predictions.numpy()[scored])
    case.compare("output.test_scores", found, **_scores(case))
    recorded.compare(_predicted(case, recorded.network, batches))


def finetune_masked(case: Case) -> None:
    """Compare cells kept, counts hidden and the steps of a fine-tuning with both."""
    (batch,), recorded, s = _batches(case, groups(None, len(case["input.labels"]))), _Recorded(case), case.settings
    hiding = Hiding(*(s[name] for name in ("drop_node_rate", "mask_node_rate", "mask_feature_rate", "max_batch_size")))
    kept, masks = [], []
    for epoch in range(s["epochs"]):
        permutation, nodes, uniform = (
            case[f"random.{name}"][epoch].numpy() for name in ("cell_permutation", "node_permutation", "uniform")
        )
        draws = Draws(permutation, nodes, lambda counts, u=uniform: u[counts.tocoo().coords])
        recorded.epoch(epoch, [finetuning.drawn(batch, hiding, draws)], [batch])
        kept.append(permutation[: finetuning.n_kept(len(permutation), hiding.cells, hiding.most)])
        where = finetuning.chosen(nodes, hiding.masked_cells)[:, None]
        masks.append(finetuning.hidden(uniform, where, hiding.values))
    case.compare("output.kept_cells", np.stack(kept), TOLERANCES[case.name]["masks"])
    case.compare("output.input_mask", np.stack(masks), TOLERANCES[case.name]["masks"])
    case.compare("output.valid_loss", [found["loss"] for found in recorded.validated], **_trained(case, "loss"))
    case.compare("output.valid_f1", [found["f1_score"] for found in recorded.validated], **_scores(case))
    recorded.compare(_predicted(case, recorded.network, [batch]))


def schedule(case: Case) -> None:
    """Compare the rates of both groups, given the losses of the batches."""
    s, losses = case.settings, case["input.losses"].tolist()
    network = CellPLMNetwork(Architecture(4, 8, 1, 1, 8, 8, decoder=0, dropout=0))
    network.classify_into(2, seed=0)
    trainer = Trainer(network, _rates(s))
    found = []
    for number, loss in enumerate(losses):
        if number % s["batches_per_epoch"] == 0:
            trainer.begin(number // s["batches_per_epoch"])
        found.append(trainer.lr)
        trainer.plateau.step(loss)
    case.compare("output.lr", found, TOLERANCES[case.name]["relative"], relative=True)


class _Recorded:
    """The steps of a fine-tuning of a case, with the gradients of each before they are cut."""

    def __init__(self, case: Case):
        self.case, self.network = case, network_of(case)
        self.trainer = Trainer(self.network, _rates(case.settings), case.backend.precision)
        self.steps, self.validated = [], []
        self.start = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        self.gradients = {name: [] for name, _ in self.network.named_parameters()}
        for name, parameter in self.network.named_parameters():
            parameter.register_post_accumulate_grad_hook(lambda p, n=name: self.gradients[n].append(p.grad.clone()))

    def epoch(self, number: int, batches: list[Batch], all_batches: list[Batch]) -> None:
        self.steps += self.trainer.epoch(number, batches)
        self.validated.append(_validated(self.case, self.network, all_batches))

    def compare(self, last: Tensor) -> None:
        case, of_norm = self.case, [g for n, g in self.gradients.items() if n.startswith("pre_latent_norm.")]
        found = {"loss": [s.loss for s in self.steps], "grad_norm": [s.norm for s in self.steps]}
        norms = [torch.stack([grad.norm() for grad in step]).norm() for step in zip(*of_norm, strict=True)]
        found["pre_latent_norm_grad_norm"] = norms
        for name in found.keys() & {name.removeprefix("output.") for name in case.outputs(("output.",))}:
            relative = name.endswith("grad_norm")
            allowed = _trained(case, "grad_norm, relative" if relative else "loss")
            case.compare(f"output.{name}", found[name], relative=relative, **allowed)
        case.compare("output.lr", [step.lr for step in self.steps], ROUNDING, relative=True)
        for number, step in enumerate(self.steps):
            if f"output.logits_step{number}" in case.tensors:
                case.compare(f"output.logits_step{number}", step.logits, **_trained(case, "logits"))
        case.compare("output.final_logits", last, **_trained(case, "logits"))
        state = self.network.state_dict()
        for name in case.outputs(("final.",)):
            case.compare(name, state[name.removeprefix("final.")], **_trained(case, "final"))
        first = {name: found[0] for name, found in self.gradients.items() if found}
        compare_gradients(case, first, TOLERANCES[case.name]["gradients"])
        kept = [name for name in case.about.get("unchanged_parameters", []) if name in state]
        compare_unchanged(case, kept, self.start, state)


def _batches(case: Case, rows: list[np.ndarray]) -> list[Batch]:
    cells, labels = cells_of(case), case["input.labels"].numpy()
    trains = case["input.split"].numpy() == 0
    return [Batch(cells.with_counts(cells.counts[some]), labels[some], trains[some]) for some in rows]


def _predicted(case: Case, network: CellPLMNetwork, batches: list[Batch]) -> Tensor:
    """Return the logits of all cells in their order, each batch in one pass."""
    network.eval()
    of = case.tensors.get("input.batch")
    rows = groups(None if of is None else of.numpy(), len(case["input.labels"]))
    found = torch.zeros(len(case["input.labels"]), case.settings["classes"])
    for some, batch in zip(rows, batches, strict=True):
        found[some] = run(case, network, batch.cells)
    return found


def _validated(case: Case, network: CellPLMNetwork, batches: list[Batch]) -> dict[str, float]:
    """Return the mean over batches of the loss of their validation cells, and metrics of all of them."""
    logits, labels = _predicted(case, network, batches), case["input.labels"]
    validates = case["input.split"] == 1
    of = case.tensors.get("input.batch", torch.zeros(len(labels), dtype=torch.long))
    some = [validates & (of == batch) for batch in of.unique()]
    losses = [torch.nn.functional.cross_entropy(logits[s], labels[s]).item() for s in some if s.any()]
    metrics = macro(labels[validates].numpy(), logits[validates].argmax(1).numpy())
    return {
        "loss": float(np.mean(losses)),
        **dict(zip(("acc", "f1_score", "precision", "recall"), metrics, strict=True)),
    }


def _rates(s: dict) -> Rates:
    told = {"lr": s["lr"], "embedder_lr": s["embedder_lr"]}
    names = {"decay": "wd", "embedder_decay": "embedder_wd", "warmup": "warm_up_epochs", "clip": "clip_norm"}
    names |= {"patience": "patience", "factor": "factor"}
    return Rates(**told | {ours: s[theirs] for ours, theirs in names.items() if theirs in s})


def _trained(case: Case, kind: str) -> dict[str, float | bool]:
    """Return the tolerance of what the steps give, for `Case.compare`."""
    rounded = {"loss": BF16_LOSS, "final": BF16_WEIGHTS}.get(kind, BF16_TRAINED)
    return after_training(case.backend, TOLERANCES[case.name][kind], rounded)


def _scores(case: Case) -> dict[str, float | bool]:
    """Return the tolerance of scores, which move by whole cells, as shares of 1."""
    return after_training(case.backend, TOLERANCES[case.name]["loss"]) | {"of_largest": False}
