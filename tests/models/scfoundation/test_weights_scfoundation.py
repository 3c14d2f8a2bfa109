"""scFoundation's weights: three models in one file, a licence that has to be accepted, every tensor accounted for."""

import json
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from conftest import folder_of

from bench.cli import main
from bench.core.errors import BenchError
from bench.datasets import download
from bench.datasets.sources import sha256_of
from bench.models.scfoundation.architecture import Architecture
from bench.models.scfoundation.checkpoint import shapes_of
from bench.models.scfoundation.sources import PUBLISHED
from bench.weights import identity, of_model, published, read, resolve
from bench.weights.sources import identity_of

A = Architecture(120, 16, 2, 2, 24, 12, 1, 1, 8, 16, 8)
GENES = [f"GENE{i}" for i in range(120)]
CONFIG = {  # as published, but for the sizes
    "model": "mae_autobin",
    "model_config": {
        "mae_autobin": {"gene_num": 122, "encoder": {"hidden_dim": 16, "heads": 2}, "bin_alpha": 1.0}
        | {"pad_token_id": 103, "mask_token_id": 102, "bin_num": 8}
    },
    "dataset_config": {"rnaseq": {"num_tokens": 13, "value_mask_prob": 0.3}},
}


def tensors(seed: int, architecture: Architecture = A) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    made = {name: torch.randn(shape, generator=rng) for name, shape in shapes_of(architecture).items()}
    return made | {"decoder.performer.calls_since_last_redraw": torch.tensor(7)}


def entry_of(seed: int, **config) -> dict:
    state = {f"model.{name}": tensor for name, tensor in tensors(seed).items()}
    return {"config": CONFIG | config, "state_dict": state}


PARTS = {"gene": 1, "cell": 2, "rde": 3}


@pytest.fixture(autouse=True)
def places(monkeypatch, tmp_path):
    """Give every test an empty cache and no mirror."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCH_MIRROR", raising=False)
    monkeypatch.setattr(download, "PAUSE_S", 0)
    monkeypatch.setattr(download, "ATTEMPTS", 2)


@pytest.fixture
def file(tmp_path) -> Path:
    (tmp_path / "there").mkdir()
    torch.save({part: entry_of(seed) for part, seed in PARTS.items()}, tmp_path / "there" / "models.ckpt")
    return tmp_path / "there" / "models.ckpt"


@pytest.fixture
def server(file, monkeypatch):
    """Let the published file be that of `file`, on a local server, with the genes of the tests."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(file.parent))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    monkeypatch.setattr("bench.models.scfoundation.checkpoint._genes", lambda path, n_genes: GENES)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{served.server_port}/models.ckpt"
        for name, entry in PUBLISHED.items():
            source = replace(entry.sources[0], sha256=sha256_of(file), size=file.stat().st_size, url=url)
            monkeypatch.setitem(PUBLISHED, name, replace(entry, sources=(source,)))
        yield
        served.shutdown()


def bench(*words) -> str:
    result = CliRunner().invoke(main, ["weights", *map(str, words)])
    return " ".join((result.output + str(result.exception or "")).split())


def test_the_published_file_is_the_documented_one():
    assert list(PUBLISHED) == ["scfoundation_gene", "scfoundation_cell", "scfoundation_rde"]
    for entry in PUBLISHED.values():
        (source,) = entry.sources
        assert source.sha256 == "9f40bf324d3d0084c4b288d06f5af4fddd12206e2a3f022551d12e89e33a0ea9"
        assert source.size == 1_432_587_886
        assert "non-commercial research only" in source.licence and "non-commercial research only" in entry.terms


def test_our_names_and_shapes_are_the_published_ones_at_true_size():
    case = json.loads((folder_of("scfoundation_ckpt_layout") / "scfoundation_ckpt_layout.json").read_text())
    official = {name.removeprefix("model."): tuple(s) for name, s in case["official"]["names"].items()}
    assert shapes_of(Architecture()) == official
    assert len(official) == case["official"]["entries"]


