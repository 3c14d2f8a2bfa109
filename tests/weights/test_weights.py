"""Weights are the published ones, are read without running anything, and no tensor is dropped or left random unseen."""

import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import test_sources
import torch
from click.testing import CliRunner
from forked import Script
from torch import nn

from bench import weights
from bench.cli import main
from bench.core.errors import BenchError
from bench.datasets import download, panglao
from bench.datasets.sources import Source, cache_folder, sha256_of
from bench.models.scbert import checkpoint as scbert_weights
from bench.models.scbert.sources import PUBLISHED
from bench.training.recipes import named
from bench.weights import Audit, describe, identity, load_into, of_model, own, published, read, resolve, save
from bench.weights import sources as weights_sources

MIRROR = os.environ.get("BENCH_MIRROR")
N_GENES, DIM, DEPTH, INNER = 16_906, 200, 6, 640
GENES = [f"GENE{i}" for i in range(N_GENES)]


def layout(n_genes=N_GENES, dim=DIM, depth=DEPTH, inner=INNER) -> dict[str, tuple[int, ...]]:
    """Return names and shapes as PyTorch prints them for the published checkpoint."""
    shapes = {"token_emb.weight": (7, dim), "pos_emb.emb.weight": (n_genes + 1, dim)}
    shapes["performer.calls_since_last_redraw"] = ()
    for i in range(depth):
        for name, shape in {
            "0.norm.weight": (dim,),
            "0.norm.bias": (dim,),
            "0.fn.fast_attention.projection_matrix": (266, 64),
            "0.fn.to_q.weight": (inner, dim),
            "0.fn.to_k.weight": (inner, dim),
            "0.fn.to_v.weight": (inner, dim),
            "0.fn.to_out.weight": (dim, inner),
            "0.fn.to_out.bias": (dim,),
            "1.norm.weight": (dim,),
            "1.norm.bias": (dim,),
            "1.fn.fn.w1.weight": (4 * dim, dim),
            "1.fn.fn.w1.bias": (4 * dim,),
            "1.fn.fn.w2.weight": (dim, 4 * dim),
            "1.fn.fn.w2.bias": (dim,),
        }.items():
            shapes[f"performer.net.layers.{i}.{name}"] = shape
    ends = {"norm.weight": (dim,), "norm.bias": (dim,), "to_out.weight": (7, dim), "to_out.bias": (7,)}
    return shapes | ends


def random_tensors(**sizes) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in layout(**sizes).items()}
    tensors["pos_emb.emb.weight"] = tensors["pos_emb.emb.weight"].double() / 3  # not representable in float32
    tensors["pos_emb.emb.weight"][-1] = 0
    tensors["performer.calls_since_last_redraw"] = torch.tensor(17)
    return tensors


def wrapped(tensors, prefix="module.") -> dict:
    """Return what scBERT's pretraining saves after training with several processes."""
    moments = {0: {"step": 5, "exp_avg": torch.zeros(3), "exp_avg_sq": torch.zeros(3)}}
    return {
        "epoch": 17,
        "model_state_dict": {prefix + name: tensor for name, tensor in tensors.items()},
        "optimizer_state_dict": {"state": moments, "param_groups": [{"lr": 1e-4, "params": [0]}]},
        "scheduler_state_dict": {"cycle": 1, "base_lrs": [1e-6]},
        "losses": 0.31,
    }


@pytest.fixture(scope="module")
def true_size() -> dict[str, torch.Tensor]:
    return random_tensors()


@pytest.fixture(scope="module")
def original(true_size, tmp_path_factory) -> Path:
    """Return a file with the published layout: 91 tensors of the published names and shapes, random values."""
    path = tmp_path_factory.mktemp("original") / "panglao_pretrain.pth"
    torch.save(wrapped(true_size), path)
    return path


