"""The names and shapes of CellPLM's tensors, in published files and in networks made of them.

Nothing here needs the network: a file is compared with what it should hold before any of it is used.
"""

import math

import torch
from torch import Tensor

TABLE = "embedder.pe_enc.pe_enc.weight"
SIDE = 100  # of the square of positions that the table covers


def shapes(a, n_classes: int = 0) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a network of some sizes (`bench.models.cellplm.network.Architecture`).

    Parameters
    ----------
    a
        Sizes; those tensors that the authors never read are among the names.
    n_classes
        Of a head of cell types; 0 without one.
    """
    found = {"embedder.feat_enc.emb": (a.n_genes, a.dim), TABLE: (SIDE**2, a.dim)}
    found |= {"embedder.pe_enc.missing_pe": (a.dim,), **_norm("embedder.norm0", a.dim)}
    found |= _linear("embedder.extra_linear.0", a.dim, a.dim) | _norm("embedder.extra_linear.3", a.dim)
    for i in range(a.depth):
        layer = f"encoder.layers.{i}"
        for part in ("query", "key", "value", "out"):
            found |= _linear(f"{layer}.self_attn.{part}_projection", a.dim, a.dim)
        found |= _linear(f"{layer}._ff_block.0", a.hidden, a.dim) | _linear(f"{layer}._ff_block.3", a.dim, a.hidden)
        found |= _norm(f"{layer}.norm1", a.dim) | _norm(f"{layer}.norm2", a.dim)
    found |= _norm("pre_latent_norm.norm", a.dim) | _latent(a)
    found |= _linear("head.mlp.1", n_classes, a.latent) if n_classes else {}
    return found | (_decoder(a) if a.decoder else {})


def position_table(dim: int) -> Tensor:
    """Return the fixed table of positions, (10,000, dim), which published files hold and their authors never read."""
    rate = torch.exp(torch.arange(0.0, dim // 2, 2) * -(math.log(10_000) / (dim // 2)))
    row = torch.arange(SIDE**2)
    angles = [place.float()[:, None] * rate for place in (row % SIDE, row // SIDE)]
    return torch.cat([torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1) for angle in angles], dim=1)


def _latent(a) -> dict[str, tuple[int, ...]]:
    layer = "latent.layers.1"
    if a.kind == "ae":
        return _linear(f"{layer}.lat_2lat.0", a.latent, a.dim)
    if a.kind == "vae":
        return _linear(f"{layer}.hid_2mu", a.latent, a.dim) | _linear(f"{layer}.hid_2sigma", a.latent, a.dim)
    part = f"{layer}.inference"
    found = _linear(f"{part}.inference_qyx.0.logits", a.n_clusters, a.dim)
    found |= _linear(f"{part}.inference_qzyx.0", a.mixture, a.dim + a.n_clusters)
    for name in ("mu", "var"):
        found |= _linear(f"{part}.inference_qzyx.2.{name}", a.latent, a.mixture)
        found |= _linear(f"{part}.y_{name}", a.latent, a.n_clusters)
    return found


def _decoder(a) -> dict[str, tuple[int, ...]]:
    found = {}
    for i in range(a.decoder_depth):
        block, covariates = f"decoder.layers.{i}", f"decoder.covariate_layers.{i}"
        found |= _linear(f"{block}.0", a.decoder, a.decoder if i else a.latent)
        found |= {f"{block}.1.weight": (1,), **_norm(f"{block}.3", a.decoder)}
        for name, n in (("batch", a.n_batches), ("dataset", a.n_datasets)):
            found |= {f"{covariates}.{name}.0.weight": (n, a.decoder), f"{covariates}.{name}.1.weight": (1,)}
            found |= _norm(f"{covariates}.{name}.2", a.decoder)
    found |= {"decoder.out_layer.dec_disp": (a.n_genes,)} | _linear("decoder.out_layer.dec_1", a.between, a.decoder)
    return found | _linear("decoder.out_layer.dec_mean.0", a.n_genes, a.between)


def _linear(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
