"""Prove that our implementations compute what the reference implementations did: golden cases, one verdict each.

A folder holds a JSON description and a safetensors file per case.  A case that is malformed, that nobody here knows, or
of which a result was not compared is a miss.
"""

from collections.abc import Iterator
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.families import families, imported
from bench.verify.verdict import Backend, Verdict

BASELINES = {"lr_liblinear": "bench.models.baselines.golden:liblinear"}
RESULTS = (
    "output.",
    "output2.",
    "output_",
    "probe.value_encoding",
    "grad_step0.",
    "final.",
    "batch.masked",
    "batch.labels",
    "table.",
)  # tensors to be compared


def cases() -> dict[str, str]:
    """Return the path of the function that compares each known case."""
    return {case: path for family in families().values() for case, path in family.golden.items()} | BASELINES


def verify(folder: Path, only: str = "") -> Iterator[Verdict]:
    """Yield a verdict for every case of a folder and every backend of this machine.

    Parameters
    ----------
    folder
        Where the cases are.
    only
        Beginning of the names wanted.

    Raises
    ------
    BenchError
        If the folder holds no such case.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BenchError(
            f"{folder} is not a folder; it should hold golden cases, NAME.json and NAME.safetensors, as "
            "tests/golden of a clone of the project does."
        )
    names = sorted({path.stem for path in folder.iterdir() if path.suffix in (".json", ".safetensors")})
    names = [name for name in names if name.startswith(only)]
    if not names:
        raise BenchError(f"{folder} holds no golden case{f' whose name begins with {only!r}' if only else ''}.")
    for name in names:
        for backend in _backends(name):
            yield _verdict(folder, name, backend)


def _verdict(folder: Path, name: str, backend: Backend) -> Verdict:
    try:
        if name not in cases():
            raise BenchError(f"nobody here knows this case; known are {', '.join(cases())}")
        case = imported("bench.verify.case:Case")(folder, name, backend)  # which needs torch
        imported(cases()[name])(case)
        forgotten = case.outputs(RESULTS) - set(case.compared)
        if forgotten or not case.compared:
            raise BenchError(f"not compared: {', '.join(sorted(forgotten)) or 'anything'}")
    except Exception as error:
        # A damaged file can fail in any way; whatever it is, this case is a miss and the next one follows.
        return Verdict(name, str(backend), reason=f"{type(error).__name__}: {' '.join(str(error).split())}"[:300])
    worst = max(case.compared, key=lambda output: case.compared[output].share)
    return Verdict(name, str(backend), worst, case.compared[worst])


def _backends(name: str) -> list[Backend]:
    backends = [Backend()]
    if any(name in family.on_gpu for family in families().values()):
        import torch

        backends.append(Backend("cpu", "bf16"))
        if torch.cuda.is_available():
            backends += [Backend("cuda"), Backend("cuda", "bf16")]
    return backends
