"""What golden cases of all networks share: what a part of one says, its first gradients, and what must not move."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.errors import BenchError
from bench.training.device import autocast
from bench.verify.case import Case

ROUNDED = {"": 0.08}  # beginning of a parameter's name -> error of its gradient where products are rounded


def run(case: Case, part: Callable[[Any], Tensor], inputs: Any, *, gradient: bool = False) -> Tensor:
    """Return what a part of a network gives for inputs on the case's backend, in float32 on the CPU.

    Parameters
    ----------
    case
        Says the device and the precision.
    part
        A network, one of its modules or methods.
    inputs
        Handed to it; a tensor is moved to the device, anything else is there already.
    gradient
        Whether to go the way that keeps what a gradient needs.
    """
    device = torch.device(case.backend.device)
    inputs = inputs.to(device) if isinstance(inputs, Tensor) else inputs
    with torch.set_grad_enabled(gradient), autocast(device, case.backend.precision):
        return part(inputs).detach().float().cpu()


def spread(found: Tensor, there: Tensor, fill: float = 0) -> Tensor:
    """Return packed results (n_positions, ...) where they were in the padded array, (cells, length, ...)."""
    spread = found.new_full((*there.shape, *found.shape[1:]), fill)
    spread[there] = found
    return spread


def gradients_of(network: nn.Module) -> dict[str, Tensor]:
    """Return the gradients that a backward pass has left, by parameter."""
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def compare_gradients(
    case: Case, gradients: Mapping[str, Tensor], usual: float, rounded: Mapping[str, float] = ROUNDED
) -> None:
    """Compare the gradients of the first step that the case has.

    Parameters
    ----------
    case, gradients
        What is expected, and what was computed, by parameter.
    usual
        Largest error as a share of the largest entry of a tensor.
    rounded
        Beginning of a parameter's name -> length of the error as a share of the length of a tensor, where products are
        rounded; of several beginnings the first one counts.
    """
    for name in sorted(case.outputs(("grad_step0.",))):
        parameter = name.removeprefix("grad_step0.")
        expected, found = case[name].double(), gradients[parameter].cpu().double()
        if found.shape != expected.shape:
            raise BenchError(f"{name} has shape {tuple(expected.shape)}, computed was {tuple(found.shape)}.")
        if case.backend.precision == "bf16":  # rounding is in every entry, and no entry's own says much
            allowed = next(share for beginning, share in rounded.items() if parameter.startswith(beginning))
            case.note(name, float((found - expected).norm() / expected.norm()), allowed)
        else:
            case.note(name, float((found - expected).abs().max() / expected.abs().max()), usual)


def compare_unchanged(case: Case, names: Iterable[str], start: Mapping[str, Tensor], end: Mapping[str, Tensor]) -> None:
    """Note how many of these tensors a training has moved, of which none may."""
    moved = [name for name in names if not torch.equal(start[name], end[name])]
    case.note("unchanged parameters changed", float(len(moved)), 0)


class GradientNorm(torch.amp.GradScaler):
    """Looks at the norm of the gradient before it is cut, where `training_step` takes a scaler."""

    def __init__(self, network: nn.Module):
        super().__init__("cpu", enabled=False)
        self.network, self.value = network, 0.0

    def unscale_(self, optimizer) -> None:
        """Note the norm, and scale nothing."""
        norms = [gradient.double().norm() for gradient in gradients_of(self.network).values()]
        self.value = torch.stack(norms).norm().item()
