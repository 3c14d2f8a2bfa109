"""Check a scGPT checkpoint, published or your own, and rename its attention to PyTorch's plain layout.

Layout: Cui et al., Nature Methods 2024; a folder of ``best_model.pt``, ``args.json`` and ``vocab.json``. With flash
attention the stacked projections are ``self_attn.Wqkv``, which plain PyTorch calls ``self_attn.in_proj_``: loading by
name and shape drops them in silence. Here every tensor is kept, or named with the reason why it is left out.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from torch import Tensor

from bench.core.errors import BenchError, listed
from bench.models.scgpt.folder import check_run, metadata_of, read_args, read_vocabulary
from bench.weights.files import read

LAYER = "transformer_encoder.layers"
LEFT_OUT = {  # pattern of names -> why the network has no such tensor
    "cls_decoder.*": "a classifier of the labels it was fine-tuned to; fine-tuning makes a new one",
    "flag_encoder.weight": "marks the genes that pretraining generated; annotation and masked values do not use it",
}
SIZES = {"nlayers": "layers", "embsize": "columns of the embedding", "d_hid": "units between the layers' two matrices"}


def names(depth: int, *, mvc: bool = True) -> list[str]:
    """Return the names, in the plain layout, of what is kept of a checkpoint with ``depth`` layers."""
    return list(_shapes(depth, 0, 0, 0, mvc=mvc))


def convert(
    paths: list[Path], genes: list[str] | None, *, continual: bool = False
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors under their plain names and metadata: genes, heads, bins, what was renamed and left out.

    Parameters
    ----------
    paths
        ``best_model.pt``, ``args.json`` and ``vocab.json``, in this order.
    genes
        None: the tokens are those of ``vocab.json``.
    continual
        Take the continual pretraining of December 2023, and nothing but that.

    Raises
    ------
    BenchError
        Naming every tensor that scGPT has and the file has not, or the other way round; if sizes contradict
        ``args.json`` or ``vocab.json``; if the pretraining run is another one than asked for.
    """
    if genes is not None:
        raise BenchError("--genes is not for scgpt: its tokens are those of vocab.json, beside the checkpoint.")
    args, vocabulary = read_args(paths[1]), read_vocabulary(paths[2])
    check_run(paths[1], args, continual)
    checkpoint = read(paths[0])
    tensors, renamed = _plain(paths[0], checkpoint.tensors)
    kept = {name: tensor for name, tensor in tensors.items() if _reason(name) is None}
    _check_sizes(paths, kept, args, len(vocabulary))
    mvc = any(name.startswith("mvc_decoder.") for name in kept)
    shapes = _shapes(args["nlayers"], len(vocabulary), args["embsize"], args["d_hid"], mvc=mvc)
    _check_names(paths[0], kept, shapes)
    _check_shapes(paths[0], tensors, shapes | {"flag_encoder.weight": (2, args["embsize"])})
    told = {key: checkpoint.metadata[key] for key in ("epoch", "ignored") if key in checkpoint.metadata}
    told |= {"left_out": _said([name for name in tensors if name not in kept])} if len(kept) < len(tensors) else {}
    told |= {"renamed": f"{len(renamed):,} attention tensors, such as {renamed[0]}"} if renamed else {}
    return kept, told | metadata_of(args, vocabulary) | {"parameters": str(sum(t.numel() for t in kept.values()))}