@pytest.fixture(autouse=True)
def places(monkeypatch, tmp_path):
    """Give every test an empty cache, no mirror, and genes that need no network."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCH_MIRROR", raising=False)
    monkeypatch.setattr(download, "PAUSE_S", 0)
    monkeypatch.setattr(scbert_weights, "gene_order", lambda path=None: GENES)


@pytest.fixture
def entry(monkeypatch, original):
    """Let the published weights be the file of this module; return a function that changes their source."""

    def change(**fields) -> Source:
        known = PUBLISHED["scbert_panglao"]
        source = replace(known.sources[0], **fields)
        monkeypatch.setitem(PUBLISHED, "scbert_panglao", replace(known, sources=(source,)))
        return source

    change(sha256=sha256_of(original), size=original.stat().st_size, url="http://127.0.0.1:9/nothing")
    return change


def stored(tmp_path, content, name="weights.pth", **options) -> Path:
    torch.save(content, tmp_path / name, **options)
    return tmp_path / name


def small() -> dict[str, torch.Tensor]:
    return {"a.weight": torch.randn(3, 4), "b": torch.arange(5), "c": torch.randn(6, dtype=torch.float64)}


def same(left, right) -> bool:
    return left.keys() == right.keys() and all(
        torch.equal(left[n], right[n]) and left[n].dtype == right[n].dtype for n in left
    )


# Reading


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrapper", [None, "model_state_dict", "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_torch_files_are_read_whatever_is_around_the_tensors(tmp_path, zipped, wrapper, prefix):
    tensors = small()
    content = {prefix + name: tensor for name, tensor in tensors.items()}
    content = {wrapper: content, "epoch": 3, "optimizer": {"lr": 0.1}} if wrapper else content
    path = stored(tmp_path, content, _use_new_zipfile_serialization=zipped)
    found = read(path)
    assert same(found.tensors, tensors)
    assert found.metadata == ({"epoch": "3", "ignored": "optimizer"} if wrapper else {})
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.path == path


def test_published_layout_is_read_with_every_dtype_kept(original, true_size):
    found = read(original)
    assert len(found.tensors) == 91
    assert same(found.tensors, true_size)
    assert found.tensors["pos_emb.emb.weight"].dtype == torch.float64
    ignored = "optimizer_state_dict, scheduler_state_dict, losses"
    assert found.metadata == {"epoch": "17", "ignored": ignored}


def test_a_submodule_that_is_called_module_keeps_its_name(tmp_path):
    tensors = {"module.a": torch.ones(2), "head": torch.zeros(2)}
    assert same(read(stored(tmp_path, tensors)).tensors, tensors)


def test_safetensors_come_back_bit_for_bit_with_metadata(tmp_path):
    tensors = small() | {"half": torch.randn(3).to(torch.bfloat16), "scalar": torch.tensor(7)}
    path = tmp_path / "deep" / "w.safetensors"
    save(path, tensors, {"library": "panglao", "genes": '["É", "B"]'})
    found = read(path)
    assert same(found.tensors, tensors)
    assert found.metadata == {"library": "panglao", "genes": '["É", "B"]'}
    assert [p.name for p in path.parent.iterdir()] == ["w.safetensors"]


def test_saving_takes_views_shared_memory_and_parameters(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {"t": base.T, "again": base.T, "row": base[1], "p": nn.Parameter(base)}
    save(tmp_path / "w.safetensors", tensors, {})
    found = read(tmp_path / "w.safetensors").tensors
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


@pytest.mark.slow
def test_equal_content_makes_equal_files_in_every_process(tmp_path, warm):
    code = "import torch, sys; from pathlib import Path; from bench.weights import save\n"
    code += "save(Path(sys.argv[1]), {'b': torch.ones(3), 'a': torch.zeros(2)}, {c * 3: c for c in 'abcdefghijkl'})"
    assert Script(code, tmp_path / "1").wait().returncode == 0
    save(tmp_path / "2", {"a": torch.zeros(2), "b": torch.ones(3)}, {c * 3: c for c in "lkjihgfedcba"})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    assert safetensors.torch.load_file(tmp_path / "1")["b"].tolist() == [1, 1, 1]


def test_a_full_or_forbidden_folder_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match=r"Weights cannot be written to .*file/sub: Not a directory.*BENCH_CACHE"):
        save(tmp_path / "file" / "sub" / "w.safetensors", small(), {})


def test_metadata_that_is_not_text_is_refused(tmp_path):
    with pytest.raises(BenchError, match=r"must be text.*'epoch'"):
        save(tmp_path / "w.safetensors", small(), {"epoch": 3, "ok": "x"})
    assert not list(tmp_path.iterdir())


class Harmful:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("way", ["zip", "legacy", "pickle"])
def test_a_pickle_that_asks_to_run_something_is_refused_and_nothing_runs(tmp_path, way):
    content = {"model": small(), "extra": Harmful(tmp_path / "ran")}
    path = tmp_path / "weights.pth"
    if way == "pickle":
        path.write_bytes(pickle.dumps(Harmful(tmp_path / "ran")))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=way == "zip")
    with pytest.raises(
        BenchError, match=r"refused and nothing of it was run: it asks to import posix\.system,.*state dict"
    ):
        read(path)
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(Harmful(tmp_path / "ran")))  # the object does what it should not have done
    assert (tmp_path / "ran").exists()


def test_a_whole_module_is_refused_with_the_classes_it_wants(tmp_path):
    with pytest.raises(BenchError, match=r"asks to import torch\.nn\.modules\.linear\.Linear, .*state dict"):
        read(stored(tmp_path, nn.Linear(2, 2)))


def test_torch_files_are_only_ever_opened_with_weights_only(tmp_path, monkeypatch):
    path, asked, load = stored(tmp_path, small()), [], torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **options: asked.append(options) or load(*a, **options))
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # a user's setting must not open the door
    read(path)
    assert asked == [{"map_location": "cpu", "weights_only": True}]


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("part", [0, 0.02, 0.5, 0.98])
def test_half_written_files_are_named_as_such(tmp_path, kind, part):
    path = tmp_path / "w"
    if kind == "safetensors":
        save(path, small(), {})
    else:
        torch.save(small(), path, _use_new_zipfile_serialization=kind == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: max(int(len(content) * part), 12 if part else 0)])
    with pytest.raises(BenchError, match=rf"{path} (is empty \(0 bytes\)|\([\d,]+ bytes\) is incomplete).*again\."):
        read(path)


def test_a_flipped_bit_in_a_zip_file_is_seen(tmp_path):
    path = stored(tmp_path, {"w": torch.ones(1000)})
    content = bytearray(path.read_bytes())
    place = content.index(torch.ones(1000).numpy().tobytes())
    content[place + 2001] ^= 1
    path.write_bytes(content)
    assert not torch.equal(torch.load(path, weights_only=True)["w"], torch.ones(1000))  # torch itself reads on
    with pytest.raises(BenchError, match=r"damaged: the check sum of .*data/0 in it does not match"):
        read(path)


def write_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"x")


def write_script(path):
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: path.write_bytes(b""), r"is empty \(0 bytes\)"),
        (lambda path: path.mkdir(), "is a folder; give the path of a weights file"),
        (lambda path: None, "is not there"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid x"), "Git LFS pointer"),
        (lambda path: path.write_text("\n<!DOCTYPE html><html>quota"), "a web page, saved in place"),
        (lambda path: np.save(path.open("wb"), np.zeros(3)), r"no checkpoint: it begins with b'\\x93NUMPY"),
        (write_zip, r"a zip file but no torch checkpoint: it holds a\.npy"),
        (write_script, "TorchScript program"),
        (lambda path: path.write_bytes(pickle.dumps({"a": 1})), "a pickle that torch.save did not write"),
        (lambda path: torch.save([torch.ones(2)], path), "holds a list, not a state dict"),
        (
            lambda path: torch.save({"epoch": 3, "note": "x"}, path),
            "no tensors, only epoch, note; expected a",
        ),
        (lambda path: torch.save({"b": torch.ones(1), "net": small()}, path), "tensors nested under net; expected"),
        (lambda path: torch.save({"net": small()}, path), "tensors nested under net; expected a state dict"),
        (lambda path: torch.save({"model": small(), "state_dict": small()}, path), "several sets.*state_dict, model"),
        (
            lambda path: torch.save({"a": torch.ones(1), "module.a": torch.ones(1)}, path),
            "1 tensors twice.*: a",
        ),
        (lambda path: torch.save({0: torch.ones(1)}, path), "under keys that are not names: 0"),
        (lambda path: torch.save({"a": torch.ones(3).to_sparse()}, path), "sparse.*: a"),
        (lambda path: torch.save({"model": {}}, path), "no tensors, only model"),
        (lambda path: safetensors.torch.save_file({}, path), "has no tensors"),
    ],
)
def test_what_is_no_checkpoint_is_told_in_a_sentence(tmp_path, write, said):
    write(tmp_path / "w.pth")
    with pytest.raises(BenchError, match=rf"^{tmp_path / 'w.pth'} .*{said}"):
        read(tmp_path / "w.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_name_their_tensors_in_reading_and_writing(tmp_path, value):
    tensors = small()
    tensors["a.weight"][1, 2] = value
    said = r"not finite.* in 1 of 3 tensors: a\.weight\."
    with pytest.raises(BenchError, match=said):
        read(stored(tmp_path, tensors))
    with pytest.raises(BenchError, match=said):
        save(tmp_path / "w.safetensors", tensors, {})
    assert not (tmp_path / "w.safetensors").exists()


# Loading


class Net(nn.Module):
    def __init__(self, n_out=2):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
        self.head = nn.Linear(3, n_out)


def state(module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def test_every_tensor_is_loaded_and_counted():
    theirs, ours = Net(), Net()
    theirs.body(torch.randn(5, 4))  # moves the buffers
    audit = load_into(ours, state(theirs))
    assert same(state(ours), state(theirs))
    assert audit == Audit(loaded=9, total=9)
    assert str(audit) == "9 of 9 tensors"


def test_the_audit_of_a_file_has_its_hash_and_that_of_a_converted_one_the_originals(tmp_path):
    net = Net()
    path = stored(tmp_path, net.state_dict())
    digest = sha256_of(path)
    assert str(load_into(Net(), read(path))) == f"9 of 9 tensors, sha256 {digest[:16]}"
    save(tmp_path / "w.safetensors", net.state_dict(), {"source_sha256": digest})
    assert load_into(Net(), read(tmp_path / "w.safetensors")).sha256 == digest


def changed(**changes) -> dict[str, torch.Tensor]:
    """Return a state dict of Net with some tensors replaced, or, if None, left out; __ stands for a dot."""
    tensors = state(Net()) | {name.replace("__", "."): value for name, value in changes.items()}
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (changed(head__bias=None), "1 in the module only, which would stay random: head.bias"),
        (changed(other=torch.ones(1)), "1 in the file only, which would be dropped: other"),
        (changed(head__weight=torch.ones(5, 3)), r"head\.weight: shape \(5, 3\) in the file, \(2, 3\) in the module"),
        (changed(head__bias=torch.ones(1, 2)), r"head\.bias: shape \(1, 2\) in the file, \(2,\) in the module"),
        (
            changed(body__1__num_batches_tracked=torch.tensor(1.5)),
            "float32 in the file, torch.int64 in the module",
        ),
        (changed(head__bias=torch.ones(2, dtype=torch.int64)), "torch.int64 in the file, torch.float32 in the module"),
        (
            changed(head__bias=torch.ones(2, dtype=torch.float64) * 1e300),
            "in the file that torch.float32 cannot hold",
        ),
        (changed(head__bias=torch.tensor([1.0, float("nan")])), r"head\.bias: values"),
        (
            changed(head__bias=None, other=torch.ones(1), head__weight=torch.ones(5, 3)),
            r"head\.bias\..*other\..*head\.weight: shape",
        ),
    ],
)
def test_whatever_does_not_fit_is_told_and_nothing_is_loaded(tensors, said):
    net = Net()
    before = state(net)
    with pytest.raises(BenchError, match=rf"No fit for Net; nothing was loaded\..*{said}"):
        load_into(net, tensors)
    assert same(state(net), before)


def test_attention_weights_under_other_names_are_never_dropped(tmp_path):
    """The failure that this project is built against: flash attention's names, loaded with what matches."""
    layer = nn.TransformerEncoderLayer(8, 2, 16)
    theirs = {name.replace("in_proj_", "Wqkv."): tensor for name, tensor in layer.state_dict().items()}
    path = stored(tmp_path, theirs)
    ours = nn.TransformerEncoderLayer(8, 2, 16)
    with pytest.raises(BenchError) as error:
        load_into(ours, read(path))
    for name in ("self_attn.in_proj_weight", "self_attn.in_proj_bias", "self_attn.Wqkv.weight", "self_attn.Wqkv.bias"):
        assert name in str(error.value)
    audit = load_into(ours, read(path), rename=lambda name: name.replace("Wqkv.", "in_proj_"))
    assert (audit.loaded, audit.total) == (12, 12)
    assert same(state(ours), state(layer))


