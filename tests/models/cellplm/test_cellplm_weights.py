"""CellPLM's weights: both published layouts arrive whole, or are refused by name; unknown hashes are held to."""

import json
import os
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from bench.cli import main
from bench.core.errors import BenchError
from bench.datasets import download
from bench.datasets.sources import fetch, sha256_of
from bench.models import create, describe
from bench.models.cellplm import checkpoint
from bench.models.cellplm.layout import TABLE, position_table, shapes
from bench.models.cellplm.network import Architecture, CellPLMNetwork
from bench.models.cellplm.sources import PUBLISHED
from bench.models.contract import without_labels
from bench.weights import identity, load_into, own, published, read
from bench.weights.sources import identity_of

GENES = [f"GENE{i}" for i in range(30)]
SMALL = {"n_genes": 30, "dim": 16, "depth": 2, "heads": 8, "hidden": 32, "latent": 8, "decoder": 12, "between": 128}
SMALL |= {"n_batches": 5, "n_datasets": 3, "n_clusters": 4, "mixture": 24}
MIRROR = os.environ.get("BENCH_MIRROR")
NEW, OLD = "20231027_85M", "20230926_85M"


def tensors_of(a: Architecture) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    found = {name: torch.randn(shape, generator=rng) for name, shape in shapes(a).items() if name != TABLE}
    return found | {TABLE: position_table(a.dim)}


def config_of(a: Architecture, genes=GENES) -> dict:
    told = {"enc_hid": a.dim, "enc_layers": a.depth, "post_latent_dim": a.latent, "dec_hid": a.decoder}
    return told | {"latent_mod": a.kind, "gene_list": genes, "batch_num": a.n_batches, "dataset_num": a.n_datasets}


def put(folder: Path, prefix: str = NEW, kind: str = "vae", **changes) -> Path:
    """Write a checkpoint as CellPLM's authors publish it."""
    folder.mkdir(exist_ok=True)
    a = Architecture(**SMALL, kind=kind)
    tensors = {n: t for n, t in (tensors_of(a) | changes.get("tensors", {})).items() if t is not None}
    torch.save({"model_state_dict": tensors, "epoch": 7}, folder / f"{prefix}.best.ckpt")
    (folder / f"{prefix}.config.json").write_text(json.dumps(config_of(a) | changes.get("config", {})))
    return folder


