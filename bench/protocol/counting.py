"""How many trials are recorded, told from the files' lines: pandas would take longer to import than this to count."""

import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from bench.protocol import place
from bench.protocol.place import own_files

NAMED = ("experiment", "tier", "key")


def n_recorded() -> dict[str, dict[str, int]]:
    """Return the number of trials of each tier by experiment, the user's own and the committed ones together.

    A file of the user's own that is no record is left out, and named in a warning.

    Raises
    ------
    BenchError
        If a committed file is not a record.
    """
    trials = {trial for path in sorted(place.committed_folder().glob("*.csv")) for trial in _trials(path, own=False)}
    trials |= {trial for path in own_files("*/*/*.csv") for trial in _trials(path, own=True)}
    counts = defaultdict(lambda: defaultdict(int))
    for experiment, tier, _ in sorted(trials):
        counts[experiment][tier] += 1
    return {experiment: dict(tiers) for experiment, tiers in counts.items()}


def _trials(path: Path, *, own: bool) -> set[tuple[str, ...]]:
    """Return experiment, tier and key of each trial in a file."""
    try:
        found = set(_lines(path))
    except (OSError, ValueError, IndexError, csv.Error):  # cut short, or no text at all
        found = set()
    if found and not (own and {key for *_, key in found} != {path.stem}):
        return found
    from bench.protocol import reading  # says what is wrong with it, and whether that can be passed over

    table = reading.read_one(path, own=own)
    return set() if table is None else set(table[list(NAMED)].itertuples(index=False, name=None))


def _lines(path: Path) -> Iterator[tuple[str, ...]]:
    with open(path, encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        header = next(lines, [])
        places, status = [header.index(column) for column in NAMED], header.index("status")
        for line in lines:
            if len(line) != len(header) or not (line[status] == "ok" or line[status].startswith("failed: ")):
                raise ValueError(f"line {lines.line_num} is not complete")
            yield tuple(line[place] for place in places)
