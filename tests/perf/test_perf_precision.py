"""Whether one fine-tuned scGPT of published size says the same types of real cells in float32 and in bf16.

Run with: pytest tests/perf/test_perf_precision.py --benchmark-only -s
It takes minutes on an idle machine.  It is trained from scratch on a share of baron, with a warm-up, for without one
such a network often says one type; the accuracies and the share of the commonest type show whether it does.
"""

import time

import numpy as np
import torch
from test_perf_scgpt import sequences

from bench.models.scgpt.network import Architecture, ScGPTNetwork
from bench.training.finetune import finetune, predict
from bench.training.schedule import History, Schedule

SCORED = 1000


def agreement(n_train: int, epochs: int, most: int, *, rate: float = 1e-4, warmup: int = 100) -> None:
    """Fine-tune on so many cells of at most so many genes and print what both precisions say of 1,000 others."""
    cells = sequences(3000, most)
    order = np.random.default_rng(0).permutation(len(cells))
    scored, train = cells.take(order[:SCORED]), cells.take(order[SCORED : SCORED + n_train])
    network = ScGPTNetwork(Architecture(n_tokens=cells.tokens.shape[1], mvc=False))
    network.classify_into(int(cells.labels.max()) + 1, seed=0)
    told = {"adam_eps": 1e-4, "shuffle": True, "warmup_steps": warmup, "clip": 1.0}
    fast, exact = (Schedule(epochs, 32, lambda epoch: rate, precision=p, **told) for p in ("bf16", "float32"))
    history, start = History(), time.perf_counter()
    finetune(network, train, None, fast, history, class_weights=None, seed=0)
    print(f"\n{n_train:,} cells, {epochs} epochs in {time.perf_counter() - start:.0f} s, losses {history.train_loss}")
    logits, seconds = {}, {}
    for name, schedule in {"float32": exact, "bf16": fast}.items():
        start = time.perf_counter()
        logits[name] = predict(network, scored, schedule)
        seconds[name] = time.perf_counter() - start
    told_by(logits, torch.as_tensor(scored.labels), seconds)


def told_by(logits: dict[str, torch.Tensor], labels: torch.Tensor, seconds: dict[str, float]) -> None:
    """Print accuracies, agreement, and how near to each other the two best types are where the precisions disagree."""
    said = {name: found.argmax(1) for name, found in logits.items()}
    for name, types in said.items():
        most = types.bincount().max().item() / len(types)
        right = (types == labels).double().mean().item()
        print(
            f"  {name:<8} accuracy {right:.3f}, says {len(types.unique())} types, one of them of {most:.3f} of the ",
            end="",
        )
        print(f"cells; {seconds[name]:.1f} s")
    common = labels.bincount().max().item() / len(labels)
    same, (first, second) = said["float32"] == said["bf16"], logits["float32"].softmax(1).topk(2).values.T
    print(
        f"  the commonest type has {common:.3f} of the cells; agreement {100 * same.double().mean():.2f} %, largest ",
        end="",
    )
    print(f"difference of logits {(logits['float32'] - logits['bf16']).abs().max():.3f}")
    for cell in (~same).nonzero()[:, 0].tolist():
        pair = f"{said['float32'][cell]} in float32, {said['bf16'][cell]} in bf16, truly {labels[cell]}"
        print(f"    cell {cell}: type {pair}; the best two {first[cell]:.3f} and {second[cell]:.3f}")


def test_types_agree_in_both_precisions(benchmark, capsys):
    with capsys.disabled():
        benchmark.pedantic(lambda: agreement(4000, 3, 299), rounds=1)
