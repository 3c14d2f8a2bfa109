"""Geneformer's weights and dictionaries: every tensor arrives under its published name, or the file is refused."""

import json
import os
import pickle
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import folder_of
from safetensors.torch import save_file

from bench import weights
from bench.cli import main
from bench.core.errors import BenchError
from bench.datasets import download
from bench.datasets.sources import sha256_of
from bench.models.geneformer import checkpoint, dictionaries
from bench.models.geneformer.checkpoint import COPIES, PLACES, convert, shapes
from bench.models.geneformer.network import Architecture, GeneformerNetwork
from bench.models.geneformer.sources import PUBLISHED
from bench.models.geneformer.vocabulary import Vocabulary
from bench.weights import load_into, of_model, read
from bench.weights.plain_pickle import read_dictionary

SMALL = Architecture(12, 64, 2, 1, 24, 16)
GENES = [f"ENSG{i:011}" for i in range(1, 11)]
TOKENS = {"<pad>": 0, "<mask>": 1} | {gene: i for i, gene in enumerate(GENES, start=2)}
MIRROR = os.environ.get("BENCH_MIRROR")
published_ones = pytest.mark.skipif(
    not MIRROR or not (Path(MIRROR) / "token_dictionary_gc104M.pkl").is_file(),
    reason="needs the published dictionaries in BENCH_MIRROR",
)


def drawn(a: Architecture = SMALL) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=rng) for name, shape in shapes(a)}


def bench(*words):
    return CliRunner().invoke(main, ["weights", *map(str, words)])


@pytest.fixture(autouse=True)
def places(monkeypatch, tmp_path):
    """Give every test an empty cache, and no mirror unless it asks for one."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCH_MIRROR", raising=False)
    monkeypatch.setattr(download, "PAUSE_S", 0)
    monkeypatch.setattr(download, "ATTEMPTS", 1)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A small checkpoint with dictionaries of its size beside it, which count as the published ones."""
    to = tmp_path / "Geneformer-Small"
    to.mkdir()
    names = {f"Gene{i}": gene for i, gene in enumerate(GENES)}
    content = (TOKENS, dict.fromkeys(GENES, np.float64(2.5)), names)
    files = []
    for source, one in zip(dictionaries.FILES["V1"], content, strict=True):
        (to / source.name).write_bytes(pickle.dumps(one))
        files.append(replace(source, sha256=sha256_of(to / source.name), size=None))
    monkeypatch.setitem(dictionaries.FILES, "V1", tuple(files))
    monkeypatch.setattr(checkpoint, "SIZES", {"V1": 12, "V2": 20_275})
    save_file(drawn(), to / "model.safetensors")
    return to


# Places


def test_published_files_are_the_documented_ones():
    found = {name: (e.sources[0].size, e.sources[0].sha256[:8]) for name, e in PUBLISHED.items()}
    assert list(found)[:4] == [f"geneformer_{n}" for n in ("v1_10m", "v2_104m", "v2_104m_clcancer", "v2_316m")]
    assert found["geneformer_v1_10m"] == (41_183_536, "a5e33a75")
    assert found["geneformer_v2_316m"] == (1_265_455_076, "965cecce")
    assert all(e.sources[0].licence == "Apache-2.0" and e.model == "geneformer" for e in PUBLISHED.values())
    assert weights.known().keys() >= PUBLISHED.keys()
    assert PUBLISHED["geneformer_v2_104m"].sources[0].url.endswith("/Geneformer-V2-104M/model.safetensors")


