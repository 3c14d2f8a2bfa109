"""Check an scBERT checkpoint, published or your own, and say what it is made of.

Layout: PerformerLM of Yang et al., Nature Machine Intelligence 2022, with 91 tensors for its six layers. The frozen
table of positions is the gene2vec file itself: its first 16,906 rows are the published ``gene2vec_16906.npy``.
"""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
from torch import Tensor

from bench.core.errors import BenchError
from bench.datasets.panglao import GENE_ORDER, N_GENES, gene_order
from bench.weights.files import read
from bench.weights.state_dict import listed

N_TOKENS = 7  # floor(log2(1 + CP10K)) up to 5, and the mask
GENE2VEC = "pos_emb.emb.weight"
GENE2VEC_SHA256 = "fbf26c229cf7d6c01bc0449fde4b0bb85e558ae53c5ff19b27eaa9ae5447604d"  # of gene2vec_16906.npy
BUFFERS = ("projection_matrix", "calls_since_last_redraw")  # random features and a counter: nothing that is learned
LAYER = "performer.net.layers"


def names(depth: int) -> list[str]:
    """Return the names of all tensors of a pretraining checkpoint with ``depth`` layers, gene2vec included."""
    return list(_shapes(depth, *[0] * 6))


def convert(paths: list[Path], genes: list[str] | None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors as they are and metadata: genes, library, parameters, gene2vec.

    Parameters
    ----------
    paths
        The checkpoint. A gene order file beside it saves the download of that file.
    genes
        Symbols in the order of the positions; None for the published 16,906.

    Raises
    ------
    BenchError
        Naming every tensor that an scBERT has and the file has not, or the other way round, or of a wrong shape; if
        the genes are not as many as the positions, or the last row of gene2vec, of the appended token, is not zero.
    """
    checkpoint = read(paths[0])
    tensors = checkpoint.tensors
    _check_names(paths[0], tensors)
    genes = _published_genes(paths[0], tensors) if genes is None else genes
    _check_shapes(paths[0], tensors, len(genes))
    if GENE2VEC in tensors and tensors[GENE2VEC][-1].any():
        raise BenchError(
            f"{paths[0]}: the last row of {GENE2VEC} is not zero; the appended token has no gene2vec vector in scBERT."
        )
    learned = sum(t.numel() for name, t in tensors.items() if not name.endswith(BUFFERS))
    kept = {key: checkpoint.metadata[key] for key in ("epoch", "ignored") if key in checkpoint.metadata}
    return tensors, kept | {
        "genes": json.dumps(genes),
        "library": "panglao",  # library size over the genes of the model, whichever they are
        "parameters": str(learned),
        "gene2vec": gene2vec_found(tensors.get(GENE2VEC)),
    }


def gene2vec_found(table: Tensor | None) -> str:
    """Say whether a table of positions, (genes + 1, dim), holds the published gene2vec file."""
    if table is None:
        return "none in this checkpoint"
    digests = list(_npy_digests(np.ascontiguousarray(table[:-1].double().numpy(), dtype="<f8")))
    if GENE2VEC_SHA256 in digests:
        return f"{len(table) - 1:,} vectors, byte for byte the published gene2vec_16906.npy"
    return f"WARNING: its {len(table) - 1:,} vectors are not the published gene2vec_16906.npy (sha256 {digests[0]})"


def _npy_digests(vectors: np.ndarray) -> Iterator[str]:
    """Yield the SHA-256 of the .npy file of an array, as NumPy writes it now, and as it did before 1.14."""
    for align in (64, 16):
        text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {vectors.shape}, }}"
        text += " " * (-(len(text) + 11) % align) + "\n"  # 10 bytes of magic, version and length come before
        start = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
        digest = sha256(start)
        digest.update(vectors.data)
        yield digest.hexdigest()


def _shapes(depth: int, genes: int, dim: int, inner: int, features: int, dim_head: int, hidden: int) -> dict:
    shapes = {"token_emb.weight": (N_TOKENS, dim), GENE2VEC: (genes + 1, dim), "performer.calls_since_last_redraw": ()}
    for i in range(depth):
        attention, forward = f"{LAYER}.{i}.0", f"{LAYER}.{i}.1"
        shapes |= {f"{attention}.norm.weight": (dim,), f"{attention}.norm.bias": (dim,)}
        shapes |= {f"{attention}.fn.fast_attention.projection_matrix": (features, dim_head)}
        shapes |= {f"{attention}.fn.to_{part}.weight": (inner, dim) for part in "qkv"}
        shapes |= {f"{attention}.fn.to_out.weight": (dim, inner), f"{attention}.fn.to_out.bias": (dim,)}
        shapes |= {f"{forward}.norm.weight": (dim,), f"{forward}.norm.bias": (dim,)}
        shapes |= {f"{forward}.fn.fn.w1.weight": (hidden, dim), f"{forward}.fn.fn.w1.bias": (hidden,)}
        shapes |= {f"{forward}.fn.fn.w2.weight": (dim, hidden), f"{forward}.fn.fn.w2.bias": (dim,)}
    last = {"norm.weight": (dim,), "norm.bias": (dim,), "to_out.weight": (N_TOKENS, dim), "to_out.bias": (N_TOKENS,)}
    return shapes | last


def _depth(tensors: dict[str, Tensor]) -> int:
    pieces = [name.removeprefix(f"{LAYER}.").split(".")[0] for name in tensors if name.startswith(f"{LAYER}.")]
    return 1 + max((int(piece) for piece in pieces if piece.isdecimal()), default=0)


def _check_names(path: Path, tensors: dict[str, Tensor]) -> None:
    wanted = names(_depth(tensors))
    lacking = [name for name in wanted if name not in tensors and name != GENE2VEC]  # pretrained without gene2vec
    extra = [name for name in tensors if name not in wanted]
    if not lacking and not extra:
        return
    said = f" Not in it: {listed(lacking)}." if lacking else ""
    said += f" Not of scBERT: {listed(extra)}." if extra else ""
    tuned = " It looks fine-tuned: its output is a classifier." if "to_out.fc1.weight" in tensors else ""
    raise BenchError(
        f"{path} is not a pretraining checkpoint of scBERT ({len(tensors)} tensors, {len(wanted)} expected for "
        f"{_depth(tensors)} layers).{said}{tuned} Give a checkpoint that scBERT's pretraining wrote."
    )


def _check_shapes(path: Path, tensors: dict[str, Tensor], n_genes: int) -> None:
    first = f"{LAYER}.0"
    try:
        _, dim = tensors["token_emb.weight"].shape
        inner, _ = tensors[f"{first}.0.fn.to_q.weight"].shape
        features, dim_head = tensors[f"{first}.0.fn.fast_attention.projection_matrix"].shape
        hidden, _ = tensors[f"{first}.1.fn.fn.w1.weight"].shape
    except ValueError as error:
        raise BenchError(f"{path} is no scBERT: one of its first layer's matrices has not two dimensions.") from error
    rows = len(tensors[GENE2VEC]) if GENE2VEC in tensors and tensors[GENE2VEC].ndim else n_genes + 1
    if rows != n_genes + 1:
        raise BenchError(
            f"{path} has {rows - 1:,} genes (rows of {GENE2VEC}, less the appended token), but {n_genes:,} are named. "
            "Give the symbols in the order of its positions with --genes, one a line."
        )
    wanted = _shapes(_depth(tensors), n_genes, dim, inner, features, dim_head, hidden)
    wrong = [f"{n}: {tuple(t.shape)}, expected {wanted[n]}" for n, t in tensors.items() if tuple(t.shape) != wanted[n]]
    wrong += [f"{inner} columns of queries in heads of {dim_head}"] if inner % dim_head else []
    if wrong:
        raise BenchError(f"{path} has tensors whose shapes do not make an scBERT: {listed(wrong)}.")


def _published_genes(path: Path, tensors: dict[str, Tensor]) -> list[str]:
    rows = len(tensors[GENE2VEC]) if GENE2VEC in tensors and tensors[GENE2VEC].ndim else N_GENES + 1
    if rows != N_GENES + 1:
        raise BenchError(
            f"{path} has {rows - 1:,} genes, not the published {N_GENES:,}, and does not name them: give their symbols "
            "in the order of its positions with --genes, one a line."
        )
    beside = path.with_name(GENE_ORDER.name)
    return gene_order(beside if beside.is_file() else None)
