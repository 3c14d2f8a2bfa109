"""Put tensors into a module with every one of them accounted for: none is left random or dropped without being named.

Loading that keeps "what matches" has left whole attention layers random in published experiments, without a word.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from bench.core.errors import BenchError
from bench.weights.files import Checkpoint
from bench.weights.state_dict import listed

Rename = Mapping[str, str] | Callable[[str], str]


@dataclass(frozen=True)
class Audit:
    """What became of every tensor; the text is for records and pages."""

    loaded: int  # tensors copied into the module
    total: int  # tensors in the file
    missing: tuple[str, ...] = ()  # in the module only: they keep the values they had
    unused: tuple[str, ...] = ()  # in the file only
    sha256: str = ""  # of the published file

    def __str__(self) -> str:
        text = f"{self.loaded} of {self.total} tensors"
        text += f", sha256 {self.sha256[:16]}" if self.sha256 else ""
        text += f"; not in the file: {listed(self.missing)}" if self.missing else ""
        return text + (f"; not in the module: {listed(self.unused)}" if self.unused else "")


def load_into(
    module: nn.Module,
    tensors: Checkpoint | Mapping[str, Tensor],
    *,
    allow_missing: Iterable[str] = (),
    allow_unused: Iterable[str] = (),
    rename: Rename | None = None,
) -> Audit:
    """Copy tensors into a module, all or none.

    Parameters
    ----------
    module
        Its parameters and persistent buffers are wanted; they keep their dtype and device.
    tensors
        A `Checkpoint`, whose hash goes into the audit, or a dictionary.
    allow_missing, allow_unused
        Patterns such as ``to_out.*`` of names that may be in the module only, in the file only.
    rename
        From the file's names to the module's: a dictionary for some of them, or a function of any name.

    Raises
    ------
    BenchError
        Naming every tensor that is missing, unused, of another shape or not of the same kind of number, each one
        unless allowed; the module is then unchanged.
    """
    file = tensors if isinstance(tensors, Checkpoint) else None
    given = _renamed(tensors.tensors if file else tensors, rename)
    wanted = module.state_dict()
    missing = tuple(name for name in wanted if name not in given)
    unused = tuple(name for name in given if name not in wanted)
    cast, problems = {}, []
    for name in [name for name in wanted if name in given]:
        cast[name], problem = _cast(name, given[name], wanted[name])
        problems += [problem] if problem else []
    left, dropped = _not_allowed(missing, allow_missing), _not_allowed(unused, allow_unused)
    problems += _tied(cast, wanted) if not problems else []
    if left or dropped or problems:
        where = f"{file.path} does not fit {type(module).__name__}" if file else f"No fit for {type(module).__name__}"
        raise BenchError(f"{where}; nothing was loaded. {_explain(left, dropped, problems, missing, unused)}")
    module.load_state_dict(cast, strict=False)
    _verify(module, cast)
    return Audit(len(cast), len(given), missing, unused, file.origin_sha256 if file else "")


def _renamed(tensors: Mapping[str, Tensor], rename: Rename | None) -> dict[str, Tensor]:
    stale = [name for name in rename if name not in tensors] if isinstance(rename, Mapping) else []
    if stale:
        raise BenchError(f"rename has names that the file has not: {listed(stale)}. Nothing was loaded; correct them.")
    if isinstance(rename, Mapping):
        names = {name: rename.get(name, name) for name in tensors}
    else:
        names = {name: rename(name) if rename else name for name in tensors}
    sources: dict[str, list[str]] = {}
    for old, new in names.items():
        sources.setdefault(new, []).append(old)
    clashes = [f"{' and '.join(old)} to {new}" for new, old in sources.items() if len(old) > 1]
    if clashes:
        raise BenchError(f"rename maps several tensors to one name: {listed(clashes)}. Nothing was loaded.")
    return {new: tensors[old] for old, new in names.items()}


def _cast(name: str, given: Tensor, wanted: Tensor) -> tuple[Tensor | None, str | None]:
    """Return the tensor in the module's dtype, and what is wrong with it, if anything."""
    if not isinstance(wanted, Tensor) or wanted.is_meta:
        return None, f"{name}: the module has no memory for it"
    if given.shape != wanted.shape:
        return None, f"{name}: shape {tuple(given.shape)} in the file, {tuple(wanted.shape)} in the module"
    if _kind(given) != _kind(wanted):
        return None, f"{name}: {given.dtype} in the file, {wanted.dtype} in the module"
    cast = given.to(wanted.dtype)
    exact = _kind(given) in ("floating point", "complex")  # these may be rounded, but not overflow
    if not torch.isfinite(cast).all() if exact else not torch.equal(cast.to(given.dtype), given):
        return None, f"{name}: values of {given.dtype} in the file that {wanted.dtype} cannot hold"
    return cast, None