def test_the_licence_is_asked_for_before_anything_is_fetched(server, monkeypatch):
    monkeypatch.setattr("bench.weights.sources.fetch", None)
    for words in (["scfoundation"], ["scfoundation_cell"], ["scfoundation", "--rde"]):
        said = bench(*words)
        assert "may be used for non-commercial research only" in said
        assert "If you accept that, say so once: bench weights scfoundation_" in said
    with pytest.raises(BenchError, match=r"bench weights scfoundation_gene --accept-licence"):
        resolve("scfoundation_gene")


def test_three_models_of_one_file_are_three_weights_and_accepted_once(server):
    found = {}
    for part, seed in PARTS.items():
        said = bench(f"scfoundation_{part}", "--accept-licence")
        assert f"Weights scfoundation_{part}, licence: scFoundation License: non-commercial research only" in said
        path = resolve(f"scfoundation_{part}")  # not asked again
        checkpoint, expected = read(path), tensors(seed)
        assert checkpoint.tensors.keys() == expected.keys()
        assert all(torch.equal(checkpoint.tensors[name], t) for name, t in expected.items())
        assert json.loads(checkpoint.metadata["genes"]) == GENES
        assert (checkpoint.metadata["heads"], checkpoint.metadata["bin_alpha"]) == ("2", "1.0")
        assert identity(path) == identity_of(f"scfoundation_{part}")
        found[part] = identity(path)
    assert len(set(found.values())) == 3


def test_a_file_at_hand_that_is_the_published_one_is_asked_for_too(server, file):
    assert "--accept-licence" in bench("scfoundation", "--path", file)
    said = bench("scfoundation", "--path", file, "--cell", "--accept-licence")
    assert "scfoundation_cell.safetensors" in said
    assert published("scfoundation_cell") == of_model("scfoundation", part="cell")


def test_a_checkpoint_of_ones_own_names_its_genes_and_its_part(file, tmp_path):
    (tmp_path / "genes.txt").write_text("\n".join(GENES))
    said = bench("scfoundation", "--path", file, "--genes", tmp_path / "genes.txt")
    other = bench("scfoundation", "--path", file, "--genes", tmp_path / "genes.txt", "--rde")
    assert "2 layers of the encoder, 2 heads" in said and "genes: 120 (not the published list)" in said
    assert said.split()[0] != other.split()[0]
    assert torch.equal(read(other.split()[0]).tensors["to_final.bias"], tensors(3)["to_final.bias"])
    assert "does not name them: give their symbols in the order of its positions with --genes" in bench(
        "scfoundation", "--path", file
    )


class Config:
    """What a configuration is that only a pickle could bring back."""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"gene": entry_of(1) | {"config": Config()}}, "it asks to import"),
        ({"cell": entry_of(1)}, "has no part 'gene'; it has cell: take one with --cell"),
        ({"gene": entry_of(1, model="mae")}, "is of the model type 'mae'"),
        ({"gene": entry_of(1, model_config={"mae_autobin": {}})}, "the config of 'gene' does not say 'bin_alpha'"),
        ({"gene": {"state_dict": {}}}, "should hold a config and a state_dict"),
    ],
)
def test_what_cannot_be_used_is_a_sentence(content, said, tmp_path):
    torch.save(content, tmp_path / "models.ckpt")
    (tmp_path / "genes.txt").write_text("\n".join(GENES))
    assert said in bench("scfoundation", "--path", tmp_path, "--genes", tmp_path / "genes.txt")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model.norm.bias": None}, "Not in it: norm.bias."),
        ({"model.more": torch.zeros(2)}, "Not of scFoundation: more."),
        ({"model.norm.bias": torch.zeros(3)}, "Of another shape: norm.bias: (3,), expected (12,)."),
    ],
)
def test_every_tensor_is_accounted_for(change, said, tmp_path):
    entry = entry_of(1)
    state = {name: t for name, t in (entry["state_dict"] | change).items() if t is not None}
    torch.save({"gene": entry | {"state_dict": state}}, tmp_path / "models.ckpt")
    (tmp_path / "genes.txt").write_text("\n".join(GENES))
    assert said in bench("scfoundation", "--path", tmp_path, "--genes", tmp_path / "genes.txt")
