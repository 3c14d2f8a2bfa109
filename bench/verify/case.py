"""One golden case: a JSON description and a safetensors file, and the comparison of what we compute with it."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from bench.core.errors import BenchError
from bench.verify.verdict import Backend, Compared


@dataclass
class Case:
    """Tensors of a golden case, and the largest error of every output compared so far."""

    folder: Path
    name: str
    backend: Backend = field(default_factory=Backend)
    compared: dict[str, Compared] = field(default_factory=dict)  # output -> how far it is

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

    def compare(
        self, name: str, found, tolerance: float, *, relative: bool = False, of_largest: bool = False, where=None
    ) -> None:
        """Note the largest difference between a result and the case's tensor of that name.

        Parameters
        ----------
        name
            Such as ``output.logits``.
        found
            Of the same shape, anything that NumPy takes.
        tolerance
            Largest difference allowed between numbers of size one, which grows with the largest expected value above
            that, unless ``relative``; 0 asks for equality.
        relative
            Divide each difference by the size of the expected value instead.
        of_largest
            The tolerance is a share of the largest expected value, also where that is below one.
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
        counted = ... if where is None else where
        size = size_of(expected[counted], least=0.0 if of_largest else 1.0) if tolerance and not relative else 1.0
        self.note(name, float(error[counted].max(initial=0.0)), tolerance, size)

    def note(self, name: str, error: float, tolerance: float, size: float = 1.0) -> None:
        """Note an error that was computed elsewhere, between numbers of a size, where the tolerance grows with it."""
        before = self.compared[name].error if name in self.compared else 0.0
        error = float("inf") if np.isnan(error) else error  # of which no maximum is certain
        self.compared[name] = Compared(max(before, error), tolerance, size)


def size_of(expected, least: float = 1.0) -> float:
    """Return the largest magnitude among finite values, or the least size where all are smaller.

    Rounding is a share of the numbers that are added up: two processors that add in another order differ in proportion
    to the largest.
    """
    expected = _numbers(expected)
    return float(np.abs(expected[np.isfinite(expected)]).max(initial=least))


def _numbers(values) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().to("cpu", torch.float64)
    return np.asarray(values, dtype=np.float64)