def test_allowed_differences_are_in_the_audit():
    net = Net()
    before = state(net)
    tensors = changed(head__weight=None, head__bias=None, decoder__w=torch.ones(1))
    audit = load_into(net, tensors, allow_missing=["head.*"], allow_unused="decoder.*")
    assert audit == Audit(7, 8, ("head.weight", "head.bias"), ("decoder.w",))
    assert str(audit) == "7 of 8 tensors; not in the file: head.weight, head.bias; not in the module: decoder.w"
    assert torch.equal(net.head.weight, before["head.weight"])
    with pytest.raises(BenchError, match=r"1 in the module only.*: head\.bias\."):
        load_into(Net(), tensors, allow_missing=["*.weight"], allow_unused=["*"])


def test_a_wrong_shape_is_no_difference_that_can_be_allowed():
    with pytest.raises(BenchError, match=r"head\.bias: shape .*make it with the file's"):
        load_into(Net(), changed(head__bias=torch.ones(9)), allow_missing=["*"], allow_unused=["*"])


@pytest.mark.parametrize(("ours", "theirs"), [("", "bert.encoder."), ("bert.", "")])
def test_names_that_differ_by_a_prefix_are_told_with_the_remedy(ours, theirs):
    module = nn.Module()
    module.bert = Net()
    module, before = (module, state(module)) if ours else (module.bert, None)
    tensors = {theirs + name: tensor for name, tensor in state(Net()).items()}
    with pytest.raises(BenchError, match=rf"has '{ours or theirs}' in front of the names: rename=lambda") as error:
        load_into(module, tensors)
    remedy = eval(str(error.value).partition("rename=")[2].partition(". If that")[0])  # what the message says works
    assert load_into(module, tensors, rename=remedy).loaded == 9
    assert before is None or not same(before, state(module))


