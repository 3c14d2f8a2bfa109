"""The one error a user is meant to read: what was found, what was expected, what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class BenchError(ValueError):
    """A mistake that the user can put right; the command line prints it without a traceback."""


def unknown(kind: str, name: str, valid: Iterable[str]) -> BenchError:
    """Return the error for a name that is not among the valid ones, nearest names first."""
    valid = sorted(map(str, valid))
    near = get_close_matches(str(name), valid, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
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
