"""From what a torch file holds to a flat dictionary of tensors, with nothing that could be weights left out unseen."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from bench.core.errors import BenchError, listed

WRAPPERS = ("model_state_dict", "state_dict", "model")  # keys under which training scripts put the state dict
PREFIXES = ("module.", "_orig_mod.")  # put before all names by DistributedDataParallel, and by torch.compile


def unwrap(path: Path, found: Any) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the state dict inside what was saved, and what can be said of the rest.

    Raises
    ------
    BenchError
        If there is none, there are several, or tensors are nested in it.
    """
    metadata, ignored = {}, []
    while isinstance(found, Mapping):
        inner = [name for name in WRAPPERS if isinstance(found.get(name), Mapping) and _any_tensor(found[name])]
        if len(inner) > 1:
            raise BenchError(
                f"{path} holds several sets of weights: {listed(inner)}. Save the one you mean in a file of its own."
            )
        rest = {name: value for name, value in found.items() if name not in inner}
        if not inner:
            break
        ignored += map(str, rest)
        metadata |= _epoch(rest)
        found = found[inner[0]]
    tensors = _tensors(path, found)
    metadata |= _epoch(found)
    ignored += [str(name) for name in found if name not in tensors]
    ignored = [name for name in ignored if name not in metadata]
    return tensors, metadata | ({"ignored": ", ".join(ignored)} if ignored else {})


def without_prefix(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without the prefix that all of their names have.

    Raises
    ------
    BenchError
        If a name is there with the prefix and without it: two sets of weights in one file.
    """
    for prefix in PREFIXES:
        while tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        twice = [name for name in tensors if prefix + name in tensors]
        if twice:
            raise BenchError(
                f"{path} has {len(twice)} tensors twice, with and without {prefix!r} in front: {listed(twice)}. "
                "Two sets of weights were mixed; save the one you mean."
            )
    return tensors


def _tensors(path: Path, found: Any) -> dict[str, Tensor]:
    if not isinstance(found, Mapping):
        raise BenchError(f"{path} holds a {type(found).__name__}, not a state dict (names with tensors).")
    tensors = {name: value.detach() for name, value in found.items() if isinstance(value, Tensor)}
    nested = [str(name) for name, value in found.items() if not isinstance(value, Tensor) and _any_tensor(value)]
    if nested or not tensors:
        keys = f"tensors nested under {listed(nested)}" if nested else f"no tensors, only {listed(map(str, found), 8)}"
        raise BenchError(
            f"{path} has {keys}; expected a state dict, alone or under {' or '.join(WRAPPERS)}. Save the state dict "
            "that you mean in a file of its own."
        )
    numbered = [repr(name) for name in tensors if not isinstance(name, str)]
    if numbered:
        raise BenchError(f"{path} has tensors under keys that are not names: {listed(numbered)}.")
    return tensors


def _any_tensor(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_any_tensor, value.values()))
    return isinstance(value, Tensor) or (isinstance(value, (list, tuple)) and any(map(_any_tensor, value)))


def _epoch(entries: Mapping[Any, Any]) -> dict[str, str]:
    epoch = entries.get("epoch")
    return {"epoch": str(epoch)} if isinstance(epoch, int) and not isinstance(epoch, bool) else {}
