"""Where the files of this project lie, and those that it makes for a user."""

import os
from contextlib import suppress
from pathlib import Path

from bench.core.errors import BenchError

ROOT = Path(__file__).resolve().parents[2]  # of a checkout; the folder of all packages where this one is installed
NAME = "scfm-bench"  # of the folder in the system's places


def is_checkout() -> bool:
    """Return whether the package is run from the project's own folder, not installed elsewhere."""
    # Both, for there are packages that install the first of them beside themselves.
    return (ROOT / "pyproject.toml").is_file() and (ROOT / "chapters").is_dir()


def needs_a_clone(what: str) -> BenchError:
    """Return the error for what the installed package does not bring, such as ``Chapters need``."""
    return BenchError(
        f"{what} a clone of the project, and this package is installed without one: in a clone, pip install -e . "
        "and then this command again."
    )


def to_run(chapter: str, options: str = "") -> str:
    """Return the command that runs a chapter, for a message; where the package has none it says that a clone has."""
    command = f"bench run chapters/{chapter}.md {options}".rstrip()
    return command if is_checkout() else f"{command} (in a clone of the project)"


def named(variable: str) -> Path | None:
    """Return the folder that an environment variable names, or None.

    Raises
    ------
    BenchError
        If it begins with the home of somebody who has none.
    """
    value = os.environ.get(variable)
    try:
        return Path(value).expanduser().absolute() if value else None
    except RuntimeError as error:  # nobody knows whose home that is
        raise BenchError(f"{variable}={value} cannot be found: {error} Name the whole path.") from error


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

    with suppress(RuntimeError):  # of newer versions; older ones return a folder named ~
        folder = getattr(platformdirs, f"user_{kind}_path")(NAME)
        if folder.is_absolute():
            return folder
    raise BenchError(f"This user has no home folder to keep files in; name a folder in {variable}.")
