"""Files that ``torch.save`` wrote, opened so that nothing in them can run; each way to be broken has its sentence."""

import io
import pickle
import pickletools
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint

from bench.core.errors import BenchError
from bench.weights.state_dict import listed

DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError)
GROWTH = 16  # times its own size that a file may unpack to; torch compresses nothing
SMALL = 1 << 30  # bytes that are unpacked in any case
AGAIN = "Download or copy it again."
CONVERT = (
    "If you trust who made it, open it where you trust it, and write its state dict with "
    "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')."
)


def open_archive(path: Path) -> Any:
    """Return what a zip file of ``torch.save`` holds, after comparing the check sums, which torch does not look at.

    Raises
    ------
    BenchError
        If the file is incomplete, damaged, no torch file, or as in `open_pickle`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            large = sum(entry.file_size for entry in entries)
            damaged = archive.testzip() if large <= _most(path) else None
    except DAMAGED_ZIP as error:
        size = path.stat().st_size
        raise BenchError(f"{path} ({size:,} bytes) is incomplete or damaged: {error}. {AGAIN}") from error
    check_growth(path, large)
    names = [entry.filename for entry in entries]
    if damaged:
        raise BenchError(f"{path} is damaged: the check sum of {damaged} in it does not match. {AGAIN}")
    if any("/code/" in name for name in names):
        raise BenchError(f"{path} is a TorchScript program, not weights alone. {CONVERT}")
    if not any(name.endswith("/data.pkl") for name in names):
        raise BenchError(f"{path} is a zip file but no torch checkpoint: it holds {listed(names, 4)}.")
    return open_pickle(path)


def check_growth(path: Path, n_bytes: int) -> None:
    """Raise a BenchError if a file would fill the memory with more than it can hold.

    Parameters
    ----------
    path
        The file.
    n_bytes
        Bytes that it says it stands for.
    """
    size = path.stat().st_size
    if n_bytes > _most(path):
        raise BenchError(
            f"{path} ({size:,} bytes) says that it stands for {n_bytes:,} bytes, {n_bytes // max(size, 1):,} times its "
            f"size, as no weights do: it was compressed, or made to fill the memory. {CONVERT}"
        )


def _most(path: Path) -> int:
    return max(SMALL, GROWTH * path.stat().st_size)


def open_pickle(path: Path) -> Any:
    """Return what a torch file holds if it is made of tensors, numbers, text and collections of them.

    Raises
    ------
    BenchError
        Naming what the pickle asks to import beyond that, or if it is incomplete or damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on how the pickle was written; what matters is an error
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        asked = _asked_for(path, error)
        if asked:
            raise BenchError(
                f"{path} was refused and nothing of it was run: it asks to import {listed(asked)}, and a pickle that "
                f"imports more than tensors can run any program. {CONVERT}"
            ) from error
        reason = str(error).splitlines()[0] if str(error) and not isinstance(error, pickle.UnpicklingError) else ""
        told = f": {reason}" if reason else ", or a pickle that torch.save did not write"
        raise BenchError(f"{path} ({path.stat().st_size:,} bytes) is incomplete or damaged{told}. {AGAIN}") from error


def _asked_for(path: Path, error: Exception) -> list[str]:
    """Return what a refused pickle would import, such as ``posix.system``."""
    if not isinstance(error, pickle.UnpicklingError):
        return []
    asked = re.findall(r"GLOBAL ([\w.]*\w)", str(error))
    with suppress(Exception):  # it lists zip files only
        asked += get_unsafe_globals_in_checkpoint(io.BytesIO(path.read_bytes()))
    if not asked and "Unsupported operand" in str(error):  # a plain pickle: torch stops at its first instruction
        asked = list(_imports(path.read_bytes()))
    return list(dict.fromkeys(asked))


def _imports(content: bytes) -> Iterator[str]:
    """Yield what a pickle imports, by reading its instructions without following them."""
    texts = ["", ""]
    with suppress(ValueError):  # where the pickle is broken off
        for instruction, argument, _ in pickletools.genops(content):
            if instruction.name == "GLOBAL":
                yield argument.replace(" ", ".")
            elif instruction.name == "STACK_GLOBAL":
                yield ".".join(texts[-2:])
            elif isinstance(argument, str):
                texts.append(argument)
