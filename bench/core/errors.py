"""The one error a user is meant to read: what was found, what was expected, what to do."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class BenchError(ValueError):
    """A mistake that the user can put right; the command line prints it without a traceback."""


def unknown(kind: str, name: str, valid: Iterable[str]) -> BenchError:
    """Return the error for a name that is not among the valid ones, nearest names first."""
    valid = sorted(map(str, valid))
    near = get_close_matches(str(name), valid, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    if {part.strip() for part in str(name).split(",")[1:]} & {*valid}:
        hint = " Several are written as a list, such as '[a, b]'."
    return BenchError(f"Unknown {kind} {str(name)!r}.{hint} Valid: {', '.join(valid) or 'none'}.")


def reason_of(error: BaseException) -> str:
    """Return the kind of an error and what it says, in one line; some say nothing, and some cannot even do that."""
    try:
        return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
    except Exception:  # raised by the error's own method
        return type(error).__name__


def listed(names: Iterable[str], most: int = 20) -> str:
    """Return names with commas, beyond ``most`` of them only how many there are."""
    names = list(names)
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


class Faults:
    """What is wrong with a request, collected so that all of it is said at once."""

    def __init__(self):
        self.said: list[str] = []

    def add(self, sentence: str, about: str = "") -> None:
        """Take a sentence, after what it is about where it does not say so itself."""
        said = re.search(rf"(?<!\w){re.escape(about)}(?!\w)", sentence)
        sentence = sentence if said or not about else f"{about}: {sentence}"
        self.said += [sentence] if sentence not in self.said else []

    @contextmanager
    def noted(self, about: str = "") -> Iterator[None]:
        """Take what is raised in here."""
        try:
            yield
        except BenchError as error:
            self.add(str(error), about)

    def raised(self) -> None:
        """Raise all of it, a line each, if there is any."""
        if self.said:
            raise BenchError("\n".join(self.said))
