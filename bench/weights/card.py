"""What the first bytes of a safetensors file say: its metadata, its identity, a description; read without torch.

Format: https://huggingface.co/docs/safetensors (8 bytes of length, a JSON header, the tensors).
"""

import json
import math
import re
from collections import Counter
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.families import families, with_part
from bench.datasets.panglao import NAMES_SHA256
from bench.datasets.sources import sha256_of

MAX_HEADER = 100_000_000  # bytes, the format's own limit


def header(path: Path) -> dict | None:
    """Return the JSON header of a whole safetensors file; None if the file is another one, or incomplete."""
    size = Path(path).stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, MAX_HEADER):
            return None
        text = file.read(length)
    try:
        found = json.loads(text)
        ends = [entry["data_offsets"][1] for name, entry in found.items() if name != "__metadata__"]
        return found if size == 8 + length + max(ends, default=0) else None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None


def metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file; nothing for any other file, or one that is incomplete."""
    return (header(path) or {}).get("__metadata__") or {}


def identity(path: Path | str) -> str:
    """Return the 16 hex digits by which trials know a weights file.

    They are the metadata's ``identity``, which depends on what the weights were made of and not on who wrote the
    file, or else the first digits of the file's SHA-256. Kept until the file changes.

    Raises
    ------
    BenchError
        If there is no such file, or its ``identity`` is not of 16 hex digits.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise BenchError(f"No weights file {path}; give the path of a file.")
    stat = path.stat()
    return _identity(path.resolve(), stat.st_mtime_ns, stat.st_size)


@lru_cache
def _identity(path: Path, _modified: int, _size: int) -> str:
    found = metadata(path).get("identity")
    if found is not None and not re.fullmatch(r"[0-9a-f]{16}", found):
        raise BenchError(f"{path} says identity={found!r} where 16 hex digits were expected; write the file again.")
    return found or sha256_of(path)[:16]


def describe(path: Path) -> list[str]:
    """Return lines on a safetensors file: tensors, parameters, hashes, what was left out, genes, licence.

    Raises
    ------
    BenchError
        If the file is not a whole safetensors file.
    """
    found = header(path)
    if found is None:
        raise BenchError(
            f"{path} is not a whole safetensors file. A torch checkpoint is converted with: "
            f"bench weights MODEL --path {path} (MODEL is {' or '.join(f.name for f in with_part('converter'))})."
        )
    told = found.pop("__metadata__", None) or {}
    numbers = sum(math.prod(entry["shape"]) for entry in found.values() if "F" in entry["dtype"])
    size = f"{int(told['parameters']):,} parameters" if "parameters" in told else f"{numbers:,} floating-point numbers"
    lines = [f"{len(found):,} tensors, {size}", f"sha256 {sha256_of(path)}, identity {identity(path)}"]
    if "source_sha256" in told:
        lines.append(f"converted from {told.get('source', '?')}, sha256 {told['source_sha256']}")
    family = families().get(told.get("model", ""))
    of_family = family.load("described")(found, told) if family and family.described else None
    for name in ("origin", "run", "gene2vec", "epoch", "ignored", "renamed", "left_out", "licence"):
        lines += [f"{name.replace('_', ' ')}: {told[name]}"] if told.get(name) else []
    return [*lines, *(_of_genes(told) if of_family is None else of_family)]


def _of_genes(told: dict[str, str]) -> list[str]:
    if "genes" not in told:
        return ["genes: the file does not name them"]
    genes = json.loads(told["genes"])
    digest = sha256("\n".join(genes).encode()).hexdigest()
    known = "the published order" if digest == NAMES_SHA256 else "another order than the published one"
    return [f"genes: {len(genes):,}, order sha256 {digest} ({known}); library size over: {told.get('library', '?')}"]


def read_genes(path: Path) -> list[str]:
    """Return the gene symbols of a text file, one a line.

    Raises
    ------
    BenchError
        If the file is not text, is empty, or names a gene twice.
    """
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"--genes {path} cannot be read as text ({error}); give gene symbols, one a line.") from error
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or not names:
        what = f"names {', '.join(twice[:10])} more than once" if twice else "is empty"
        raise BenchError(f"--genes {path} {what}; expected one gene symbol a line, in the order of the positions.")
    return names