def test_renaming_with_a_dictionary_is_partial_and_checked():
    tensors = state(Net())
    tensors["classifier.bias"] = tensors.pop("head.bias")
    assert load_into(Net(), tensors, rename={"classifier.bias": "head.bias"}).loaded == 9
    with pytest.raises(BenchError, match=r"rename has names that the file has not: clasifier\.bias"):
        load_into(Net(), tensors, rename={"clasifier.bias": "head.bias"})
    with pytest.raises(BenchError, match=r"several tensors to one name: head\.weight and classifier\.bias to x"):
        load_into(Net(), tensors, rename={"classifier.bias": "x", "head.weight": "x"})


def test_long_lists_are_shortened_with_counts():
    module = nn.Module()
    with pytest.raises(BenchError, match=r"45 in the file only, which would be dropped: t0, .*, t19 and 25 more\."):
        load_into(module, {f"t{i}": torch.ones(1) for i in range(45)})


def test_the_modules_dtype_stays_and_whole_numbers_must_fit():
    net = Net().double()
    tensors = state(Net()) | {"body.1.num_batches_tracked": torch.tensor(7, dtype=torch.int32)}
    load_into(net, tensors)
    assert net.head.weight.dtype == torch.float64
    assert torch.equal(net.head.weight.float(), tensors["head.weight"])
    assert net.body[1].num_batches_tracked.dtype == torch.int64
    net = nn.Module()
    net.register_buffer("n", torch.tensor(0, dtype=torch.int8))
    with pytest.raises(BenchError, match=r"n: values of torch\.int64 in the file that torch\.int8 cannot hold"):
        load_into(net, {"n": torch.tensor(300)})