def test_what_was_taken_out_of_the_repository_says_where_it_is():
    refused = bench("geneformer_12l_95m")
    assert "has no address to download from" in refused.stderr and "git log --all" in refused.stderr


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path.rpartition("/")[2])
        body = (self.server.folder / self.server.asked[-1]).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(folder, monkeypatch):
    """Let the published files be those of `folder`, on a server of this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads, server.folder, server.asked = True, folder, []
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        known = PUBLISHED["geneformer_v1_10m"]
        file = folder / "model.safetensors"
        source = replace(known.sources[0], sha256=sha256_of(file), size=None, url=f"{url}/{file.name}")
        monkeypatch.setitem(PUBLISHED, "geneformer_v1_10m", replace(known, sources=(source,)))
        moved = tuple(replace(s, url=f"{url}/{s.name}") for s in dictionaries.FILES["V1"])
        monkeypatch.setitem(dictionaries.FILES, "V1", moved)
        yield server
        server.shutdown()


def test_a_download_brings_the_dictionaries_along_and_is_made_once(server):
    result = bench("geneformer")
    assert result.exit_code == 0, result.output
    path = Path(result.stdout.splitlines()[0])
    assert path.name == "geneformer_v1_10m.safetensors"
    assert server.asked == ["model.safetensors", *(source.name for source in dictionaries.FILES["V1"])]
    assert "licence: Apache-2.0" in result.output
    assert "vocabulary: 10 genes, known by 10 other names too, and <pad>, <mask>" in result.output
    assert bench("geneformer_v1_10m").exit_code == 0 and len(server.asked) == 4
    told = read(path).metadata
    found = Vocabulary.told(told["genes"], told["medians"], told["names"])
    assert found.columns(["Gene3", GENES[0], "nobody", GENES[9].lower()]).tolist() == [5, 2, -1, 11]
    assert (told["heads"], told["version"], found.medians[2]) == ("1", "V1", 2.5)


@pytest.mark.parametrize("named", ["folder", "file", "other name"])
def test_a_published_file_is_known_by_its_hash(server, folder, named):
    file = folder / "model.safetensors"
    if named == "other name":
        file = file.rename(folder / "mine.safetensors")
    path = of_model("geneformer", folder if named == "folder" else file)
    assert path.name == "geneformer_v1_10m.safetensors"


def test_a_published_file_of_another_size_is_known_too(server, folder, monkeypatch):
    monkeypatch.setitem(PUBLISHED, "geneformer_v2_316m", PUBLISHED["geneformer_v1_10m"])
    monkeypatch.setitem(PUBLISHED, "geneformer_v1_10m", PUBLISHED["geneformer_v2_104m"])
    assert of_model("geneformer", folder).name == "geneformer_v2_316m.safetensors"


def test_coverage_counts_the_names_of_genes(server, folder, tmp_path, small):
    cells = small[:, :12].copy()
    cells.var_names = [f"Gene{i}" for i in range(8)] + [f"NOT{i}" for i in range(4)]
    cells.write_h5ad(tmp_path / "cells.h5ad")
    said = bench("geneformer", "--data", tmp_path / "cells.h5ad").output
    assert "8 of 12 genes are in the vocabulary; dropped 4: NOT0" in said


# Tensors


def test_every_tensor_is_in_the_network_bit_for_bit(folder):
    file = read(of_model("geneformer", folder))
    network = GeneformerNetwork(Architecture.of(file.tensors, int(file.metadata["heads"])), seed=5)
    audit = load_into(network, file)
    assert (audit.missing, audit.unused, audit.loaded) == ((), (), len(drawn()))
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in drawn().items())


def test_copies_of_older_files_are_taken_only_if_they_are_copies(folder):
    tensors = drawn()
    copies = {copy: tensors[source].clone() for copy, source in COPIES.items()}
    torch.save(tensors | copies | {PLACES: torch.arange(16)[None]}, folder / "pytorch_model.bin")
    found, told = convert([folder / "pytorch_model.bin"], None)
    assert found.keys() == tensors.keys()
    assert told["left_out"].count("cls.predictions.decoder") == 2 and PLACES in told["left_out"]
    copies["cls.predictions.decoder.bias"] += 1
    torch.save(tensors | copies, folder / "pytorch_model.bin")
    with pytest.raises(BenchError, match=r"decoder.bias should be the same as cls.predictions.bias"):
        convert([folder / "pytorch_model.bin"], None)


def test_a_fine_tuned_classifier_gives_its_encoder_and_says_what_it_leaves_out(folder):
    tensors = {name: t for name, t in drawn().items() if not name.startswith("cls.")}
    extra = {"bert.pooler.dense.weight": torch.ones(64, 64), "bert.pooler.dense.bias": torch.ones(64)}
    extra |= {"classifier.weight": torch.ones(3, 64), "classifier.bias": torch.ones(3)}
    save_file(tensors | extra, folder / "model.safetensors")
    found, told = convert([folder / "model.safetensors"], None)
    assert found.keys() == tensors.keys()
    assert told["left_out"].startswith("bert.pooler.dense.bias, bert.pooler.dense.weight, classifier.bias")
    assert "a classifier of the labels it was fine-tuned to" in told["left_out"]
    assert not Architecture.of(found, 1).predicts


def without(name: str):
    return lambda folder: save_file({n: t for n, t in drawn().items() if n != name}, folder / "model.safetensors")


def with_more(**more: torch.Tensor):
    named = {name.replace("__", "."): tensor for name, tensor in more.items()}
    return lambda folder: save_file(drawn() | named, folder / "model.safetensors")


KEY = "bert.encoder.layer.1.attention.self.key.weight"
REFUSED = {
    "a tensor too few": (without(KEY), f"Not in it: {KEY}"),
    "a tensor too many": (with_more(bert__more=torch.ones(2)), "Not of Geneformer: bert.more"),
    "another shape": (with_more(**{KEY: torch.ones(3, 64)}), rf"{KEY}: \(3, 64\), expected \(64, 64\)"),
    "another model": (lambda f: save_file({"a": torch.ones(2)}, f / "model.safetensors"), "no Geneformer checkpoint"),
    "another vocabulary": (
        lambda f: save_file(drawn(replace(SMALL, n_tokens=25_429)), f / "model.safetensors"),
        "embeds 25,429 tokens, and the published vocabularies of Geneformer have 12 .V1. and 20,275",
    ),
    "GELU": (
        lambda f: (f / "config.json").write_text(json.dumps({"hidden_act": "gelu"})),
        "another network than Geneformer: hidden_act is 'gelu', not 'relu'",
    ),
    "another dictionary": (
        lambda f: (f / dictionaries.FILES["V1"][0].name).write_bytes(pickle.dumps({"<pad>": 0})),
        "is not the published file",
    ),
}


@pytest.mark.parametrize("harm", REFUSED)
def test_a_file_that_is_no_geneformer_is_refused_by_name(harm, folder):
    spoil, said = REFUSED[harm]
    spoil(folder)
    with pytest.raises(BenchError, match=said):
        of_model("geneformer", folder)
    assert not list((folder.parent / "cache" / "weights").glob("*.safetensors"))


def test_a_program_is_refused_and_not_run(folder):
    torch.save({"a": os.system}, folder / "training_args.bin")
    with pytest.raises(BenchError, match=r"asks to import (posix|nt).system"):
        of_model("geneformer", folder / "training_args.bin")


@pytest.mark.parametrize("size", ["Geneformer-V1-10M", "Geneformer-V2-104M", "Geneformer-V2-316M"])
def test_names_and_shapes_of_published_sizes_are_those_of_the_network(size):
    about = json.loads((folder_of("geneformer_keys") / "geneformer_keys.json").read_text())["checkpoints"][size]
    c = about["config"]
    sizes = [c[k] for k in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")]
    a = Architecture(*sizes, c["intermediate_size"], c["max_position_embeddings"])
    with torch.device("meta"):
        network = GeneformerNetwork(a)
    held = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert held == dict(shapes(a))
    assert sum(int(np.prod(shape)) for shape in held.values()) == about["parameters"]
    assert checkpoint.heads_of(Path("nowhere"), a.dim) == a.heads


@pytest.mark.slow
@published_ones
def test_a_file_of_true_size_has_the_published_bytes_and_becomes_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_MIRROR", MIRROR)
    rng = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(shape, generator=rng) * 0.02 for name, shape in shapes(Architecture())}
    save_file(tensors | {PLACES: torch.arange(2048)[None]}, tmp_path / "model.safetensors", {"format": "pt"})
    assert (tmp_path / "model.safetensors").stat().st_size == PUBLISHED["geneformer_v1_10m"].sources[0].size
    file = read(of_model("geneformer", tmp_path))
    assert (file.metadata["parameters"], file.metadata["heads"]) == ("10288722", "4")
    audit = load_into(GeneformerNetwork(Architecture.of(file.tensors, 4)), file)
    assert (audit.loaded, audit.missing, audit.unused) == (106, (), ())


# Dictionaries


@pytest.mark.slow
@published_ones
def test_anchors_of_the_published_dictionaries(monkeypatch):
    monkeypatch.setenv("BENCH_MIRROR", MIRROR)
    genes = ["GAPDH", "MT-CO1", "ACTB", "FOXP3", "CD3E", "MALAT1"]
    anchors = {"V1": [3906, 17247, 1319, 670, 17276, -1], "V2": [3880, 16868, 1312, 668, 16897, -1]}
    for version, tokens in anchors.items():
        found = dictionaries.published(version)
        assert found.version == version and len(found.tokens) == dictionaries.SIZES[version]
        assert found.columns(genes).tolist() == tokens
        assert found.tokens[len(found.special)] == "ENSG00000000003"
    assert dictionaries.published("V1").medians[3906] == pytest.approx(20.0454506)
    assert found.columns(["c15orf40", "C15orf40", "ENSG00000111640"]).tolist()[2] == 3880


def test_a_dictionary_of_numbers_is_read(tmp_path):
    content = {"a": 1, "b": 2.5, "c": "text", "d": np.float64(0.1), "e": np.int64(7), "f": np.float32(0.5)}
    for protocol in range(6):
        (tmp_path / "plain.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
        if protocol < 3:  # bytes come as a call of _codecs.encode then, which nobody publishes
            with pytest.raises(BenchError, match=r"asks to import _codecs.encode"):
                read_dictionary(tmp_path / "plain.pkl")
            continue
        found = read_dictionary(tmp_path / "plain.pkl")
        assert found == content and {type(v) for v in found.values()} == {int, float, str}


class Runs:
    def __reduce__(self):
        return os.system, ("touch ran",)


OTHERS = {
    "a program": (pickle.dumps({"a": Runs()}), r"asks to import (posix|nt).system, and a pickle that imports"),
    "builtins": (pickle.dumps({"a": eval}), r"asks to import builtins.eval"),
    "numpy beyond numbers": (pickle.dumps(np.ones(3)), r"asks to import numpy.*_reconstruct"),
    "no dictionary": (pickle.dumps([1, 2]), "holds no plain dictionary"),
    "nested": (pickle.dumps({"a": {"b": 1}}), "holds no plain dictionary"),
    "numbers as names": (pickle.dumps({1: 2}), "holds no plain dictionary"),
    "cut short": (pickle.dumps({"a": 1, "b": "x" * 99})[:-30], "incomplete or damaged"),
    "no pickle": (b"<!DOCTYPE html>", "incomplete or damaged"),
    "an object as number": (pickle.dumps({"a": np.dtype("O")}), "type 'O8', which are no plain numbers"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_anything_else_is_refused_and_nothing_of_it_is_run(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, said = OTHERS[kind]
    (tmp_path / "odd.pkl").write_bytes(content)
    with pytest.raises(BenchError, match=said):
        read_dictionary(tmp_path / "odd.pkl")
    assert not (tmp_path / "ran").exists()
