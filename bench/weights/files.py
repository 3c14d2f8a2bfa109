"""Checkpoints in and out: safetensors and torch files are read without executing anything; safetensors is written.

A pickle may run any program when it is opened, so torch files are read with ``weights_only=True`` and nothing else.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bench.core import atomic
from bench.core.errors import BenchError
from bench.datasets.sources import LFS_POINTER, sha256_of
from bench.weights.state_dict import listed, unwrap, without_prefix
from bench.weights.torch_file import AGAIN, check_growth, open_archive, open_pickle


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The tensors of a file by name, and where they are from."""

    tensors: dict[str, Tensor]  # on the CPU
    metadata: dict[str, str]
    sha256: str  # hex digest of the file
    path: Path

    @property
    def origin_sha256(self) -> str:
        """Hex SHA-256 of the file that was published: of the original, where this one was converted from it."""
        return (self.metadata.get("source_sha256") or self.sha256).split()[0]

    def none_loaded(self, only: str) -> str:
        """Return in words, as records have it, that a network takes ``only`` what is named of these, and no tensor."""
        return f"0 of {len(self.tensors)} tensors, only {only}, sha256 {self.origin_sha256[:16]}"


def read(path: Path | str, pick: Callable[[Any], Any] = lambda found: found) -> Checkpoint:
    """Return the tensors of a ``.safetensors`` file or a torch checkpoint; the content decides, not the suffix.

    A dictionary around the state dict (``model_state_dict``, ``state_dict``, ``model``) is taken off, and so is a
    prefix ``module.`` (DDP) or ``_orig_mod.`` (compiled) that all names have. What else a torch file holds is not
    read, but named in ``metadata["ignored"]``; a whole-numbered ``epoch`` is kept.

    Parameters
    ----------
    path
        The file.
    pick
        Chooses among what a torch file holds, where that is more than one set of weights.

    Raises
    ------
    BenchError
        If the file is empty, incomplete, damaged or no checkpoint, asks to run code, holds several sets of weights,
        or has values that are not finite.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise BenchError(f"{path} is {'a folder' if path.is_dir() else 'not there'}; give the path of a weights file.")
    try:
        found, metadata = _content(path, pick)
        digest = sha256_of(path)
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error.strerror or error}.") from error
    tensors = without_prefix(path, found)
    check_growth(path, sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()))
    check_plain(str(path), tensors)
    return Checkpoint(tensors, metadata, digest, path)


def save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file that is there whole or not at all; equal content gives equal bytes.

    Parameters
    ----------
    path
        Where to; a file that is there is replaced.
    tensors
        Written contiguous, in their own dtype (float64 stays), from whatever device.
    metadata
        Text by text, such as ``genes`` (JSON), ``library``, ``identity``.

    Raises
    ------
    BenchError
        If a value is not finite, the metadata is not text, or the folder cannot be written.
    """
    wrong = [repr(key) for key, value in metadata.items() if not (isinstance(key, str) and isinstance(value, str))]
    if wrong:
        raise BenchError(f"Metadata of {path} must be text, so write numbers and lists as JSON: {listed(wrong)}.")
    check_plain(f"What is to be written to {path}", tensors)
    whole = {name: t.detach().to("cpu").clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    data = safetensors.torch.save(whole, dict(metadata))
    try:
        atomic.write(path, lambda file: _write_sorted(file, data), replace=True)
    except BenchError as error:
        raise cannot_write(path.parent, error.__cause__ or error) from error


def check_plain(what: str, tensors: Mapping[str, Tensor]) -> None:
    """Raise a BenchError that names the tensors which are not dense numbers, or not finite."""
    if not tensors:
        raise BenchError(f"{what} has no tensors.")
    odd = [n for n, t in tensors.items() if t.layout is not torch.strided or t.is_quantized or t.is_meta]
    if odd:
        raise BenchError(f"{what} has sparse, quantised or empty-shell tensors, not dense numbers: {listed(odd)}.")
    bad = [n for n, t in tensors.items() if (t.is_floating_point() or t.is_complex()) and not torch.isfinite(t).all()]
    if bad:
        raise BenchError(
            f"{what} has values that are not finite (NaN or infinite) in {len(bad)} of {len(tensors)} tensors: "
            f"{listed(bad)}. The training that made them diverged, or the file is damaged: use an earlier checkpoint."
        )


def cannot_write(folder: Path, error: BaseException) -> BenchError:
    """Return the sentence for a folder of weights that is full or may not be written."""
    reason = getattr(error, "strerror", None) or error
    return BenchError(
        f"Weights cannot be written to {folder}: {reason}. Free some space or make it writable; the cache is "
        "elsewhere if you name another folder in BENCH_CACHE."
    )


def _write_sorted(file: IO[bytes], data: bytes) -> None:
    """Write with a sorted header: the library's order of metadata differs from process to process."""
    start = 8 + int.from_bytes(data[:8], "little")
    text = json.dumps(json.loads(data[8:start]), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    file.write(len(text).to_bytes(8, "little") + text)
    file.write(memoryview(data)[start:])


def _content(path: Path, pick: Callable[[Any], Any]) -> tuple[dict[str, Tensor], dict[str, str]]:
    with open(path, "rb") as file:
        start = file.read(64)
    if not start:
        raise BenchError(f"{path} is empty (0 bytes). {AGAIN}")
    if start.startswith(LFS_POINTER):
        raise BenchError(f"{path} is a Git LFS pointer, a few lines of text instead of the weights. {AGAIN}")
    if start.lstrip()[:5].lower() in (b"<!doc", b"<html"):
        raise BenchError(f"{path} is a web page, saved in place of the weights (a sign-in or quota page?). {AGAIN}")
    if start[8:9] == b"{":
        return _from_safetensors(path)
    if start.startswith(b"PK\x03\x04"):
        return unwrap(path, pick(open_archive(path)))
    if not start.startswith(b"\x80"):
        raise BenchError(f"{path} is no checkpoint: it begins with {start[:8]!r}, not like safetensors or torch files.")
    return unwrap(path, pick(open_pickle(path)))


def _from_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, "pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except SafetensorError as error:
        size = path.stat().st_size
        raise BenchError(f"{path} ({size:,} bytes) is incomplete or damaged: {error}. {AGAIN}") from error