def test_modules_that_could_lose_values_without_a_word_are_refused():
    with pytest.raises(BenchError, match="the module has no memory for it"):
        load_into(Net().to("meta"), state(Net()))
    tied = Net(3)
    tied.body[0].bias = tied.head.bias
    with pytest.raises(BenchError, match=r"body\.0\.bias and head\.bias: one tensor in the module, two different ones"):
        load_into(tied, state(Net(3)))
    assert load_into(tied, state(tied)).loaded == 9

    class Hooked(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2))
            self.register_load_state_dict_post_hook(lambda module, _: setattr(module.scale, "data", torch.zeros(2)))

    with pytest.raises(BenchError, match=r"does not hold what was loaded into scale"):
        load_into(Hooked(), {"scale": torch.ones(2)})


# Published weights


@pytest.fixture
def server(original, monkeypatch):
    monkeypatch.setattr(test_sources, "CONTENT", original.read_bytes())
    with ThreadingHTTPServer(("127.0.0.1", 0), test_sources.Handler) as server:
        server.daemon_threads = True
        server.asked, server.breaks, server.release = [], 1, threading.Event()
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        server.url = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()


def test_the_published_source_is_the_documented_one():
    entry = weights.known()["scbert_panglao"]
    (source,) = entry.sources
    assert entry.model == "scbert"
    assert (source.name, source.size) == ("panglao_pretrain.pth", 87_631_538)
    assert source.sha256 == "aa27109136580b24a1b985f63d0ba31f22490d09e71b13d1793cbff38619dfe3"
    assert source.url == "https://huggingface.co/btraven/scbert-panglao-pretrain/resolve/main/panglao_pretrain.pth"
    assert "GPL-3.0" in source.licence


@pytest.mark.slow
def test_download_is_resumed_checked_and_converted_with_all_that_a_reader_needs(server, entry, true_size):
    source = entry(url=f"{server.url}/interrupted")
    path = published("scbert_panglao")
    assert path == cache_folder() / "weights" / "scbert_panglao.safetensors"
    half = source.size // 2
    assert [note.range for note in server.asked] == [None, f"bytes={half}-"]
    found = read(path)
    assert same(found.tensors, true_size)
    assert json.loads(found.metadata["genes"]) == GENES
    expected = {"library": "panglao", "source_sha256": source.sha256, "identity": source.sha256[:16], "epoch": "17"}
    expected |= {"licence": source.licence, "source": "panglao_pretrain.pth", "model": "scbert"}
    assert expected.items() <= found.metadata.items()
    assert found.metadata["parameters"] == str(5_007_207 + 3_381_400)
    assert found.metadata["gene2vec"].startswith("WARNING: its 16,906 vectors are not the published")
    assert found.origin_sha256 == source.sha256
    assert identity(path) == source.sha256[:16]


def test_wrong_download_is_deleted_and_nothing_is_converted(server, entry):
    entry(url=f"{server.url}/corrupt")
    with pytest.raises(BenchError, match=r"Weights scbert_panglao: The download of .*is not the published file"):
        published("scbert_panglao")
    assert not (cache_folder() / "weights").exists()


def test_without_network_the_sentence_says_where_else_the_file_is(entry):
    with pytest.raises(
        BenchError, match=r"Cannot download http://127.*BENCH_MIRROR.*--path.*1_Pgk_o8AtQtoXr_ZLQx0eJYo"
    ):
        published("scbert_panglao")


