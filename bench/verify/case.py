"""One golden case: a JSON description and a safetensors file, and the comparison of what we compute with it."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from bench.core.errors import BenchError


@dataclass(frozen=True)
class Backend:
    """Where and in which precision a case is computed."""

    device: str = "cpu"
    precision: str = "float32"

    def __str__(self) -> str:
        return f"{self.device} {self.precision}"


@dataclass
class Case:
    """Tensors of a golden case, and the largest error of every output compared so far."""

    folder: Path
    name: str
    backend: Backend = Backend()
    compared: dict[str, tuple[float, float]] = field(default_factory=dict)  # output -> error, tolerance

    def __post_init__(self):
        self.about = json.loads((self.folder / f"{self.name}.json").read_text())
        file = self.folder / f"{self.name}.safetensors"
        self.tensors = load_file(file) if file.is_file() else {}
        self.settings = self.about.get("hyperparameters", {})

    def __getitem__(self, name: str) -> Tensor:
        """Return a tensor such as ``input.tokens``."""
        try:
            return self.tensors[name]
        except KeyError:
            raise BenchError(f"{self.name} has no tensor {name!r}; it has {', '.join(self.tensors)}.") from None

    def weights(self) -> dict[str, Tensor]:
        """Return the state dict of the case, or of the case that it borrows its weights from."""
        source = self.other("weights_from") if "weights_from" in self.about else self
        dropped = self.about.get("weights_drop", [])
        weights = {k.removeprefix("weights."): v for k, v in source.tensors.items() if k.startswith("weights.")}
        if not weights:
            raise BenchError(f"{source.name} has no tensor weights.*, which {self.name} needs.")
        return {name: tensor for name, tensor in weights.items() if name not in dropped}

    def other(self, key: str) -> "Case":
        """Return the case that this one names under a key of its description."""
        return Case(self.folder, self.about[key], self.backend)

    def outputs(self, prefixes: tuple[str, ...]) -> set[str]:
        """Return the names of all tensors that are results."""
        return {name for name in self.tensors if name.startswith(prefixes)}

    def compare(self, name: str, found, tolerance: float, *, relative: bool = False, where=None) -> None:
        """Note the largest difference between a result and the case's tensor of that name.

        Parameters
        ----------
        name
            Such as ``output.logits``.
        found
            Of the same shape, anything that NumPy takes.
        tolerance
            Largest difference allowed, absolute unless ``relative``; 0 asks for equality.
        relative
            Divide by the size of the expected value.
        where
            Mask of the entries that count.
        """
        expected, found = _numbers(self[name]), _numbers(found)
        if expected.shape != found.shape:
            raise BenchError(f"{name} has shape {expected.shape} in {self.name}, computed was {found.shape}.")
        both_nan = np.isnan(expected) & np.isnan(found)
        error = np.abs(found - expected)
        if relative:
            error = error / np.maximum(np.abs(expected), np.finfo(float).tiny)
        error = np.where(both_nan | (found == expected), 0.0, np.where(np.isnan(error), np.inf, error))
        self.note(name, float((error if where is None else error[where]).max(initial=0.0)), tolerance)

    def note(self, name: str, error: float, tolerance: float) -> None:
        """Note an error that was computed elsewhere."""
        before = self.compared.get(name, (0.0, tolerance))[0]
        self.compared[name] = (max(before, error), tolerance)


def _numbers(values) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().to("cpu", torch.float64)
    return np.asarray(values, dtype=np.float64)
