"""Check a Geneformer checkpoint, published or your own, and say what it is made of.

Layout: BertForMaskedLM of Hugging Face transformers, whose output matrix is the token embedding and is stored again by
old versions only; or a fine-tuned BertForSequenceClassification.  The vocabulary is the published one of its size.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from bench.core.errors import BenchError, listed
from bench.models.geneformer.dictionaries import SIZES, published
from bench.models.geneformer.network import LAYER, TOKENS, TYPES, Architecture
from bench.weights.files import read

HEAD = 64  # channels of a head in all published networks
COPIES = {"cls.predictions.decoder.weight": TOKENS, "cls.predictions.decoder.bias": "cls.predictions.bias"}
PLACES = "bert.embeddings.position_ids"
LEFT_OUT = {  # beginning of names -> why the network has no such tensor
    "bert.pooler.": "of a classifier of the labels it was fine-tuned to; fine-tuning makes a new one",
    "classifier.": "of a classifier of the labels it was fine-tuned to; fine-tuning makes a new one",
    PLACES: "0, 1, 2, ...",
}
CONFIG = "config.json"
FIXED = {"hidden_act": "relu", "layer_norm_eps": 1e-12, "position_embedding_type": "absolute"}  # in all of them


def convert(paths: list[Path], genes: list[str] | None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors as they are and metadata: tokens, medians, names of genes, heads, what was left out.

    Parameters
    ----------
    paths
        The checkpoint; a ``config.json`` beside it must be of such a network, and dictionaries beside it save their
        download.
    genes
        None: the tokens are those of the published vocabulary.

    Raises
    ------
    BenchError
        Naming every tensor that Geneformer has and the file has not, or the other way round, or of a wrong shape; if
        the vocabulary has another size than the published ones.
    """
    if genes is not None:
        raise BenchError("--genes is not for geneformer: its tokens are those of the published dictionaries.")
    checkpoint = read(paths[0])
    tensors = without_copies(checkpoint.tensors)
    kept = {name: tensor for name, tensor in tensors.items() if _reason(name) is None}
    a = Architecture.of(kept, heads=1)
    _check_layout(paths[0], kept, a)
    version = _version(paths[0], a)
    told = {key: checkpoint.metadata[key] for key in ("epoch", "ignored") if key in checkpoint.metadata}
    left_out = [name for name in checkpoint.tensors if name not in kept]
    told |= {"left_out": _said(left_out)} if left_out else {}
    told |= published(version, beside=paths[0].parent).metadata()
    told |= {"heads": str(heads_of(paths[0], a.dim)), "library": "ranks", "version": version}
    return kept, told | {"parameters": str(sum(tensor.numel() for tensor in kept.values()))}


