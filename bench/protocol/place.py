"""Where the user's own results lie: out of reach of what cleans a build, and found where earlier versions put them.

``EXPERIMENT/TIER/KEY.csv``, predictions, maps and logs beside them in ``KEY.npz``, ``KEY.map.npz`` and ``KEY.log``,
executed notebooks in ``notebooks``.  They are in ``results`` of a checkout, in the user's data folder where the package
is installed, or where ``BENCH_RESULTS`` says.
"""

import os
import shutil
import sys
import time
from pathlib import Path

from bench.core.atomic import cannot_write
from bench.core.places import ROOT, is_checkout, named, system_folder

VARIABLE = "BENCH_RESULTS"


def own_folder() -> Path:
    """Return the folder of the user's own results."""
    if folder := named(VARIABLE):
        return folder
    return ROOT / "results" if is_checkout() else system_folder("data", VARIABLE) / "results"


def committed_folder() -> Path:
    """Return the folder of the records that are part of the project."""
    return ROOT / "chapters" / "results"


def notebooks_folder() -> Path:
    """Return the folder of executed notebooks."""
    return own_folder() / "notebooks"


def earlier_folder() -> Path | None:
    """Return where results lay before, among what builds make; None where ``BENCH_RESULTS`` names the only place."""
    return ROOT / "_build" / "results" if is_checkout() and named(VARIABLE) is None else None


def own_files(pattern: str) -> list[Path]:
    """Return the files of a pattern such as ``*/*/*.csv``; of two for one trial the newer one, in order of names."""
    newest: dict[Path, Path] = {}
    for folder in filter(None, (own_folder(), earlier_folder())):
        for path in folder.glob(pattern):
            name = path.relative_to(folder)
            newest[name] = _newer(newest.get(name), path)
    return [newest[name] for name in sorted(newest)]


def own_file(name: str | Path) -> Path | None:
    """Return one file of the user's own results, the newer one of two, or None where there is none."""
    found = None
    for folder in filter(None, (own_folder(), earlier_folder())):
        if os.path.lexists(folder / name):
            found = _newer(found, folder / name)
    return found


def tell() -> None:
    """Say on standard error that results lie where a clean of the book deletes them, if any do."""
    folder = earlier_folder()
    if folder and (n_trials := sum(1 for _ in folder.glob("*/*/*.csv"))):
        said = f"{n_trials} of your own records lie in {folder}, where `jupyter-book clean --all` would delete them. "
        said += f"They are read from there; move them to {own_folder()} with: bench records --gather"
        print(said, file=sys.stderr)


def gather() -> int:
    """Move results and executed notebooks from where they lay before; return how many files.

    Where a file is in both places the newer one stays.  Killed at any moment it loses nothing: what has not been moved
    is found where it is.

    Raises
    ------
    BenchError
        If the folder cannot be written.
    """
    if (before := earlier_folder()) is None:
        return 0
    moves = {path: own_folder() / path.relative_to(before) for path in before.glob("*/*/*.*")}
    moves |= {path: notebooks_folder() / path.name for path in (before.parent / "runs").glob("*.ipynb")}
    try:
        for path, target in sorted(moves.items(), reverse=True):  # predictions before their record
            target.parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(target) or _newer(target, path) == path:
                shutil.move(path, target)
            else:
                path.unlink()
    except OSError as error:
        raise cannot_write(own_folder(), error) from error
    return len(moves)


def _newer(one: Path | None, other: Path) -> Path:
    return other if one is None or _time(other) > _time(one) else one


def _time(path: Path) -> float:
    """Return when a file was written, in seconds; never, where its date is in the future: some clock was wrong."""
    try:
        written = os.lstat(path).st_mtime
    except OSError:  # gone meanwhile
        return 0.0
    return written if written <= time.time() + 60 else 0.0
