"""Places for what other tools keep, where a user's home has none: on clusters and in containers it may be read-only.

They fail or complain otherwise, Jupyter with a traceback, though nothing that they keep there is needed later.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from bench.core.errors import BenchError

PLACES = {  # where they are unless these variables say otherwise
    "IPYTHONDIR": ".ipython",
    "JUPYTER_CONFIG_DIR": ".jupyter",
    "JUPYTER_DATA_DIR": ".local/share/jupyter",
    "JUPYTER_RUNTIME_DIR": ".local/share/jupyter/runtime",
    "MPLCONFIGDIR": ".config/matplotlib",
    "NUMBA_CACHE_DIR": ".cache/numba",
}


def settle() -> None:
    """Name folders that go with this process, for it and those that it starts, in the place of unusable ones.

    Raises
    ------
    BenchError
        If there is no folder for temporary files either.
    """
    missing = [name for name, place in PLACES.items() if not os.environ.get(name) and not _usable(place)]
    if not missing:
        return
    try:
        folder = Path(tempfile.mkdtemp(prefix="bench-home-"))
    except OSError as error:
        raise BenchError(f"{error.strerror or error}; name a folder for temporary files in TMPDIR.") from error
    atexit.register(_remove, folder, os.getpid())
    for name in missing:
        os.environ[name] = str(folder / name.lower())
        (folder / name.lower()).mkdir()


def _usable(place: str) -> bool:
    """Say whether a folder of the user's home can be written, or made."""
    home = os.path.expanduser("~")
    if not os.path.isabs(home):  # the user has none
        return False
    folder = Path(home, place)
    while not os.path.lexists(folder):
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # not one that was forked from it
        shutil.rmtree(folder, ignore_errors=True)