def test_mirror_is_honoured(entry, original, monkeypatch):
    monkeypatch.setenv("BENCH_MIRROR", str(original.parent))
    assert len(read(resolve("scbert_panglao")).tensors) == 91
    assert not (cache_folder() / "downloads").exists()


@pytest.mark.slow
def test_conversion_is_done_once_and_again_when_source_or_converter_change(entry, original, monkeypatch):
    made = published("scbert_panglao", original)
    before = made.stat()
    assert published("scbert_panglao") == made  # no network, no original: the conversion is enough
    assert published("scbert_panglao", original.parent) == made
    assert (made.stat().st_mtime_ns, made.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    content = made.read_bytes()
    for spoil in (
        lambda: save(made, small(), {"source_sha256": "0" * 64}),
        lambda: made.write_bytes(content[:-1]),
        lambda: monkeypatch.setattr(weights_sources, "CONVERSION", "2"),
    ):
        spoil()
        left = made.read_bytes()
        published("scbert_panglao", original)
        assert made.read_bytes() != left
        assert len(read(made).tensors) == 91


def test_a_users_file_that_is_not_the_published_one_is_left_alone_with_a_hint(entry, tmp_path):
    path = stored(tmp_path, wrapped(random_tensors(n_genes=10, dim=8, depth=1, inner=128)), "mine.pth")
    with pytest.raises(BenchError, match=rf"not the published file.*bench weights scbert --path {path}$"):
        published("scbert_panglao", path)
    assert path.exists()


@pytest.mark.slow
def test_killed_in_the_middle_leaves_no_half_file_and_the_next_run_cleans_up(original, tmp_path, entry, warm):
    code = f"""
import os, signal
from pathlib import Path
from bench.weights import files, own
from bench.models.scbert import checkpoint as scbert
def half(file, data):
    file.write(data[: len(data) // 2]); file.flush(); os.kill(os.getpid(), signal.SIGKILL)
files._write_sorted = half
scbert.gene_order = lambda path=None: [f"GENE{{i}}" for i in range({N_GENES})]
own("scbert", Path({str(original)!r}))
"""
    done = Script(code).wait()
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder = cache_folder() / "weights"
    (part,) = [path for path in folder.iterdir() if not path.name.endswith(".lock")]
    assert part.name.startswith(".part-")
    assert part.stat().st_size > 1e6
    os.utime(part, (time.time() - 4000,) * 2)
    made = own("scbert", original)
    assert [path for path in folder.iterdir() if not path.name.endswith(".lock")] == [made]


@pytest.mark.slow
def test_two_at_once_convert_once(entry, original, monkeypatch):
    made, convert = [], scbert_weights.convert
    monkeypatch.setattr(scbert_weights, "convert", lambda *a: made.append(a) or time.sleep(0.2) or convert(*a))
    got = []
    callers = [threading.Thread(target=lambda: got.append(published("scbert_panglao", original))) for _ in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert len(got) == 2
    assert len(made) == 1


# Own checkpoints of scBERT

SIZES = {"n_genes": 12, "dim": 16, "depth": 2, "inner": 128}


@pytest.fixture
def gene_list(tmp_path) -> Path:
    (tmp_path / "genes.txt").write_text("\n".join(GENES[:12]) + "\n")
    return tmp_path / "genes.txt"


def test_own_checkpoint_of_other_sizes_is_converted_under_its_own_name(tmp_path, gene_list):
    tensors = random_tensors(**SIZES)
    path = stored(tmp_path, wrapped(tensors), "mine.pth")
    made = own("scbert", path, gene_list)
    assert same(read(made).tensors, tensors)
    assert json.loads(read(made).metadata["genes"]) == GENES[:12]
    assert made.name == f"mine-{identity(made)[:8]}.safetensors"
    modified = made.stat().st_mtime_ns
    assert own("scbert", path, gene_list).stat().st_mtime_ns == modified
    gene_list.write_text("\n".join(GENES[1:13]))  # other genes: other weights
    assert identity(own("scbert", path, gene_list)) != identity(made)
    assert read(made).origin_sha256 == sha256_of(path)


def test_checkpoint_without_gene2vec_is_accepted(tmp_path):
    tensors = random_tensors(**SIZES)
    del tensors["pos_emb.emb.weight"]
    made = own("scbert", stored(tmp_path, tensors))
    assert read(made).metadata["gene2vec"] == "none in this checkpoint"
    assert json.loads(read(made).metadata["genes"]) == GENES


def test_names_are_those_of_the_published_checkpoint():
    assert len(layout()) == 91
    assert sorted(scbert_weights.names(6)) == sorted(layout())


Q = "performer.net.layers.1.0.fn.to_q.weight"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({Q: None}, rf"\(34 tensors, 35 expected for 2 layers\)\. Not in it: {Q}\."),
        ({"to_out.fc1.weight": torch.ones(2, 2)}, r"Not of scBERT: to_out\.fc1\.weight\. It looks fine-tuned"),
        ({Q: torch.ones(64, 16)}, rf"{Q}: \(64, 16\), expected \(128, 16\)"),
        ({"token_emb.weight": torch.ones(9, 16)}, r"token_emb\.weight: \(9, 16\), expected \(7, 16\)"),
        ({"token_emb.weight": torch.ones(7)}, "has not two dimensions"),
        ({"pos_emb.emb.weight": torch.ones(13, 16)}, "the last row of pos_emb.emb.weight is not zero"),
        ({"pos_emb.emb.weight": torch.zeros(14, 16)}, "has 13 genes .*but 12 are named.*--genes"),
    ],
)
def test_checkpoint_of_another_model_is_refused_with_the_list(tmp_path, gene_list, changes, said):
    tensors = {n: t for n, t in (random_tensors(**SIZES) | changes).items() if t is not None}
    with pytest.raises(BenchError, match=said):
        own("scbert", stored(tmp_path, tensors), gene_list)
    assert not list((cache_folder() / "weights").glob("*.safetensors"))


