"""Where the files of this project lie, and those that it makes for a user."""

import os
from pathlib import Path

from bench.core.errors import BenchError

ROOT = Path(__file__).resolve().parents[2]  # of a checkout; the folder of all packages where this one is installed
NAME = "scfm-bench"  # of the folder in the system's places


def is_checkout() -> bool:
    """Return whether the package is run from the project's own folder, not installed elsewhere."""
    return (ROOT / "pyproject.toml").is_file()


def named(variable: str) -> Path | None:
    """Return the folder that an environment variable names, or None."""
    value = os.environ.get(variable)
    return Path(value).expanduser().absolute() if value else None


def system_folder(kind: str, variable: str) -> Path:
    """Return the system's place for a user's files.

    Parameters
    ----------
    kind
        ``cache`` or ``data``.
    variable
        The environment variable that names another folder.

    Raises
    ------
    BenchError
        If this user has no home folder.
    """
    import platformdirs  # here: a machine that only pretrains need not have it

    folder = Path(getattr(platformdirs, f"user_{kind}_dir")(NAME))
    if not folder.is_absolute():
        raise BenchError(f"This user has no home folder, so there is no place for files; name one in {variable}.")
    return folder
