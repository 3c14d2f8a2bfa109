"""Pretraining by masked expression: resumable, in one process or several, with a card of what was done.

Source: PROTOCOL 1.5 of the paper.  Known deviations: one warm-up and one cosine over all steps (a short pretraining
would end within the published warm-up), random features counted per step, not per micro-batch.
Every random number depends on the seed and the step alone, so that a resumed run, and one of several processes, has the
losses of an uninterrupted one.
"""

import json
import math
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from filelock import FileLock
from torch import Tensor
from tqdm import tqdm

from bench import atomic
from bench.datasets.sources import cache_folder
from bench.errors import BenchError
from bench.models.scbert import Architecture, ScBERTNetwork
from bench.provenance import commit, versions
from bench.training.finetune import autocast
from bench.training.gene2vec import gene2vec
from bench.training.masking import accuracy_where, mask_seeded, masked_loss, selected_count
from bench.training.recipes import RECIPES, Pretraining
from bench.training.schedule import cosine_warm_restarts
from bench.training.store import Cells
from bench.weights import save

CHECKPOINT_S = 60.0  # seconds between two checkpoints
EVALUATIONS = 10  # of the validation cells, in the course of a run
N_VALIDATION = 256  # validation cells looked at each time


@dataclass
class Run:
    """State of a pretraining: what a checkpoint holds."""

    network: ScBERTNetwork
    optimizer: torch.optim.Adam
    step: int = 0
    seconds: float = 0.0

    def __post_init__(self):
        self.losses: list[float] = []  # per step
        self.curve: list[dict[str, float]] = []  # step, loss and masked accuracy on validation cells