def _kind(tensor: Tensor) -> str:
    if tensor.dtype == torch.bool:
        return "bool"
    return "floating point" if tensor.is_floating_point() else "complex" if tensor.is_complex() else "integer"


def _tied(cast: dict[str, Tensor], wanted: dict[str, Tensor]) -> list[str]:
    """Return the pairs of names that share one memory in the module and differ in the file: the last would win."""
    first: dict[tuple, str] = {}
    problems = []
    for name, tensor in cast.items():
        place = (wanted[name].device, wanted[name].data_ptr(), wanted[name].shape)
        other = first.setdefault(place, name)
        if tensor.numel() and other != name and not torch.equal(tensor, cast[other]):
            problems.append(f"{other} and {name}: one tensor in the module, two different ones in the file")
    return problems


def _verify(module: nn.Module, cast: dict[str, Tensor]) -> None:
    """Read back what was written; a module with hooks or parametrisations may keep something else."""
    after = module.state_dict()
    changed = [name for name, tensor in cast.items() if not torch.equal(after[name].to(tensor.device), tensor)]
    if changed:
        raise BenchError(
            f"{type(module).__name__} does not hold what was loaded into {listed(changed)}: its own hooks changed it. "
            "Do not use this module; load before wrapping or parametrising it."
        )


def _not_allowed(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    return [name for name in names if not any(fnmatchcase(name, pattern) for pattern in patterns)]


def _explain(left: list[str], dropped: list[str], problems: list[str], missing: tuple, unused: tuple) -> str:
    parts = []
    if left:
        parts.append(f"{len(left)} in the module only, which would stay random: {listed(left)}.")
    if dropped:
        parts.append(f"{len(dropped)} in the file only, which would be dropped: {listed(dropped)}.")
    if problems:
        parts.append(f"{len(problems)} that do not fit: {listed(problems)}.")
    if left and dropped:
        parts.append(_prefix_hint(missing, unused) or "If only names differ, map them with rename.")
    if left or dropped:
        parts.append(
            "If that is meant, name them in allow_missing or allow_unused; otherwise it is another model's file."
        )
    else:
        parts.append("The model was made with other sizes than the file: make it with the file's.")
    return " ".join(parts)


def _prefix_hint(missing: Iterable[str], unused: Iterable[str]) -> str | None:
    """Return the remedy if file and module differ by one prefix."""
    missing, unused = set(missing), sorted(unused)
    for name in [other for other in missing if unused[0].endswith(f".{other}")]:
        prefix = unused[0].removesuffix(name)
        if all(other.startswith(prefix) and other.removeprefix(prefix) in missing for other in unused):
            return f"The file has {prefix!r} in front of the names: rename=lambda name: name.removeprefix({prefix!r})."
    for name in [other for other in missing if other.endswith(f".{unused[0]}")]:
        prefix = name.removesuffix(unused[0])
        if all(prefix + other in missing for other in unused):
            return f"The module has {prefix!r} in front of the names: rename=lambda name: {prefix!r} + name."
    return None
