"""What lies beside the tensors of a scGPT checkpoint: its sizes in ``args.json``, its tokens in ``vocab.json``.

Known pitfall: the folders that are copied under the name scGPT are not all of one pretraining. The paper's is the run
of May 2023; the continual pretraining of December 2023 has a network of the same sizes, and other weights.
"""

import json
from collections import Counter
from pathlib import Path

from bench.core.errors import BenchError, listed
from bench.models.scgpt.binning import N_BINS, SPECIAL

RUN = "cellxgene_census_human-May23-08-36-2023"  # last part of save_dir in the published args.json
SERIES = "cellxgene_census_human-"  # the authors' pretraining runs on all human cells
REQUIRED = ("nlayers", "nheads", "embsize", "d_hid")
INPUT = {"input_style": "binned", "input_emb_style": "continuous", "n_bins": N_BINS}  # what the network is fed with
DISPLAYED = ("n_bins", "mask_value", "pad_value", "max_seq_len")  # numbers


def read_args(path: Path) -> dict:
    """Return what ``args.json`` says, with the sizes that a network needs.

    Raises
    ------
    BenchError
        If it is no such file, lacks a size, or describes a model that is not fed with bins.
    """
    args = _read(path, "the settings of a pretraining, such as nlayers and nheads")
    wrong = [
        f"{key} is {json.dumps(args[key])}" if key in args else f"{key} is not there"
        for key in REQUIRED
        if not _is_count(args.get(key))
    ]
    if wrong:
        raise BenchError(
            f"{path}: {', '.join(wrong)}; a whole number above 0 was expected, without which the weights cannot be "
            "used. Take the args.json that was saved with them."
        )
    if args["embsize"] % args["nheads"]:
        raise BenchError(f"{path}: embsize={args['embsize']} cannot be divided among nheads={args['nheads']} heads.")
    other = [f"{key}={args[key]!r}, not {known!r}" for key, known in INPUT.items() if args.get(key, known) != known]
    if other:
        raise BenchError(f"{path} is of a scGPT that is fed in another way than the paper's: {'; '.join(other)}.")
    return args


def read_vocabulary(path: Path) -> list[str]:
    """Return the tokens of ``vocab.json`` in the order of their ids.

    Raises
    ------
    BenchError
        If it is no such file, its ids are not 0, 1, 2, ... each once, or a special token is not there.
    """
    ids = _read(path, "tokens with their ids")
    counts = Counter(number for number in ids.values() if isinstance(number, int) and not isinstance(number, bool))
    lacking = [str(number) for number in range(len(ids)) if number not in counts]
    if lacking:
        twice = [str(number) for number, count in counts.items() if count > 1]
        said = f"; there twice: {listed(twice, 5)}" if twice else ""
        raise BenchError(
            f"{path} has {len(ids):,} tokens, whose ids should be 0 to {len(ids) - 1:,}, each once. Not there: "
            f"{listed(lacking, 5)}{said}. Take the vocab.json that belongs to the checkpoint."
        )
    special = [token for token in SPECIAL if token not in ids]
    if special:
        raise BenchError(f"{path} lacks {', '.join(special)}, which scGPT needs. Take the published vocab.json.")
    return sorted(ids, key=ids.__getitem__)


def check_run(path: Path, args: dict, continual: bool) -> None:
    """Raise a BenchError if the weights are of a continual pretraining and that was not asked for, or the reverse."""
    run = run_of(args)
    if is_continual(args) and not continual:
        started = f", begun from {Path(str(args['load_model'])).name}" if args.get("load_model") else ""
        raise BenchError(
            f"{path} is of another pretraining than the paper's: save_dir ends in {run}{started}, the paper's in "
            f"{RUN}. The sizes may agree, the weights do not. Take the folder of u-cellm/scGPT-whole-human, or accept "
            "these weights under a name of their own with --continual."
        )
    if continual and not is_continual(args):
        raise BenchError(
            f"--continual is for the pretraining that went on after the paper's, but {path} is of {run or 'no run'}. "
            "Leave it out."
        )


def is_continual(args: dict) -> bool:
    """Say whether the authors' pretraining on all human cells was another run than the paper's."""
    return run_of(args).startswith(SERIES) and run_of(args) != RUN


def run_of(args: dict) -> str:
    """Return the name of the pretraining run, the last part of ``save_dir``; empty if it is not told."""
    return Path(str(args.get("save_dir") or "")).name


def metadata_of(args: dict, vocabulary: list[str]) -> dict[str, str]:
    """Return what a weights file says of its tokens, heads and values."""
    told = {"genes": json.dumps(vocabulary), "heads": str(args["nheads"]), "library": "bins", "run": run_of(args)}
    return told | {key: json.dumps(args[key]) for key in DISPLAYED if isinstance(args.get(key), (int, float))}


def _is_count(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number > 0


def _read(path: Path, expected: str) -> dict:
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text)
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:  # not text, or not JSON
        start = path.read_bytes()[:64].lstrip().lower()
        page = " It is a web page, saved in place of the file." if start.startswith((b"<!doc", b"<html")) else ""
        raise BenchError(f"{path} is not JSON ({error}).{page} Download or copy it again.") from error
    if not isinstance(found, dict) or not found:
        raise BenchError(f"{path} holds {type(found).__name__} {str(found)[:40]}; expected {expected}.")
    return found


def described(header: dict, told: dict[str, str]) -> list[str]:
    """Return lines on layers and vocabulary, from the header and the metadata of a converted file."""
    lines = []
    if "encoder.embedding.weight" in header:
        depth = len({name.split(".")[2] for name in header if name.startswith("transformer_encoder.layers.")})
        width = header["encoder.embedding.weight"]["shape"][1]
        lines.append(f"{depth} layers, {told.get('heads', '?')} heads, width {width}")
    if "genes" not in told:
        return [*lines, "genes: the file does not name them"]
    genes = json.loads(told["genes"])
    special = [token for token in SPECIAL if token in genes]
    more = "".join(f"; {key} {told[key]}" for key in ("n_bins", "mask_value", "pad_value") if key in told)
    said = f"vocabulary: {len(genes):,} tokens, {len(genes) - len(special):,} genes and {', '.join(special)}{more}"
    return [*lines, said]
