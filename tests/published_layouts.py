"""Checkpoints of Geneformer, scFoundation and CellPLM as their authors publish them, of random numbers and narrower."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from bench.models.cellplm.checkpoint import read_config
from bench.models.cellplm.layout import shapes as cellplm_shapes
from bench.models.cellplm.network import Architecture as CellPLMSizes
from bench.models.geneformer.checkpoint import PLACES
from bench.models.geneformer.checkpoint import shapes as geneformer_shapes
from bench.models.geneformer.network import Architecture as GeneformerSizes
from bench.models.scfoundation.architecture import Architecture as ScFoundationSizes
from bench.models.scfoundation.checkpoint import shapes_of

V1 = GeneformerSizes()  # the true ones
V2 = GeneformerSizes(20_275, 64, 2, 1, 96, 4096)
SCFOUNDATION = ScFoundationSizes(19_264, 16, 2, 2, 24, 12, 1, 1, 8, 16, 8)
CELLPLM = {"n_genes": 19_374, "dim": 16, "depth": 2, "heads": 8, "hidden": 32, "latent": 8, "decoder": 12}
CELLPLM |= {"between": 128, "n_batches": 5, "n_datasets": 3, "n_clusters": 4, "mixture": 24}
ONE = {"hidden_act": "relu", "layer_norm_eps": 1e-12, "model_type": "bert"}  # of Geneformer's configurations


def drawn(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=rng) * 0.02 for name, shape in shapes.items()}


def put_geneformer(folder: Path) -> None:
    """Safetensors with a configuration, V1 at its true size."""
    for name, a in (("Geneformer-V1-10M", V1), ("Geneformer-V2-104M", V2)):
        (folder / name).mkdir(parents=True)
        tensors = drawn(dict(geneformer_shapes(a))) | {PLACES: torch.arange(a.positions)[None]}
        save_file(tensors, folder / name / "model.safetensors", {"format": "pt"})
        (folder / name / "config.json").write_text(json.dumps(ONE | {"num_attention_heads": a.heads}))


def put_scfoundation(file: Path) -> None:
    """One file with the keys of three models, each a configuration and a state."""
    inner = {"gene_num": 19_266, "encoder": {"hidden_dim": 16, "heads": 2}, "bin_alpha": 1.0, "bin_num": 8}
    inner |= {"pad_token_id": 103, "mask_token_id": 102}
    config = {"model": "mae_autobin", "model_config": {"mae_autobin": inner}, "dataset_config": {"rnaseq": {}}}
    state = {f"model.{name}": tensor for name, tensor in drawn(shapes_of(SCFOUNDATION)).items()}
    state["model.decoder.performer.calls_since_last_redraw"] = torch.tensor(7)
    file.parent.mkdir(parents=True)
    torch.save({part: {"config": config, "state_dict": state} for part in ("cell", "rde", "gene")}, file)


def put_cellplm(folder: Path, published: Path) -> None:
    """Both checkpoints with configurations that have the published one's genes; the older has a mixture."""
    genes = read_config(published)["gene_list"]
    for prefix, kind in (("20231027_85M", "vae"), ("20230926_85M", "gmvae")):
        a = CellPLMSizes(**CELLPLM, kind=kind)
        named = {name: shape for name, shape in cellplm_shapes(a).items() if "pe_enc.pe_enc" not in name}
        torch.save({"model_state_dict": drawn(named)}, folder / f"{prefix}.best.ckpt")
        told = {"enc_hid": a.dim, "enc_layers": a.depth, "post_latent_dim": a.latent, "latent_mod": kind}
        (folder / f"{prefix}.config.json").write_text(json.dumps(told | {"gene_list": genes}))