def _plain(path: Path, tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Return tensors under plain names, and which were renamed; two of one name are refused."""
    from bench.models.scgpt.network import plain_name  # a network is needed only here

    old: dict[str, str] = {}
    for name in tensors:
        other = old.setdefault(plain_name(name), name)
        if other != name:
            raise BenchError(f"{path} has one tensor under two names, {other} and {name}; save the one that you mean.")
    renamed = [f"{before} to {name}" for name, before in old.items() if before != name]
    return {name: tensors[before] for name, before in old.items()}, renamed


def _reason(name: str) -> str | None:
    return next((reason for pattern, reason in LEFT_OUT.items() if fnmatchcase(name, pattern)), None)


def _said(left_out: Iterable[str]) -> str:
    """Return every name that is left out, under its reason."""
    by_reason: dict[str, list[str]] = {}
    for name in left_out:
        by_reason.setdefault(str(_reason(name)), []).append(name)
    return "; ".join(f"{', '.join(found)} ({reason})" for reason, found in by_reason.items())


def _shapes(depth: int, tokens: int, dim: int, hidden: int, *, mvc: bool) -> dict[str, tuple[int, ...]]:
    def linear(name: str, rows: int, columns: int) -> dict:
        return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}

    def norm(name: str) -> dict:
        return {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}

    shapes = {"encoder.embedding.weight": (tokens, dim)} | norm("encoder.enc_norm")
    shapes |= linear("value_encoder.linear1", dim, 1) | linear("value_encoder.linear2", dim, dim)
    shapes |= norm("value_encoder.norm")
    for i in range(depth):
        attention = f"{LAYER}.{i}.self_attn"
        shapes |= {f"{attention}.in_proj_weight": (3 * dim, dim), f"{attention}.in_proj_bias": (3 * dim,)}
        shapes |= linear(f"{attention}.out_proj", dim, dim)
        shapes |= linear(f"{LAYER}.{i}.linear1", hidden, dim) | linear(f"{LAYER}.{i}.linear2", dim, hidden)
        shapes |= norm(f"{LAYER}.{i}.norm1") | norm(f"{LAYER}.{i}.norm2")
    shapes |= linear("decoder.fc.0", dim, dim) | linear("decoder.fc.2", dim, dim) | linear("decoder.fc.4", 1, dim)
    masked = linear("mvc_decoder.gene2query", dim, dim) | {"mvc_decoder.W.weight": (dim, dim)}
    return shapes | (masked if mvc else {})


def _check_sizes(paths: list[Path], tensors: dict[str, Tensor], args: dict, n_tokens: int) -> None:
    """Compare args.json and vocab.json with the tensors from which a size can be read at all."""
    file, told, vocab = (path.name for path in paths)
    layers = {name.removeprefix(f"{LAYER}.").split(".")[0] for name in tensors if name.startswith(f"{LAYER}.")}
    found = {"nlayers": 1 + max((int(layer) for layer in layers if layer.isdecimal()), default=-1)}
    embedding, linear = tensors.get("encoder.embedding.weight"), tensors.get(f"{LAYER}.0.linear1.weight")
    if embedding is not None and embedding.ndim == 2:
        found["embsize"] = embedding.shape[1]
    if linear is not None and linear.ndim == 2:
        found["d_hid"] = linear.shape[0]
    wrong = [
        f"{told} says {key}={args[key]}, {file} has {found[key]} {what}"
        for key, what in SIZES.items()
        if found.get(key, args[key]) != args[key]
    ]
    if embedding is not None and embedding.ndim == 2 and len(embedding) != n_tokens:
        wrong.append(f"{vocab} has {n_tokens:,} tokens, {file} embeds {len(embedding):,}")
    if wrong:
        raise BenchError(
            f"The files of {paths[0].parent} are not of one model: {'; '.join(wrong)}. Take all three from one place."
        )


def _check_names(path: Path, tensors: dict[str, Tensor], shapes: dict) -> None:
    lacking = [name for name in shapes if name not in tensors]
    extra = [name for name in tensors if name not in shapes]
    attention = [name for name in lacking if ".self_attn." in name]
    others = [name for name in lacking if name not in attention]
    said = [
        f"Attention projections not in it, which would stay random: {listed(attention)}." if attention else "",
        f"Not in it: {listed(others)}." if others else "",
        f"Not of scGPT: {listed(extra)}." if extra else "",
    ]
    if lacking or extra:
        raise BenchError(
            f"{path} is not a checkpoint of scGPT as its args.json describes it. {' '.join(filter(None, said))} "
            "Give a checkpoint of scGPT's own layout; nothing is loaded in part."
        )


def _check_shapes(path: Path, tensors: dict[str, Tensor], shapes: dict) -> None:
    wrong = [
        f"{name}: {tuple(tensors[name].shape)}, expected {shape}"
        for name, shape in shapes.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    wrong += [f"{name}: {tensor.dtype}" for name, tensor in tensors.items() if not tensor.is_floating_point()]
    if wrong:
        raise BenchError(f"{path} has tensors that do not make an scGPT: {listed(wrong)}.")