def test_other_numbers_of_genes_need_a_list_and_the_list_is_checked(tmp_path, gene_list):
    path = stored(tmp_path, random_tensors(**SIZES))
    with pytest.raises(BenchError, match=r"has 12 genes, not the published 16,906.*--genes, one a line"):
        own("scbert", path)
    gene_list.write_text("A\nB\nA\n")
    with pytest.raises(BenchError, match=r"names A more than once"):
        own("scbert", path, gene_list)
    gene_list.write_text("\n")
    with pytest.raises(BenchError, match=r"is empty; expected one gene symbol a line"):
        own("scbert", path, gene_list)
    with pytest.raises(BenchError, match=r"cannot be read as text"):
        own("scbert", path, tmp_path / "nowhere.txt")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gene2vec_is_recognised_by_the_bytes_of_its_npy_file(tmp_path, monkeypatch, dtype):
    table = random_tensors(**SIZES)["pos_emb.emb.weight"]
    np.save(tmp_path / "gene2vec.npy", table[:-1].numpy())
    monkeypatch.setattr(scbert_weights, "GENE2VEC_SHA256", sha256_of(tmp_path / "gene2vec.npy"))
    said = scbert_weights.gene2vec_found(table.to(dtype))
    if dtype == torch.float64:
        assert said == "12 vectors, byte for byte the published gene2vec_16906.npy"
    else:  # rounded to single precision: other values
        assert said.startswith("WARNING: its 12 vectors are not the published gene2vec_16906.npy (sha256 ")


def test_npy_digest_is_numpys_at_the_published_size(tmp_path, true_size):
    vectors = np.ascontiguousarray(true_size["pos_emb.emb.weight"][:-1].numpy())
    np.save(tmp_path / "a.npy", vectors)
    assert next(iter(scbert_weights._npy_digests(vectors))) == sha256_of(tmp_path / "a.npy")


# Names and identities


def test_resolve_takes_names_paths_and_weights_of_the_project(tmp_path, monkeypatch, entry, original):
    path = stored(tmp_path, small())
    assert resolve(path) == resolve(str(path)) == path
    made = published("scbert_panglao", original)
    assert resolve("scbert_panglao") == made
    monkeypatch.setattr("bench.training.pretrain.pretrained", lambda name: path / name)
    assert resolve("scbert_quick") == path / "scbert_quick"
    assert set(weights.pretrained_names()) == set(named())


def test_unknown_weights_are_told_with_the_names():
    with pytest.raises(
        BenchError, match=r"Unknown weights 'scbert_pangalo'\. Did you mean 'scbert_panglao'.*\? .*path"
    ):
        resolve("scbert_pangalo")
    with pytest.raises(BenchError, match=r"No weights file .*no/such\.pth; give a file that is there, or one of"):
        resolve("no/such.pth")
    with pytest.raises(BenchError, match=r"Unknown published weights 'x'"):
        published("x")
    with pytest.raises(BenchError, match=r"Unknown model with weights 'bert'"):
        own("bert", Path("x"))


def test_identity_is_the_metadatas_or_the_files_and_follows_changes(tmp_path):
    path = stored(tmp_path, small())
    assert identity(path) == sha256_of(path)[:16]
    save(tmp_path / "w", small(), {"identity": "0123456789abcdef"})
    assert identity(tmp_path / "w") == "0123456789abcdef"
    save(tmp_path / "w", small(), {})
    assert identity(tmp_path / "w") == sha256_of(tmp_path / "w")[:16]
    save(tmp_path / "w", small(), {"identity": "mine"})
    with pytest.raises(BenchError, match=r"identity='mine' where 16 hex digits"):
        identity(tmp_path / "w")
    with pytest.raises(BenchError, match=r"No weights file"):
        identity(tmp_path / "nothing")


