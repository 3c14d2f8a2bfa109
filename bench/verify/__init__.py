"""Prove that our implementations compute what the reference implementations did: golden cases, one verdict each.

A folder holds a JSON description and a safetensors file per case.  A case that is malformed, that nobody here knows, or
of which a result was not compared is a miss.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from bench.errors import BenchError
from bench.verify.case import Backend, Case

CASES = {  # name -> function that compares, imported when it is needed
    "scbert_pretrain": "bench.verify.scbert:masked_language",
    "scbert_pretrain_nog2v": "bench.verify.scbert:masked_language",
    "scbert_embed": "bench.verify.scbert:masked_language",
    "scbert_classify": "bench.verify.scbert:classify",
    "scbert_finetune": "bench.verify.scbert:finetune",
    "scbert_mask": "bench.verify.scbert:mask",
    "scbert_schedule": "bench.verify.scbert:schedule",
    "scbert_preprocess": "bench.verify.scbert:preprocess",
    "scbert_redraw": "bench.verify.scbert:redraw",
    "scgpt_forward": "bench.verify.scgpt:forward",
    "scgpt_forward_keys_flash": "bench.verify.scgpt:forward",
    "scgpt_forward_keys_impl": "bench.verify.scgpt:forward",
    "scgpt_mvc": "bench.verify.scgpt:forward",
    "scgpt_finetune": "bench.verify.scgpt:finetune",
    "scgpt_binning": "bench.verify.scgpt_inputs:bins",
    "scgpt_tokenize": "bench.verify.scgpt_inputs:tokenize",
    "scgpt_losses": "bench.verify.scgpt_inputs:loss",
    "lr_liblinear": "bench.verify.lr:liblinear",
}
ON_GPU = {"scbert_pretrain", "scbert_pretrain_nog2v", "scbert_embed", "scbert_classify", "scbert_finetune"}
ON_GPU |= {"scgpt_forward", "scgpt_forward_keys_flash", "scgpt_forward_keys_impl", "scgpt_mvc", "scgpt_finetune"}
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


@dataclass(frozen=True)
class Verdict:
    """What came of a case on one backend: the output nearest to its tolerance, or beyond it."""

    case: str
    backend: str
    output: str = ""
    error: float = float("inf")
    tolerance: float = 0.0
    reason: str = ""  # why nothing could be compared

    @property
    def passed(self) -> bool:
        """Whether everything was compared and lies within its tolerance."""
        return not self.reason and self.error <= self.tolerance


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
        raise BenchError(f"{folder} is not a folder; it should hold golden cases, NAME.json and NAME.safetensors.")
    names = sorted({path.stem for path in folder.iterdir() if path.suffix in (".json", ".safetensors")})
    names = [name for name in names if name.startswith(only)]
    if not names:
        raise BenchError(f"{folder} holds no golden case{f' whose name begins with {only!r}' if only else ''}.")
    for name in names:
        for backend in _backends(name):
            yield _verdict(folder, name, backend)


def _verdict(folder: Path, name: str, backend: Backend) -> Verdict:
    try:
        if name not in CASES:
            raise BenchError(f"nobody here knows this case; known are {', '.join(CASES)}")
        module, _, function = CASES[name].partition(":")
        case = Case(folder, name, backend)
        getattr(import_module(module), function)(case)
        forgotten = case.outputs(RESULTS) - set(case.compared)
        if forgotten or not case.compared:
            raise BenchError(f"not compared: {', '.join(sorted(forgotten)) or 'anything'}")
    except Exception as error:
        # A damaged file can fail in any way; whatever it is, this case is a miss and the next one follows.
        return Verdict(name, str(backend), reason=f"{type(error).__name__}: {' '.join(str(error).split())}"[:300])
    worst = max(case.compared, key=lambda output: _ratio(*case.compared[output]))
    return Verdict(name, str(backend), worst, *case.compared[worst])


def _ratio(error: float, tolerance: float) -> float:
    return error / tolerance if tolerance else float("inf") if error else 0.0


def _backends(name: str) -> list[Backend]:
    backends = [Backend()]
    if name in ON_GPU:
        import torch

        if torch.cuda.is_available():
            backends += [Backend("cuda"), Backend("cuda", "bf16")]
    return backends