def without_copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors without those that repeat another one.

    Raises
    ------
    BenchError
        If one that should be a copy differs from its source.
    """
    for copy, source in COPIES.items():
        if copy in tensors and (source not in tensors or not torch.equal(tensors[copy], tensors[source])):
            raise BenchError(
                f"{copy} should be the same as {source}, as in Geneformer, and is not: the output was trained apart "
                "from the embedding. Give a checkpoint in which they are tied."
            )
    return {name: tensor for name, tensor in tensors.items() if name not in COPIES and name != PLACES}


def heads_of(path: Path, dim: int) -> int:
    """Return the number of heads, one for 64 channels, after a look at a ``config.json`` beside the checkpoint.

    Raises
    ------
    BenchError
        If the channels cannot be divided so, or the configuration is of another network than Geneformer.
    """
    if dim % HEAD:
        raise BenchError(f"{path} has {dim} channels, and all heads of Geneformer have {HEAD}: it is another network.")
    config, expected = path.with_name(CONFIG), FIXED | {"num_attention_heads": dim // HEAD}
    try:
        said = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
        differ = [key for key, value in expected.items() if said.get(key, value) != value]
    except (ValueError, OSError, AttributeError) as error:
        raise BenchError(f"{config} is not the configuration of a network ({error}); copy it again.") from error
    if differ:
        wrong = ", ".join(f"{key} is {said[key]!r}, not {expected[key]!r}" for key in differ)
        raise BenchError(f"{config} is of another network than Geneformer: {wrong}.")
    return dim // HEAD


def shapes(a: Architecture) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield names and shapes of the published tensors of a network."""

    def affine(name: str, *shape: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield from ((f"{name}.weight", shape), (f"{name}.bias", shape[:1]))

    yield TOKENS, (a.n_tokens, a.dim)
    yield "bert.embeddings.position_embeddings.weight", (a.positions, a.dim)
    yield "bert.embeddings.token_type_embeddings.weight", (TYPES, a.dim)
    yield from affine("bert.embeddings.LayerNorm", a.dim)
    for i in range(a.depth):
        for part in ("query", "key", "value"):
            yield from affine(f"{LAYER}.{i}.attention.self.{part}", a.dim, a.dim)
        yield from affine(f"{LAYER}.{i}.attention.output.dense", a.dim, a.dim)
        yield from affine(f"{LAYER}.{i}.attention.output.LayerNorm", a.dim)
        yield from affine(f"{LAYER}.{i}.intermediate.dense", a.hidden, a.dim)
        yield from affine(f"{LAYER}.{i}.output.dense", a.dim, a.hidden)
        yield from affine(f"{LAYER}.{i}.output.LayerNorm", a.dim)
    if a.predicts:
        yield "cls.predictions.bias", (a.n_tokens,)
        yield from affine("cls.predictions.transform.dense", a.dim, a.dim)
        yield from affine("cls.predictions.transform.LayerNorm", a.dim)


def described(header: dict, told: dict[str, str]) -> list[str]:
    """Return lines on layers and vocabulary, from the header and the metadata of a converted file."""
    lines = []
    if TOKENS in header:
        depth = len({name.split(".")[3] for name in header if name.startswith(f"{LAYER}.")})
        width = header[TOKENS]["shape"][1]
        longest = header["bert.embeddings.position_embeddings.weight"]["shape"][0]
        lines.append(f"{depth} layers, {told.get('heads', '?')} heads, width {width}, cells of up to {longest:,} genes")
    if "genes" not in told:
        return [*lines, "genes: the file does not name them"]
    tokens, names = json.loads(told["genes"]), json.loads(told.get("names", "{}"))
    special = [token for token in tokens if token.startswith("<")]
    also = f", known by {len(names):,} other names too" if names else ""
    return [*lines, f"vocabulary: {len(tokens) - len(special):,} genes{also}, and {', '.join(special)}"]


def _reason(name: str) -> str | None:
    return next((reason for start, reason in LEFT_OUT.items() if name.startswith(start)), None)


def _said(left_out: list[str]) -> str:
    """Return every name that is left out, under its reason."""
    by_reason: dict[str, list[str]] = {}
    for name in left_out:
        by_reason.setdefault(_reason(name) or "a copy of another tensor", []).append(name)
    return "; ".join(f"{', '.join(found)} ({reason})" for reason, found in by_reason.items())


def _check_layout(path: Path, tensors: dict[str, Tensor], a: Architecture) -> None:
    wanted = dict(shapes(a))
    lacking = [name for name in wanted if name not in tensors]
    extra = [name for name in tensors if name not in wanted]
    shared = [name for name in wanted if name in tensors]
    wrong = [
        f"{name}: {tuple(tensors[name].shape)}, expected {wanted[name]}"
        for name in shared
        if tuple(tensors[name].shape) != wanted[name]
    ]
    wrong += [f"{name}: {tensors[name].dtype}" for name in shared if not tensors[name].is_floating_point()]
    said = [
        f"Not in it: {listed(lacking)}." if lacking else "",
        f"Not of Geneformer: {listed(extra)}." if extra else "",
        f"Of another shape or type: {listed(wrong)}." if wrong else "",
    ]
    if any(said):
        raise BenchError(
            f"{path} is not a checkpoint of Geneformer of {a.depth} layers. {' '.join(filter(None, said))} Give one "
            "of the published layout; nothing is loaded in part."
        )


def _version(path: Path, a: Architecture) -> str:
    for version, size in SIZES.items():
        if a.n_tokens == size:
            return version
    known = " and ".join(f"{size:,} ({version})" for version, size in SIZES.items())
    raise BenchError(
        f"{path} embeds {a.n_tokens:,} tokens, and the published vocabularies of Geneformer have {known}: it was "
        "trained with another one, such as NVIDIA's, whose medians are not published with it. Give one of the authors' "
        "checkpoints, or one fine-tuned from them."
    )
