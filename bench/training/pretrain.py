"""Pretraining by masked expression: resumable, in one process or several, with a card of what was done.

Source: PROTOCOL 1.5 of the paper.  Known deviation: one warm-up and one cosine over all steps (a short pretraining
would end within the published warm-up).  What models do not share is in their family's objective.
Every random number depends on the seed and the step alone, so that a resumed run, and one of several processes, has the
losses of an uninterrupted one.
"""

import json
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from bench.core.errors import BenchError
from bench.core.families import families
from bench.core.provenance import commit, versions
from bench.datasets.sources import cache_folder
from bench.training.checkpoint import Run, Unfinished
from bench.training.device import WIDE, say_what_bf16_does, threads_for
from bench.training.masked_steps import N_VALIDATION, evaluate, step
from bench.training.objective import Objective
from bench.training.recipes import Pretraining, named
from bench.training.step import adam
from bench.training.stop import Stop
from bench.training.store import Cells
from bench.training.world import World

CHECKPOINT_S = 60.0  # seconds between two checkpoints
EVALUATIONS = 10  # of the validation cells, in the course of a run

__all__ = ["N_VALIDATION", "best_device", "pretrain", "pretrained", "summary"]


def pretrain(name: str, recipe: Pretraining, *, device: str = "cpu", checkpoint_s: float = CHECKPOINT_S) -> Path:
    """Return the weights of a recipe, trained if they are not in the cache, from the last checkpoint if there is one.

    Parameters
    ----------
    name
        Beginning of the file's name.
    recipe
        What to train on, and how.
    device
        ``cpu``, ``cuda`` or ``cuda:1``; under torchrun ``cuda`` is the GPU of the process's local rank.
    checkpoint_s
        Seconds between checkpoints.

    Returns
    -------
    Path of the ``.safetensors`` file; beside it a card ``.json`` and the identifiers of the cells ``.cells.npy``.

    Raises
    ------
    BenchError
        If data are missing, the device is not there, the loss is not finite, the disk is full, or a checkpoint is not
        of this run.
    KeyboardInterrupt
        After a Ctrl-C, with a checkpoint of the last step.
    """
    world = World(device)
    with world.leader_first():
        cells = recipe.cells()
    unfinished = Unfinished(target_of(name, recipe, cells), recipe.identity(cells))
    with unfinished.locked() if world.leads else nullcontext():
        if not world.share(unfinished.target.is_file()):
            _train(
                unfinished,
                name,
                families()[recipe.model].load("objective")(recipe, cells, world.device),
                world,
                checkpoint_s,
            )
    world.wait()
    return unfinished.target


def pretrained(name: str) -> Path:
    """Return the weights of a named recipe; small ones are trained at once, true-size ones only where there is a GPU.

    Raises
    ------
    BenchError
        If weights of the true size are not in the cache and there is no GPU.
    """
    return pretrain(name, named()[name], device=best_device(name, named()[name]))


def best_device(name: str, recipe: Pretraining) -> str:
    """Return ``cuda`` where there is a GPU; without one refuse to train over all genes, which would take days."""
    if torch.cuda.is_available():
        return "cuda"
    if recipe.n_genes or _is_there(name, recipe):
        return "cpu"
    command = f"bench pretrain {recipe.model} --recipe {name.removeprefix(f'{recipe.model}_')} --device cuda"
    raise BenchError(
        f"Weights {name} are not in the cache, and pretraining them takes days without a GPU. On a machine with one: "
        f"{command if name in named() else 'the same command'} (or insist with --device cpu)."
    )


def summary(path: Path) -> list[str]:
    """Return lines on pretrained weights: their files, the cells they were made of, and how training went."""
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    cells = [
        f"{one['dataset']} {one['n_cells']:,}"
        + (f" (without those that {', '.join(one['excluded'])} scores)" if one["excluded"] else " (all: none to score)")
        for one in card["cells"]
    ]
    model = card.get("model", path.name.partition("_")[0])  # the first cards did not say it
    told = families()[model].load("objective").told(card["curve"][-1])
    return [
        f"weights  {path}",
        f"card     {path.with_suffix('.json')}",
        f"cells    {path.with_suffix('.cells.npy')}: {'; '.join(cells)}",
        f"{len(card['losses']):,} steps in {card['seconds']:g} s on {card['hardware']}: masked loss "
        f"{card['losses'][0]:.3f} at first, {card['losses'][-1]:.3f} at last; on cells not trained on {told}",
    ]