def pretrain(name: str, recipe: Pretraining, *, device: str = "cpu", checkpoint_s: float = CHECKPOINT_S) -> Path:
    """Return the weights of a recipe, trained if they are not in the cache, from the last checkpoint if there is one.

    Parameters
    ----------
    name
        Beginning of the file's name.
    recipe
        What to train on, and how.
    device
        Such as ``cuda``; under torchrun each process takes the GPU of its local rank.
    checkpoint_s
        Seconds between checkpoints.

    Returns
    -------
    Path of the ``.safetensors`` file; beside it a card ``.json`` and the identifiers of the cells ``.cells.npy``.

    Raises
    ------
    BenchError
        If data are missing, the device is not there, the loss is not finite, or the disk is full.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise BenchError(f"device={device!r} was asked for, but torch finds no GPU; use device='cpu'.")
    world = World(device)
    with world.first():  # the others find what the first process has written
        cells = recipe.cells()
    target = _target(name, recipe, cells)
    target.parent.mkdir(parents=True, exist_ok=True)
    if world.size > 1:
        return _trained(target, name, recipe, cells, world, checkpoint_s)
    with FileLock(target.with_suffix(".lock")):  # two runs that need the same weights: one waits
        return _trained(target, name, recipe, cells, world, checkpoint_s)


def pretrained(name: str) -> Path:
    """Return the weights of a named recipe; small ones are trained at once, true-size ones only where there is a GPU."""
    recipe, gpu = RECIPES[name], torch.cuda.is_available()
    if not gpu and recipe.n_genes == 0 and not _target(name, recipe, recipe.cells()).is_file():
        model, _, rest = name.partition("_")
        size = rest.removesuffix("_no_gene2vec")
        raise BenchError(
            f"Weights {name} are not in the cache, and pretraining them takes days without a GPU. On a machine with one: "
            f"bench pretrain {model} --recipe {size}{' --no-gene2vec' * (size != rest)} --device cuda"
        )
    return pretrain(name, recipe, device="cuda" if gpu else "cpu")


def _target(name: str, recipe: Pretraining, cells: Cells) -> Path:
    return cache_folder() / "weights" / f"{name}-{recipe.identity(cells)[:8]}.safetensors"


def _trained(target: Path, name: str, recipe: Pretraining, cells: Cells, world: "World", checkpoint_s: float) -> Path:
    if target.is_file():
        return target
    train, validation = cells.split(recipe.validation_share, recipe.seed)
    run, vectors_card = _start(recipe, cells, train, world)
    unfinished = target.with_suffix(".training")
    if unfinished.is_file():
        _resume(run, unfinished, world.device)
    bar = tqdm(total=recipe.steps, initial=run.step, desc=f"pretraining {name}", unit="step", disable=not world.leads)
    saved = begun = time.perf_counter() - run.seconds
    while run.step < recipe.steps:
        run.losses.append(_step(run, recipe, cells, train, world))
        run.step += 1
        bar.update()
        bar.set_postfix(loss=f"{run.losses[-1]:.3f}", refresh=False)
        if not math.isfinite(run.losses[-1]):
            raise BenchError(f"The loss is {run.losses[-1]} at step {run.step}; lower lr={recipe.lr:g}.")
        if run.step * EVALUATIONS // recipe.steps > (run.step - 1) * EVALUATIONS // recipe.steps:
            run.curve.append({"step": run.step} | _evaluate(run.network, recipe, cells, validation, world))
        run.seconds = time.perf_counter() - begun
        if world.leads and time.perf_counter() - saved > checkpoint_s:
            _checkpoint(run, unfinished)
            saved = time.perf_counter()
    bar.close()
    if world.leads:
        _write(target, run, recipe, cells, vectors_card, world)
        unfinished.unlink(missing_ok=True)
    world.wait()
    return target


def _start(recipe: Pretraining, cells: Cells, train: np.ndarray, world: "World") -> tuple[Run, dict]:
    sizes = {name: getattr(recipe, name) for name in ("dim", "depth", "heads", "dim_head", "n_features", "gene2vec")}
    network = ScBERTNetwork(Architecture(cells.n_genes, **sizes), seed=recipe.seed, stabiliser=recipe.stabiliser)
    card = {}
    if recipe.gene2vec:
        vectors, card = gene2vec(cells, rows=train, dim=recipe.dim, seed=recipe.seed)
        network.pos_emb["emb"].weight[:-1] = torch.from_numpy(vectors)
    network.to(world.device)
    return Run(network, torch.optim.Adam(p for p in network.parameters() if p.requires_grad)), card


def _step(run: Run, recipe: Pretraining, cells: Cells, train: np.ndarray, world: "World") -> float:
    """Make one optimiser step and return the loss, a mean over all selected positions of the batch."""
    rng = np.random.default_rng([recipe.seed, run.step])
    rows = rng.choice(train, recipe.batch_size)  # with replacement, as published
    seeds = rng.integers(2**31, size=recipe.batch_size // recipe.micro_batch + 1).tolist()
    tokens = F.pad(torch.from_numpy(cells.tokens(rows)), (0, 1)).long()
    n_selected = selected_count((tokens != 0).sum(1), tokens.shape[1]).sum().clamp(min=1)
    for group in run.optimizer.param_groups:
        warmup = max(1, recipe.steps // 20)
        group["lr"] = cosine_warm_restarts(
            run.step + 1, peak=recipe.lr, floor=recipe.lr / 100, first=recipe.steps + 1, warmup=warmup
        )
    run.network.train()
    run.network.count_pass(seeds.pop())
    run.optimizer.zero_grad(set_to_none=False)
    loss = torch.zeros((), device=world.device)
    for number, part in enumerate(tokens.split(recipe.micro_batch)):
        if number % world.size == world.rank:
            masked = mask_seeded(part, seeds[number])
            with autocast(world.device, recipe.precision):
                logits = run.network(masked.tokens.to(world.device))
            share = masked_loss(logits, masked.labels.to(world.device), "sum") / n_selected
            share.backward()
            loss += share.detach()
    world.add_up([loss, *(p.grad for p in run.network.parameters() if p.grad is not None)])
    torch.nn.utils.clip_grad_norm_(run.network.parameters(), recipe.clip)
    run.optimizer.step()
    return loss.item()


def _evaluate(network, recipe: Pretraining, cells: Cells, rows: np.ndarray, world: "World") -> dict[str, float]:
    """Return loss and masked accuracy, over replaced positions as the paper's notebook counts, of validation cells."""
    network.eval()
    losses, right, weights = [], [], []
    with torch.inference_mode():
        for start in range(0, min(len(rows), N_VALIDATION), recipe.micro_batch):
            part = rows[start : start + recipe.micro_batch]
            tokens = F.pad(torch.from_numpy(cells.tokens(part)), (0, 1)).long()
            masked = mask_seeded(tokens, start)
            with autocast(world.device, recipe.precision):
                logits = network(masked.tokens.to(world.device)).float().cpu()
            if masked.replaced.any():
                losses.append(masked_loss(logits, masked.labels).item())
                right.append(accuracy_where(logits.argmax(-1), tokens, masked.replaced).item())
                weights.append(int(masked.replaced.sum()))
    return {"loss": float(np.average(losses, weights=weights)), "accuracy": float(np.average(right, weights=weights))}


