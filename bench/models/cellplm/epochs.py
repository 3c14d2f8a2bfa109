"""The epochs of a fine-tuning: passes drawn by the seed, a look at the validation cells, and the best epoch kept.

Source: CellPLM (Wen et al., ICLR 2024): up to 2,000 epochs, of which the one with the best macro F1 on validation cells
is kept, the latest among equals, and none more after 200 without a better one.
"""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from bench.core.errors import BenchError
from bench.core.unfinished import place
from bench.models.cellplm.finetuning import Batch, Hiding, Trainer, drawn, draws_of, macro
from bench.training.device import threads_for
from bench.training.kept import Kept, trained


@dataclass
class PassHistory:
    """What happened, per epoch; the authors call the macro recall accuracy."""

    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_macro_f1: list[float] = field(default_factory=list)
    validation_macro_recall: list[float] = field(default_factory=list)
    best_epoch: int = 0  # from 1

    def diagnostics(self) -> dict[str, float]:
        """Return what is worth recording: of thousands of epochs the last loss, and the best one's measures."""
        found = {"epochs": len(self.train_loss), "best_epoch": self.best_epoch}
        found |= {"last_train_loss": self.train_loss[-1]} if self.train_loss else {}
        measured = ("validation_loss", "validation_macro_f1", "validation_macro_recall")
        return found | {
            f"best_{name}": getattr(self, name)[self.best_epoch - 1] for name in measured if vars(self)[name]
        }


def finetune(
    trainer: Trainer,
    batches: list[Batch],
    hiding: Hiding,
    validate: Callable[[], tuple[Tensor, np.ndarray]] | None,
    history: PassHistory,
    *,
    epochs: int,
    patience: int,
    seed: int,
) -> None:
    """Train a network and leave it at its best epoch.

    Where whoever asked for it has named a place (`bench.core.unfinished`), it goes on from the state that is there.

    Parameters
    ----------
    trainer, batches, hiding
        The network with its rates; every pass of an epoch; and what of these is left out in a step.
    validate
        Returns logits and class indices of the validation cells, or None where there are none: then the last epoch is
        kept.
    history
        Filled as training goes on, so that it is there after an interruption too.
    epochs, patience
        How many at most, and after how many without a better one it ends.
    seed
        Of all that is drawn.

    Raises
    ------
    BenchError
        If the loss is not finite, or no pass has a cell to train on.
    """
    best = _Best()
    device = batches[0].cells.device
    kept = Kept(place(), trainer.network, {"trainer": trainer}, history, best)
    to_do = range(kept.resume(), epochs)
    try:
        with threads_for(trainer.network), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            for epoch in tqdm(to_do, desc="epochs", leave=False, disable=None):
                history.train_loss.append(_epoch(trainer, batches, hiding, seed, epoch))
                if validate is not None:
                    best.see(trainer, *_look(*validate(), history), epoch)
                    if epoch - best.epoch >= patience:
                        break
                kept.keep()
    finally:
        best.restore(trainer)
        history.best_epoch = best.epoch + 1 if best.state else len(history.train_loss)


def _epoch(trainer: Trainer, batches: list[Batch], hiding: Hiding, seed: int, epoch: int) -> float:
    """Train for one epoch and return the mean loss of its steps; not a number where every labelled cell was dropped."""
    torch.manual_seed(seed * 100_003 + epoch)  # of dropout
    order = np.random.default_rng([seed, epoch]).permutation(len(batches))
    shown = [drawn(batches[i], hiding, draws_of(len(batches[i].labels), hiding, seed, epoch, int(i))) for i in order]
    losses = [step.loss for step in trainer.epoch(epoch, shown)]
    if not all(map(math.isfinite, losses)):
        raise BenchError(f"The loss is not finite at epoch {epoch + 1}; lower lr, or check weights and input.")
    return float(np.mean(losses)) if losses else math.nan


def _look(logits: Tensor, labels: np.ndarray, history: PassHistory) -> tuple[float]:
    history.validation_loss.append(F.cross_entropy(logits, torch.from_numpy(labels)).item())
    found = macro(labels, logits.argmax(1).numpy(), logits.shape[1])
    history.validation_macro_f1.append(found["macro_f1"])
    history.validation_macro_recall.append(found["macro_recall"])
    return (found["macro_f1"],)


class _Best:
    """The weights of the best epoch so far, on the CPU."""

    def __init__(self):
        self.value, self.state, self.epoch = -math.inf, None, 0

    def see(self, trainer: Trainer, value: float, epoch: int) -> None:
        if value >= self.value:
            self.value, self.epoch = value, epoch
            self.state = deepcopy({name: tensor.cpu() for name, tensor in trained(trainer.network).items()})

    def restore(self, trainer: Trainer) -> None:
        if self.state is not None:
            trainer.network.load_state_dict(self.state, strict=False)
