"""Settings that say which values make sense, so that a wrong one is said before anything runs.

A frozen dataclass derives from `Checked` and names those of its fields that have a bound or are a choice.  What its
parents declare holds as well.  Of a tuple every value is looked at, and there must be one.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any, ClassVar

from bench.core.errors import BenchError, Faults, unknown


class Checked:
    """Settings with bounds; those of a class are added to those of its parents."""

    sizes: ClassVar[tuple[str, ...]] = ()  # whole numbers from 1 on
    least: ClassVar[Mapping[str, float]] = {}  # by name, the smallest value
    above: ClassVar[Mapping[str, float]] = {}  # by name, what the value must exceed; it is finite
    shares: ClassVar[tuple[str, ...]] = ()  # at least 0 and below 1
    fractions: ClassVar[tuple[str, ...]] = ()  # from 0 to 1
    choices: ClassVar[Mapping[str, Collection[str]]] = {}
    multiples: ClassVar[tuple[tuple[str, str], ...]] = ()  # the first of the second

    def __post_init__(self):
        """Raise a BenchError that says all that is wrong."""
        faults = Faults()
        of_sizes = ((name, 1) for name in self._declared("sizes"))
        for name, least in (*of_sizes, *self._declared("least")):
            self._check(faults, name, lambda value, least=least: least <= value < math.inf, _at_least(least))
        for name, least in self._declared("above"):
            self._check(faults, name, lambda value, least=least: least < value < math.inf, f"above {least}")
        for name in self._declared("shares"):
            self._check(faults, name, lambda value: 0 <= value < 1, "at least 0 and below 1")
        for name in self._declared("fractions"):
            self._check(faults, name, lambda value: 0 <= value <= 1, "from 0 to 1")
        for name, known in self._declared("choices"):
            if getattr(self, name) not in known:
                faults.add(str(unknown(name, getattr(self, name), known)))
        faults.raised()
        for name, of in self._declared("multiples"):
            if getattr(self, name) % getattr(self, of):
                raise BenchError(
                    f"{name}={getattr(self, name)} should be a multiple of {of}={getattr(self, of)}; set both."
                )

    @classmethod
    def _declared(cls, kind: str) -> Iterator[Any]:
        """Yield what this class and its parents declare of a kind; pairs, where it has values by name."""
        for parent in reversed(cls.__mro__):
            found = vars(parent).get(kind, ())
            yield from found.items() if isinstance(found, Mapping) else found

    def _check(self, faults: Faults, name: str, fits, expected: str) -> None:
        value = getattr(self, name)
        values = value if isinstance(value, tuple) else (value,)
        if not values or not all(map(fits, values)):
            several = "one or more, each " if isinstance(value, tuple) else ""
            faults.add(f"{name}={value} should be {several}{expected}.")


def _at_least(least: float) -> str:
    return f"at least {least}" if isinstance(least, float) else f"a whole number of at least {least}"