@pytest.fixture(autouse=True)
def places(monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCH_MIRROR", raising=False)
    monkeypatch.setattr(download, "PAUSE_S", 0)
    monkeypatch.setattr(download, "ATTEMPTS", 1)


def bench(*arguments):
    return CliRunner().invoke(main, ["weights", *map(str, arguments)])


@pytest.mark.parametrize("kind", ["vae", "gmvae"])
def test_every_tensor_arrives_or_is_named(tmp_path, kind):
    folder = put(tmp_path / "ckpt", kind=kind)
    found = read(own("cellplm", folder))
    a = Architecture.of(found.tensors, heads=8)
    assert a.kind == kind
    network = CellPLMNetwork(a)
    assert load_into(network, found).total == len(network.state_dict()) == len(found.tensors)
    original = torch.load(folder / f"{NEW}.best.ckpt")["model_state_dict"]
    assert all(torch.equal(original[name], tensor) for name, tensor in found.tensors.items())
    for name in original.keys() - found.tensors.keys():
        assert name in found.metadata["left_out"]
    assert json.loads(found.metadata["genes"]) == GENES
    assert found.metadata["epoch"] == "7"


def test_names_are_those_of_the_network():
    for kind in ("vae", "gmvae", "ae"):
        a = Architecture(**SMALL | {"decoder": 0 if kind == "ae" else 12, "kind": kind})
        network = CellPLMNetwork(a)
        named = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        unused = ("embedder.norm0", "embedder.pe_enc")
        assert named == {name: shape for name, shape in shapes(a).items() if not name.startswith(unused)}


ATTENTION = "encoder.layers.1.self_attn.key_projection.weight"
REFUSED = {
    "a layer is missing": ({"tensors": {ATTENTION: None}}, f"would stay random: {ATTENTION}"),
    "another head": ({"tensors": {"head.mlp.1.bias": torch.zeros(3)}}, r"Not of CellPLM: head\.mlp\.1\.bias"),
    "another shape": ({"tensors": {ATTENTION: torch.zeros(16, 8)}}, r"\(16, 8\), expected \(16, 16\)"),
    "trained positions": ({"tensors": {TABLE: torch.zeros(10_000, 16)}}, "trained with positions"),
    "another model": ({"tensors": {"embedder.feat_enc.emb": None}}, "This is no CellPLM checkpoint"),
    "not finite": ({"tensors": {ATTENTION: torch.full((16, 16), torch.nan)}}, "not finite"),
    "other genes": ({"config": {"gene_list": GENES[:-1]}}, "29 genes, the tensors have 30"),
    "a gene twice": ({"config": {"gene_list": [*GENES[:-1], GENES[0]]}}, "more than once: GENE0"),
    "no genes": ({"config": {"gene_list": []}}, "has no gene_list"),
    "other layers": ({"config": {"enc_layers": 4}}, "enc_layers=4, the tensors have 2"),
    "another latent layer": ({"config": {"latent_mod": "gmvae"}}, "latent_mod='gmvae', the tensors have 'vae'"),
    "heads that do not divide": ({"config": {"enc_head": 3}}, "dim=16 should be a multiple of heads=3"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_make_a_cellplm_is_refused(tmp_path, case):
    changes, said = REFUSED[case]
    with pytest.raises(BenchError, match=said):
        own("cellplm", put(tmp_path / "ckpt", **changes))
    assert not list((tmp_path / "cache").glob("weights/*.safetensors"))


def test_a_pickle_that_imports_is_refused(tmp_path):
    folder = put(tmp_path / "ckpt")
    torch.save({"model_state_dict": {"x": torch.zeros(1)}, "args": Path("x")}, folder / f"{NEW}.best.ckpt")
    with pytest.raises(BenchError, match=r"was refused and nothing of it was run: it asks to import pathlib"):
        own("cellplm", folder)


@pytest.fixture
def server(tmp_path):
    folder = put(tmp_path / "served", OLD, "gmvae")
    serve = partial(SimpleHTTPRequestHandler, directory=folder)
    serve.log_message = lambda *a: None
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}", folder
        found.shutdown()


def test_a_hash_that_nobody_publishes_is_noted_at_first_use_and_held_to(server, monkeypatch, tmp_path):
    url, folder = server
    entry = PUBLISHED["cellplm_20230926"]
    sources = [replace(s, url=f"{url}/{s.name}", size=None, sha256=None) for s in entry.sources]
    sources[1] = replace(sources[1], sha256=sha256_of(folder / sources[1].name))
    monkeypatch.setitem(PUBLISHED, "cellplm_20230926", replace(entry, sources=tuple(sources)))
    said = bench("cellplm_20230926").output
    assert "latent layer: a mixture, whose clusters are drawn with a seed made of the cell's own counts" in said
    assert "licence: not stated" in said
    file = published("cellplm_20230926")
    assert identity(file) == identity_of("cellplm_20230926")
    noted = json.loads((tmp_path / "cache" / "weights" / "first_use.json").read_text())
    assert noted == {f"{OLD}.best.ckpt": sha256_of(folder / f"{OLD}.best.ckpt")}
    other = put(tmp_path / "other", OLD, "gmvae", tensors={"embedder.norm0.bias": torch.zeros(16)})
    refused = bench("cellplm_20230926", "--path", other)
    assert refused.exit_code == 2
    assert "is not the published file" in refused.stderr


def test_a_first_file_that_is_no_checkpoint_is_not_held_to(tmp_path, monkeypatch):
    entry = PUBLISHED["cellplm_20230926"]
    folder = put(tmp_path / "mine", OLD, "gmvae")
    sources = entry.sources[0], replace(entry.sources[1], sha256=sha256_of(folder / f"{OLD}.config.json"), size=None)
    monkeypatch.setitem(PUBLISHED, "cellplm_20230926", replace(entry, sources=sources))
    whole = (folder / f"{OLD}.best.ckpt").read_bytes()
    (folder / f"{OLD}.best.ckpt").write_bytes(whole[:-100])
    with pytest.raises(BenchError, match="incomplete or damaged"):
        published("cellplm_20230926", folder)
    (folder / f"{OLD}.best.ckpt").write_bytes(whole)
    assert published("cellplm_20230926", folder).is_file()


def test_without_an_address_the_sentence_says_where_the_files_are():
    refused = bench("cellplm")
    assert refused.exit_code == 2
    assert "https://www.dropbox.com/scl/fo/i5rmxgtqzg7iykt2e9uqm" in refused.stderr


def test_the_documented_files():
    assert list(PUBLISHED) == ["cellplm_20231027", "cellplm_20230926"]
    assert [s.sha256 is None for e in PUBLISHED.values() for s in e.sources] == [False, False, True, False]


def test_true_size_layout(monkeypatch, tmp_path):
    """Both published files by name and shape, without memory: which tensors are kept, and that a network takes them."""
    sizes = {"vae": 82_360_031, "gmvae": 82_402_543}
    for kind, n_values in sizes.items():
        a = Architecture(kind=kind)
        with torch.device("meta"):
            tensors = {name: torch.empty(shape) for name, shape in shapes(a).items()}
        assert sum(tensor.numel() for tensor in tensors.values()) == n_values
        assert Architecture.of(tensors, 8) == a
        del tensors[TABLE]
        checkpoint._check_layout(tmp_path / "x", tensors, a)


@pytest.mark.slow
def test_true_size(tmp_path, monkeypatch):
    """A file of 329 MB with the real names and shapes is converted and fills the network."""
    a = Architecture()
    genes = [f"GENE{i}" for i in range(a.n_genes)]
    folder = tmp_path / "ckpt"
    folder.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "randn", lambda shape, generator: torch.full(shape, 0.01))
        torch.save({"model_state_dict": tensors_of(a)}, folder / f"{NEW}.best.ckpt")
    (folder / f"{NEW}.config.json").write_text(json.dumps(config_of(a, genes)))
    file = read(own("cellplm", folder))
    assert len(file.tensors) == 97 - 4
    with torch.device("meta"):
        network = CellPLMNetwork(Architecture.of(file.tensors, int(file.metadata["heads"])))
    assert {n: t.shape for n, t in network.state_dict().items()} == {n: t.shape for n, t in file.tensors.items()}


@pytest.mark.skipif(not MIRROR, reason="BENCH_MIRROR names no folder with CellPLM's published configuration")
def test_published_genes_have_symbols(monkeypatch):
    monkeypatch.setenv("BENCH_MIRROR", MIRROR)
    config = checkpoint.read_config(fetch(PUBLISHED["cellplm_20230926"].sources[1]))
    genes = checkpoint.symbols_of(config["gene_list"])
    assert len(set(genes)) == len(genes) == 19_374
    assert sum(gene.startswith("ENSG") for gene in genes) == 62
    assert {"CD3E", "MS4A1", "INS"} <= set(genes)


@pytest.mark.skipif(not MIRROR, reason="BENCH_MIRROR names no folder with CellPLM's published configuration")
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vae", "gmvae"])
def test_a_file_of_the_published_genes_is_converted_fine_tuned_and_probed(kind, monkeypatch, tmp_path, sides):
    monkeypatch.setenv("BENCH_MIRROR", MIRROR)
    genes = checkpoint.read_config(fetch(PUBLISHED["cellplm_20230926"].sources[1]))["gene_list"]
    a = Architecture(**SMALL | {"n_genes": len(genes)}, kind=kind)
    folder = tmp_path / "ckpt"
    folder.mkdir()
    torch.save({"model_state_dict": tensors_of(a)}, folder / f"{NEW}.best.ckpt")
    (folder / f"{NEW}.config.json").write_text(json.dumps(config_of(a, genes)))
    file = str(own("cellplm", folder))
    train, scored = sides
    for variant in ("pretrained", "probe"):
        settings = {"weights": file, "epochs": 2, "classifier": "nearest_centroid"}
        model = create(describe(f"cellplm@{variant}", settings)).fit(train, seed=0)
        assert model.predict_proba(without_labels(scored)).shape == (80, 8)
        assert 200 < len(model.genes_.used) < 500  # by symbol
        assert len(model.genes_.wanted) == 19_374