def _is_there(name: str, recipe: Pretraining) -> bool:
    """Look for any file of that name first: the identity of cells is known once they are on this machine."""
    some = any((cache_folder() / "weights").glob(f"{name}-*.safetensors"))
    return some and target_of(name, recipe, recipe.cells()).is_file()


def target_of(name: str, recipe: Pretraining, cells: Cells) -> Path:
    """Return where the weights of a recipe are, or shall be."""
    return cache_folder() / "weights" / f"{name}-{recipe.identity(cells)[:8]}.safetensors"


def _train(unfinished: Unfinished, name: str, objective: Objective, world: World, every_s: float) -> None:
    begun, recipe = time.perf_counter(), objective.recipe
    if world.leads and recipe.dim >= WIDE:
        say_what_bf16_does(recipe.precision, world.device.type)
    train, validation = objective.cells.split(recipe.validation_share, recipe.seed)
    run = _begin(unfinished, objective, train, world)
    earlier, saved = run.seconds, begun
    progress = {"initial": run.step, "unit": "step", "mininterval": 0.5 if sys.stderr.isatty() else 30}
    bar = tqdm(desc=name, total=recipe.steps, disable=not world.leads, **progress)
    with Stop() as stop, threads_for(run.network), bar:
        while run.step < recipe.steps:
            stopped = step(run, objective, train, world, stop)
            bar.set_postfix(loss=f"{run.losses[-1]:.3f}", refresh=False)
            bar.update()
            if world.leads and run.step * EVALUATIONS // recipe.steps > (run.step - 1) * EVALUATIONS // recipe.steps:
                run.curve.append(evaluate(run, objective, validation))
            run.seconds = earlier + time.perf_counter() - begun
            if world.leads and (stopped or time.perf_counter() - saved > every_s):
                unfinished.keep(run)
                saved = time.perf_counter()
            if stopped:
                world.wait()  # for the checkpoint
                stop.act()
        if world.leads:
            _finish(unfinished, run, objective, (len(train), len(validation)), world)


def _begin(unfinished: Unfinished, objective: Objective, train: np.ndarray, world: World) -> Run:
    """Return the run as its last checkpoint has it, or a fresh one that is prepared, in all processes the same."""
    network, recipe = objective.network().to(world.device), objective.recipe
    run = Run(network, adam(network))
    state = unfinished.read() if world.leads else None
    if world.leads and state is None:
        run.prepared = objective.prepare(network, train)
        unfinished.keep(run)  # gene vectors of the true size take minutes
        state = run.state(unfinished.identity) if world.size > 1 else None
    if (state := world.share(state)) is not None:
        unfinished.resume(run, state)
    n_parts = recipe.batch_size // recipe.micro_batch
    if world.leads and world.size > n_parts:
        said = f"Only {n_parts} of {world.size} processes have work: micro_batch={recipe.micro_batch} cells each."
        tqdm.write(said, file=sys.stderr)
    return run


def _finish(unfinished: Unfinished, run: Run, objective: Objective, sides: tuple[int, int], world: World) -> None:
    recipe, cells = objective.recipe, objective.cells
    card = {
        "model": recipe.model,
        "identity": unfinished.identity,
        "recipe": asdict(recipe),
        "seeds": dict.fromkeys(objective.seeded, recipe.seed),
        "cells": cells.card["selections"],
        "store": cells.content,
        "n_train": sides[0],
        "n_validation": sides[1],
        **run.prepared,
        "losses": [round(loss, 6) for loss in run.losses],
        "curve": run.curve,
        "hardware": world.hardware(),
        "processes": world.size,
        "seconds": round(run.seconds, 1),
        "commit": commit(),
        "versions": versions(),
    }
    told = objective.metadata() | {"identity": unfinished.identity, "model": recipe.model}
    unfinished.finish(run.network.state_dict(), told, card, np.sort(cells.ids))