def _checkpoint(run: Run, path: Path) -> None:
    told = {name: getattr(run, name) for name in ("step", "seconds", "losses", "curve")}
    state = told | {"network": run.network.state_dict(), "optimizer": run.optimizer.state_dict()}
    atomic.write(path, lambda file: torch.save(state, file), replace=True)


def _resume(run: Run, path: Path, device: torch.device) -> None:
    state = torch.load(path, map_location=device, weights_only=True)
    run.network.load_state_dict(state.pop("network"))
    run.optimizer.load_state_dict(state.pop("optimizer"))
    for name, value in state.items():
        setattr(run, name, value)


def _write(target: Path, run: Run, recipe: Pretraining, cells: Cells, vectors: dict, world: "World") -> None:
    """Write identifiers and card first: weights without them cannot exist."""
    card = {
        "recipe": asdict(recipe),
        "cells": cells.card["selections"],
        "gene2vec": vectors,
        "losses": [round(loss, 6) for loss in run.losses],
        "curve": run.curve,
        "hardware": world.hardware(),
        "processes": world.size,
        "seconds": round(run.seconds, 1),
        "commit": commit(),
        "versions": versions(),
    }
    told = {"genes": json.dumps(cells.genes), "library": recipe.library, "identity": recipe.identity(cells)}
    ids, text = np.sort(cells.ids), json.dumps(card, indent=1).encode()
    atomic.write(target.with_suffix(".cells.npy"), lambda file: np.save(file, ids), replace=True)
    atomic.write(target.with_suffix(".json"), lambda file: file.write(text), replace=True)
    save(target, run.network.state_dict(), told | {"model": "scbert"})


class World:
    """The processes of a run: one, or as many as torchrun has started."""

    def __init__(self, device: str):
        self.rank, self.size = (
            int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1))
        )
        if device == "cuda" and self.size > 1:
            device = f"cuda:{os.environ['LOCAL_RANK']}"
        self.device = torch.device(device)
        if self.size > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")

    @property
    def leads(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def add_up(self, tensors: list[Tensor]) -> None:
        """Replace tensors by their sums over processes."""
        if self.size > 1:
            flat = torch.cat([tensor.flatten() for tensor in tensors])
            dist.all_reduce(flat)
            for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def wait(self) -> None:
        """Wait for the other processes."""
        if self.size > 1:
            dist.barrier()

    def first(self):
        """Return a context in which the leading process is before the others."""
        return _First(self)

    def hardware(self) -> str:
        """Return what the run was on."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} threads"


class _First:
    def __init__(self, world: World):
        self.world = world

    def __enter__(self):
        if not self.world.leads:
            self.world.wait()

    def __exit__(self, *_):
        if self.world.leads:
            self.world.wait()