@pytest.mark.slow
def test_names_and_identities_cost_no_torch(tmp_path):
    save(tmp_path / "w", small(), {"identity": "0123456789abcdef"})
    code = "import sys\nfrom bench.training.recipes import named\n"
    code += "from bench.weights import identity, resolve, describe\n"
    code += f"print(identity(resolve({str(tmp_path / 'w')!r})), *named(), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0123456789abcdef", *named(), "False"]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = weights.nothing


# The command


def bench(*arguments):
    return CliRunner().invoke(main, ["weights", *map(str, arguments)])


@pytest.mark.slow
def test_command_prints_what_was_found(entry, original):
    result = bench("scbert_panglao", "--path", original)
    assert result.exit_code == 0, result.output
    path = cache_folder() / "weights" / "scbert_panglao.safetensors"
    for piece in (
        str(path),
        "91 tensors, 8,388,607 parameters",
        f"sha256 {sha256_of(path)}, identity {sha256_of(original)[:16]}",
        f"converted from panglao_pretrain.pth, sha256 {sha256_of(original)}",
        "gene2vec: WARNING",
        "licence: GPL-3.0",
        "genes: 16,906, order sha256 ",
        "another order than the published one",
    ):
        assert piece in result.output
    assert bench("scbert_panglao").stdout == result.stdout == bench(path).stdout


@pytest.mark.slow
def test_a_model_stands_for_its_published_weights(entry, original, tmp_path, monkeypatch):
    made = published("scbert_panglao", original)
    assert bench("scbert").output == bench("scbert_panglao").output
    renamed = tmp_path / "any_name.pt"
    renamed.write_bytes(original.read_bytes())
    for place in (renamed, original.parent):
        assert bench("scbert", "--path", place).output.splitlines()[0] == str(made)
    made.unlink()
    with pytest.raises(BenchError, match=rf"^{tmp_path} has no panglao_pretrain\.pth\. A checkpoint of scbert is "):
        of_model("scbert", tmp_path)
    monkeypatch.setenv("BENCH_MIRROR", str(original.parent))
    assert bench("scbert").output.splitlines()[0] == str(made)
    assert len(read(made).tensors) == 91


def test_published_gene_order_is_recognised(tmp_path, original, monkeypatch):
    if not (MIRROR and (Path(MIRROR) / panglao.GENE_ORDER.name).is_file()):
        pytest.skip(f"{panglao.GENE_ORDER.name} is not in the folder that BENCH_MIRROR names")
    monkeypatch.setattr(scbert_weights, "gene_order", panglao.gene_order)
    monkeypatch.setenv("BENCH_MIRROR", MIRROR)
    lines = describe(own("scbert", original))
    assert lines[-1].startswith(f"genes: 16,906, order sha256 {panglao.NAMES_SHA256} (the published order)")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["scbert", "--genes", "x"], "--genes goes with a checkpoint of your own; name that with --path."),
        (["scbert", "--path", __file__, "--continual"], "--continual is for scgpt, not for scbert; leave it out."),
        (["scbert_panglao", "--genes", "x"], "--genes goes with a checkpoint of your own"),
        (["scbert", "--path", "nowhere.pth"], "--path nowhere.pth is not there"),
        (["scbort"], "Unknown weights 'scbort'. Did you mean"),
        (
            [__file__],
            "is not a whole safetensors file. A torch checkpoint is converted with: bench weights MODEL",
        ),
    ],
)
def test_mistakes_on_the_command_line_are_sentences(arguments, said):
    result = bench(*arguments)
    assert result.exit_code == 2
    assert said in result.output


def test_command_describes_an_own_checkpoint(tmp_path, gene_list):
    result = bench(
        "scbert", "--path", stored(tmp_path, wrapped(random_tensors(**SIZES)), "m.pth"), "--genes", gene_list
    )
    assert result.exit_code == 0, result.output
    assert "35 tensors, " in result.output
    assert "genes: 12, " in result.output


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
def test_several_names_are_made_side_by_side_and_told_in_their_order(tiny_scgpt, tiny_scbert):
    one, other = tiny_scgpt(), tiny_scbert()
    assert bench(one, other).output == bench(one).output + bench(other).output
    result = bench(one, "scbort", "scgpd")
    assert result.exit_code == 2
    assert "scbort: Unknown weights 'scbort'. Did you mean" in result.output and "; scgpd: Unknown" in result.output
    result = bench(one, other, "--path", one)
    assert result.exit_code == 2 and "--path, --genes and switches go with one name; 2 are given" in result.output
