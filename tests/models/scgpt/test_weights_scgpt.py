"""scGPT's weights: whichever of three layouts they come in, every tensor arrives, or the file is refused by name."""

import json
import re
import shutil
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from bench import weights
from bench.cli import main
from bench.core.errors import BenchError
from bench.datasets import download
from bench.datasets.sources import cache_folder, sha256_of
from bench.models.scgpt import checkpoint as scgpt_weights
from bench.models.scgpt.network import Architecture, ScGPTNetwork, plain_name
from bench.models.scgpt.sources import PUBLISHED
from bench.weights import identity, load_into, of_model, own, published, read, resolve

FILES = ("best_model.pt", "args.json", "vocab.json")
GENES = [f"GENE{i}" for i in range(37)]
TOKENS = [*GENES[:5], "<pad>", *GENES[5:], "<cls>", "<eoc>"]  # special tokens anywhere
DIM, DEPTH, HIDDEN, HEADS = 16, 3, 24, 4
MAY = "/scratch/datasets/cellxgene/save/cellxgene_census_human-May23-08-36-2023"
DECEMBER = "/scratch/datasets/cellxgene/save/cellxgene_census_human-Dec18-13-52-2023"
ARGS = {  # as in the published file, but for the sizes
    "save_dir": MAY,
    "load_model": None,
    "input_style": "binned",
    "input_emb_style": "continuous",
    "n_bins": 51,
    "max_seq_len": 1200,
    "mask_ratio": [0.25, 0.5, 0.75],
    "nlayers": DEPTH,
    "nheads": HEADS,
    "embsize": DIM,
    "d_hid": HIDDEN,
    "dropout": 0.2,
    "mask_value": -1,
    "pad_value": -2,
    "MVC": True,
}


def layout(tokens=40, dim=DIM, depth=DEPTH, hidden=HIDDEN, mvc=True, flag=True) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of a pretraining checkpoint, with the attention as flash attention calls it."""
    shapes = {"encoder.embedding.weight": (tokens, dim)}
    shapes |= {"flag_encoder.weight": (2, dim)} if flag else {}
    shapes |= {"encoder.enc_norm.weight": (dim,), "encoder.enc_norm.bias": (dim,)}
    for name, shape in {"linear1": (dim, 1), "linear2": (dim, dim), "norm": (dim,)}.items():
        shapes |= {f"value_encoder.{name}.weight": shape, f"value_encoder.{name}.bias": (dim,)}
    for i in range(depth):
        for name, shape in {
            "self_attn.Wqkv": (3 * dim, dim),
            "self_attn.out_proj": (dim, dim),
            "linear1": (hidden, dim),
            "linear2": (dim, hidden),
            "norm1": (dim,),
            "norm2": (dim,),
        }.items():
            start = f"transformer_encoder.layers.{i}.{name}"
            shapes |= {f"{start}.weight": shape, f"{start}.bias": shape[:1]}
    for place, rows in ((0, dim), (2, dim), (4, 1)):
        shapes |= {f"decoder.fc.{place}.weight": (rows, dim), f"decoder.fc.{place}.bias": (rows,)}
    masked = {"gene2query.weight": (dim, dim), "gene2query.bias": (dim,), "W.weight": (dim, dim)} if mvc else {}
    return shapes | {f"mvc_decoder.{name}": shape for name, shape in masked.items()}


def random_tensors(**sizes) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=rng) for name, shape in layout(**sizes).items()}


def put(folder: Path, tensors=None, args=None, tokens=None) -> Path:
    """Write a folder as scGPT's authors publish it; None leaves what is there, or takes the usual content."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"args.json": ARGS if args is None else args}
    content["vocab.json"] = {t: i for i, t in enumerate(TOKENS if tokens is None else tokens)}
    for name, value in content.items():
        (folder / name).write_text(json.dumps(value))
    torch.save(random_tensors() if tensors is None else tensors, folder / "best_model.pt")
    return folder


def plain(tensors) -> dict[str, torch.Tensor]:
    return {name.replace("Wqkv.", "in_proj_"): tensor for name, tensor in tensors.items()}


def same(left, right) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def made() -> list[Path]:
    return sorted((cache_folder() / "weights").glob("*.safetensors"))


def bench(*arguments):
    return CliRunner().invoke(main, ["weights", *map(str, arguments)])


@pytest.fixture(autouse=True)
def places(monkeypatch, tmp_path):
    """Give every test an empty cache and no mirror."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCH_MIRROR", raising=False)
    monkeypatch.setattr(download, "PAUSE_S", 0)
    monkeypatch.setattr(download, "ATTEMPTS", 2)


@pytest.fixture
def folder(tmp_path) -> Path:
    return put(tmp_path / "scGPT_human")


@pytest.fixture
def entry(monkeypatch, folder):
    """Let the published files be those of `folder`; return a function that says where they are to be had."""

    def at(url: str) -> None:
        known = PUBLISHED["scgpt_human"]
        found = [
            replace(source, sha256=sha256_of(folder / source.name), url=f"{url}/{source.name}")
            for source in known.sources
        ]
        monkeypatch.setitem(PUBLISHED, "scgpt_human", replace(known, sources=tuple(found)))

    at("http://127.0.0.1:9")
    return at


class Handler(BaseHTTPRequestHandler):
    """Serves the files of a folder, one of them in the way that the path names."""

    def do_GET(self):
        _, way, name = self.path.split("/")
        self.server.asked.append(name)
        body = sent = (self.server.folder / name).read_bytes()
        if name == self.server.spoilt:
            body = {"corrupt": b"\xff" + body[1:], "page": b"<!DOCTYPE html><html>sign in</html>"}.get(way, body)
            sent = body[: len(body) // 2] if way == "truncated" else body
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(sent)
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(folder):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.folder, server.asked, server.spoilt = folder, [], None
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        server.url = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()


# Published weights


def test_the_published_files_are_the_documented_ones():
    entry = weights.known()["scgpt_human"]
    assert entry.model == "scgpt"
    assert [(source.name, source.sha256) for source in entry.sources] == [
        ("best_model.pt", "6cb5d451ab5c4b33eb673adbe4fddc61d2389df1b89b7651a9fe2e557572b922"),
        ("args.json", "c18e075e018140cb8b2d9029387b9de26607a5ce6a8ccabd6ead70cd76b95d60"),
        ("vocab.json", "acca93d114ca62c3f0f50debbd23e8c87f0714f4737764454f6b2b13f2e8580f"),
    ]
    assert all("MIT" in source.licence for source in entry.sources)
    assert all(source.url.startswith("https://huggingface.co/perturblab/scgpt-human/") for source in entry.sources)
    assert "u-cellm/scGPT-whole-human" in entry.by_hand


def test_download_is_converted_with_all_that_a_reader_needs(server, entry, folder):
    entry(f"{server.url}/good")
    path = published("scgpt_human")
    assert path == cache_folder() / "weights" / "scgpt_human.safetensors"
    assert server.asked == list(FILES)
    found, original = read(path), plain(random_tensors())
    del original["flag_encoder.weight"]
    assert same(found.tensors, original)
    assert json.loads(found.metadata["genes"]) == TOKENS
    expected = {"model": "scgpt", "heads": "4", "library": "bins", "origin": "published, scgpt_human"}
    expected |= {"run": Path(MAY).name, "n_bins": "51", "mask_value": "-1", "pad_value": "-2", "max_seq_len": "1200"}
    expected |= {"parameters": str(sum(tensor.numel() for tensor in original.values())), "source": ", ".join(FILES)}
    first = "transformer_encoder.layers.0.self_attn"
    expected |= {"renamed": f"6 attention tensors, such as {first}.Wqkv.weight to {first}.in_proj_weight"}
    expected |= {"left_out": f"flag_encoder.weight ({scgpt_weights.LEFT_OUT['flag_encoder.weight']})"}
    assert expected.items() <= found.metadata.items()
    assert found.origin_sha256 == sha256_of(folder / "best_model.pt")
    before = path.stat().st_mtime_ns
    assert published("scgpt_human") == resolve("scgpt_human") == of_model("scgpt") == path
    assert (len(server.asked), path.stat().st_mtime_ns) == (3, before)


def test_identity_is_that_of_all_three_files(entry, folder, tmp_path):
    first = identity(of_model("scgpt", folder))
    for name in FILES[1:]:
        other = shutil.copytree(folder, tmp_path / name / "copy")
        (other / name).write_text((other / name).read_text() + "\n")
        assert identity(of_model("scgpt", other)) != first


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("way", ["corrupt", "truncated", "page"])
def test_a_spoilt_download_is_refused_and_nothing_is_converted(server, entry, name, way):
    server.spoilt = name
    entry(f"{server.url}/{way}")
    result = bench("scgpt")
    assert result.exit_code == 2
    assert f"Weights scgpt_human: {'Cannot download' if way == 'truncated' else 'The download of'}" in result.output
    assert name in result.output
    assert not made()
    kept = {path.name for path in (cache_folder() / "downloads").iterdir() if not path.name.endswith(".lock")}
    assert name not in kept  # a part of it may be, to go on from there


@pytest.mark.parametrize("name", ["scgpt", "scgpt_human"])
def test_mirror_folder_is_enough(entry, folder, monkeypatch, name):
    monkeypatch.setenv("BENCH_MIRROR", str(folder))
    result = bench(name)
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[0] == str(cache_folder() / "weights" / "scgpt_human.safetensors")
    assert not (cache_folder() / "downloads").exists()


def test_without_network_the_sentence_says_where_else_the_files_are(entry):
    with pytest.raises(BenchError, match=r"Weights scgpt_human: Cannot download .*--path.*u-cellm/scGPT-whole-human"):
        published("scgpt_human")


def test_published_files_are_known_by_their_hashes_whatever_they_are_called(entry, folder):
    path = cache_folder() / "weights" / "scgpt_human.safetensors"
    assert of_model("scgpt", folder) == path
    (folder / "best_model.pt").rename(folder / "whole_human.pt")
    path.unlink()
    assert bench("scgpt", "--path", folder / "whole_human.pt").output.splitlines()[0] == str(path)
    assert made() == [path]


def test_other_files_are_a_checkpoint_of_ones_own_and_that_is_said(entry, folder):
    tokens = [*TOKENS[::-1]]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    result = bench("scgpt", "--path", folder)
    assert result.exit_code == 0, result.output
    (path,) = made()
    assert path.name == f"scGPT_human-{identity(path)[:8]}.safetensors"
    assert "origin: a checkpoint of your own; not as in scgpt_human: vocab.json" in result.output.splitlines()
    assert "licence: not stated" in result.output
    assert json.loads(read(path).metadata["genes"]) == tokens
    hint = rf"not the published file.*bench weights scgpt --path {folder}$"
    with pytest.raises(BenchError, match=hint):
        published("scgpt_human", folder)
    assert made() == [path]


# Every tensor arrives


def test_every_tensor_is_in_the_network_bit_for_bit(folder):
    file = read(own("scgpt", folder))
    network = ScGPTNetwork(Architecture.of(file.tensors, int(file.metadata["heads"])), seed=5)
    audit = load_into(network, file)
    assert (audit.missing, audit.unused) == ((), ())
    original = random_tensors()
    held = network.state_dict()
    assert audit.loaded == audit.total == len(held) == len(original) - 1
    for name, tensor in original.items():
        assert name == "flag_encoder.weight" or torch.equal(held[plain_name(name)], tensor)


@pytest.mark.parametrize("projections", ["in_proj_", "Wqkv.", "_impl.Wqkv."])
def test_attention_of_every_layout_comes_out_under_the_plain_names(tmp_path, projections):
    tensors = {name.replace("Wqkv.", projections): tensor for name, tensor in random_tensors(flag=False).items()}
    if "_impl" in projections:
        tensors = {name.replace("attn.out_proj", "attn._impl.out_proj"): tensor for name, tensor in tensors.items()}
    file = read(own("scgpt", put(tmp_path / "mine", tensors)))
    assert same(file.tensors, plain(random_tensors(flag=False)))
    renamed = {"in_proj_": None, "Wqkv.": "6", "_impl.Wqkv.": "12"}[projections]
    assert file.metadata.get("renamed", "None").split()[0] == str(renamed)


@pytest.mark.parametrize("case", ["scgpt_forward", "scgpt_forward_keys_flash", "scgpt_forward_keys_impl"])
def test_the_three_layouts_convert_to_identical_tensors(golden, tmp_path, case):
    told, reference = golden("scgpt_forward")
    _, given = golden(case)
    given, reference = [
        {
            name.removeprefix("weights."): torch.from_numpy(a)
            for name, a in arrays.items()
            if name.startswith("weights.")
        }
        for arrays in (given, reference)
    ]
    sizes = told["hyperparameters"]
    args = ARGS | {"nlayers": sizes["nlayers"], "nheads": sizes["nhead"], "embsize": sizes["d_model"]}
    args |= {"d_hid": sizes["d_hid"]}
    file = read(own("scgpt", put(tmp_path / case, given, args, told["vocabulary"])))
    kept = {name: tensor for name, tensor in reference.items() if not name.startswith("cls_decoder.")}
    assert same(file.tensors, kept)
    assert file.metadata["left_out"].startswith("cls_decoder._decoder.0.")
    assert sum(name in file.metadata["left_out"] for name in reference) == len(reference) - len(kept) == 10
    assert ("renamed" in file.metadata) == (case != "scgpt_forward")


def test_a_checkpoint_of_several_processes_and_without_the_second_decoder_is_taken(tmp_path):
    tensors = random_tensors(mvc=False, flag=False)
    content = {"model_state_dict": {f"module.{name}": t for name, t in tensors.items()}, "epoch": 6}
    file = read(own("scgpt", put(tmp_path / "mine", content)))
    assert same(file.tensors, plain(tensors))
    assert file.metadata["epoch"] == "6"
    assert "left_out" not in file.metadata


def test_names_are_those_of_the_network_and_of_the_published_layout():
    for mvc in (True, False):
        network = ScGPTNetwork(Architecture(40, DIM, DEPTH, HEADS, HIDDEN, mvc=mvc))
        assert sorted(scgpt_weights.names(DEPTH, mvc=mvc)) == sorted(network.state_dict())
        assert sorted(scgpt_weights.names(DEPTH, mvc=mvc)) == sorted(plain(layout(mvc=mvc, flag=False)))


ATTENTION = [name for name in layout(depth=DEPTH) if ".self_attn." in name]


@pytest.mark.parametrize("name", ATTENTION)
@pytest.mark.parametrize("way", ["deleted", "renamed"])
def test_an_attention_tensor_cannot_be_lost_unseen(tmp_path, name, way):
    tensors = random_tensors()
    lost = tensors.pop(name)
    if way == "renamed":
        tensors[name.replace("self_attn", "attention")] = lost
    with pytest.raises(BenchError) as error:
        own("scgpt", put(tmp_path / "mine", tensors))
    said = str(error.value)
    assert f"Attention projections not in it, which would stay random: {plain_name(name)}." in said
    assert (f"Not of scGPT: {name.replace('self_attn', 'attention')}." in said) == (way == "renamed")
    assert not made()


WQKV = "transformer_encoder.layers.1.self_attn.Wqkv.weight"
IN_PROJ = "transformer_encoder.layers.1.self_attn.in_proj_weight"
LINEAR = "transformer_encoder.layers.2.linear1.weight"
FLAG = "flag_encoder.weight"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({IN_PROJ: torch.ones(48, 16)}, rf"one tensor under two names, {WQKV} and {IN_PROJ}; save"),
        ({"decoder.fc.2.weight": None}, r"Not in it: decoder\.fc\.2\.weight\."),
        ({"mvc_decoder.W.weight": None}, r"Not in it: mvc_decoder\.W\.weight\."),
        ({"bn.weight": torch.ones(16)}, r"Not of scGPT: bn\.weight\."),
        ({"flag_encoder.bias": torch.ones(16)}, r"Not of scGPT: flag_encoder\.bias\."),
        ({FLAG: torch.ones(3, 16)}, r"flag_encoder\.weight: \(3, 16\), expected \(2, 16\)"),
        ({LINEAR: torch.ones(25, 16)}, rf"{LINEAR}: \(25, 16\), expected \(24, 16\)"),
        ({WQKV: torch.ones(16, 48)}, rf"{IN_PROJ}: \(16, 48\), expected \(48, 16\)"),
        ({"encoder.embedding.weight": torch.ones(640)}, r"encoder\.embedding\.weight: \(640,\), expected \(40, 16\)"),
        ({"encoder.enc_norm.bias": torch.ones(16, dtype=torch.int64)}, r"encoder\.enc_norm\.bias: torch\.int64"),
        ({"encoder.enc_norm.bias": torch.full((16,), torch.nan)}, r"not finite .*: encoder\.enc_norm\.bias"),
    ],
)
def test_tensors_that_do_not_make_an_scgpt_are_refused_by_name(tmp_path, changes, said):
    tensors = {name: t for name, t in (random_tensors() | changes).items() if t is not None}
    with pytest.raises(BenchError, match=said):
        own("scgpt", put(tmp_path / "mine", tensors))
    assert not made()


# What lies beside them


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nlayers": 4}, r"args\.json says nlayers=4, best_model\.pt has 3 layers\. Take all three from one place"),
        ({"embsize": 32}, r"args\.json says embsize=32, best_model\.pt has 16 columns of the embedding"),
        ({"d_hid": 16}, r"args\.json says d_hid=16, best_model\.pt has 24 units"),
        ({"nheads": None}, r"args\.json: nheads is not there; a whole number above 0 was expected"),
        ({"nheads": "8"}, r'args\.json: nheads is "8"; a whole number'),
        ({"nheads": 0, "nlayers": True}, r"args\.json: nlayers is true, nheads is 0; a whole"),
        ({"nheads": 3}, r"embsize=16 cannot be divided among nheads=3 heads"),
        ({"input_style": "log1p"}, r"fed in another way than the paper's: input_style='log1p', not 'binned'"),
        ({"input_emb_style": "category"}, r"input_emb_style='category', not 'continuous'"),
        ({"n_bins": 101}, r"n_bins=101, not 51"),
    ],
)
def test_args_that_lack_or_contradict_are_refused(tmp_path, changes, said):
    args = {key: value for key, value in (ARGS | changes).items() if value is not None or key == "load_model"}
    with pytest.raises(BenchError, match=said):
        own("scgpt", put(tmp_path / "mine", args=args))
    assert not made()


def test_settings_that_nothing_needs_may_be_missing(tmp_path):
    args = {key: ARGS[key] for key in ("nlayers", "nheads", "embsize", "d_hid")}
    told = read(own("scgpt", put(tmp_path / "mine", args=args))).metadata
    assert "n_bins" not in told
    assert (told["heads"], told["run"]) == ("4", "")


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (TOKENS[1:], r"vocab\.json has 39 tokens, best_model\.pt embeds 40"),
        ([*TOKENS, "MORE"], r"vocab\.json has 41 tokens, best_model\.pt embeds 40"),
        ([t if t != "<cls>" else "CLS" for t in TOKENS], r"vocab\.json lacks <cls>, which scGPT needs"),
        ([t.strip("<>") for t in TOKENS], r"vocab\.json lacks <pad>, <cls>, <eoc>"),
    ],
)
def test_vocabulary_of_other_tokens_is_refused(tmp_path, tokens, said):
    with pytest.raises(BenchError, match=said):
        own("scgpt", put(tmp_path / "mine", tokens=tokens))
    assert not made()


def test_tokens_are_in_the_order_of_their_ids_whatever_that_of_the_file(folder):
    ids = {token: i for i, token in enumerate(TOKENS)}
    (folder / "vocab.json").write_text(json.dumps({token: ids[token] for token in sorted(TOKENS)}))
    assert json.loads(read(own("scgpt", folder)).metadata["genes"]) == TOKENS


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("vocab.json", json.dumps({t: i + 1 for i, t in enumerate(TOKENS)}), "ids should be 0 to 39.* Not there: 0."),
        ("vocab.json", json.dumps({t: i // 2 for i, t in enumerate(TOKENS)}), r"20, .* and 15 more; there twice: 0, 1"),
        ("vocab.json", json.dumps({t: str(i) for i, t in enumerate(TOKENS)}), r"Not there: 0, 1, 2, 3, 4 and 35 more"),
        ("vocab.json", json.dumps(TOKENS), r"vocab\.json holds list .*expected tokens with their ids"),
        ("vocab.json", "{}", r"vocab\.json holds dict \{\}; expected tokens"),
        ("vocab.json", "<!DOCTYPE html><html>", r"vocab\.json is not JSON .* a web page, saved in place of the file"),
        ("args.json", "\n<html>sign in", r"args\.json is not JSON .* a web page"),
        ("args.json", '{"nlayers": 3, "nhe', r"args\.json is not JSON .*Download or copy it again"),
        ("args.json", "\udcff", r"args\.json is not JSON"),
        ("args.json", "[]", r"args\.json holds list \[\]; expected the settings"),
        ("best_model.pt", "<!DOCTYPE html><html>", r"best_model\.pt is a web page, saved in place of the weights"),
        ("best_model.pt", "", r"best_model\.pt is empty"),
    ],
)
def test_files_that_are_something_else_are_told(folder, name, text, said):
    (folder / name).write_bytes(text.encode(errors="surrogateescape"))
    result = bench("scgpt", "--path", folder)
    assert result.exit_code == 2
    assert re.search(said, result.output), result.output
    assert not made()


def test_a_half_downloaded_checkpoint_is_told(folder):
    content = (folder / "best_model.pt").read_bytes()
    (folder / "best_model.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(BenchError, match=r"best_model\.pt \([\d,]+ bytes\) is incomplete or damaged"):
        own("scgpt", folder)
    assert not made()


@pytest.mark.parametrize("as_folder", [True, False])
@pytest.mark.parametrize("name", ["args.json", "vocab.json"])
def test_a_file_that_is_missing_beside_the_checkpoint_is_named(folder, name, as_folder):
    (folder / name).unlink()
    said = rf"^{folder} has no {name}\. A checkpoint of scgpt is best_model\.pt, args\.json, vocab\.json in one folder"
    with pytest.raises(BenchError, match=said):
        of_model("scgpt", folder if as_folder else folder / "best_model.pt")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["scgpt", "--path", "nowhere"],
            "--path nowhere is not there; give the checkpoint, or the folder with",
        ),
        (["scgpt", "--continual"], "--continual goes with a checkpoint of your own; name that with --path"),
        (["scgpt_human", "--continual"], "--continual goes with a checkpoint of your own: bench weights MODEL --path"),
        (["scgpt", "--path", "FOLDER", "--genes", "GENES"], "--genes is not for scgpt: its tokens are those of vocab"),
    ],
)
def test_mistakes_on_the_command_line_are_sentences(folder, tmp_path, arguments, said):
    (tmp_path / "genes.txt").write_text("A\nB\n")
    names = {"FOLDER": folder, "GENES": tmp_path / "genes.txt"}
    result = bench(*(names.get(argument, argument) for argument in arguments))
    assert result.exit_code == 2
    assert said in result.output


# The pretraining that went on


def test_the_continual_pretraining_is_refused_unless_asked_for_and_keeps_a_name_of_its_own(entry, folder, tmp_path):
    of_paper = of_model("scgpt", folder)
    args = ARGS | {"save_dir": DECEMBER, "load_model": "/scratch/save/scGPT_human"}
    other = put(tmp_path / "scGPT_CP", {name: t + 1 for name, t in random_tensors().items()}, args)
    refused = bench("scgpt", "--path", other)
    assert refused.exit_code == 2
    for piece in (
        f"{other / 'args.json'} is of another pretraining than the paper's",
        "cellxgene_census_human-Dec18-13-52-2023, begun from scGPT_human, the paper's in cellxgene_census_human-May23",
        "accept these weights under a name of their own with --continual",
    ):
        assert piece in refused.output
    assert made() == [of_paper]
    accepted = bench("scgpt", "--path", other, "--continual")
    assert accepted.exit_code == 0, accepted.output
    path = Path(accepted.output.splitlines()[0])
    assert path.name == f"scgpt_continual-{identity(path)[:8]}.safetensors"
    assert identity(path) != identity(of_paper)
    assert f"run: {Path(DECEMBER).name}" in accepted.output.splitlines()
    assert sorted(made()) == sorted([path, of_paper])
    assert bench("scgpt", "--path", other).exit_code == 2  # also now that it is there


def test_the_papers_weights_and_ones_own_are_not_taken_for_the_continual_ones(entry, folder, tmp_path):
    with pytest.raises(
        BenchError, match=r"--continual is for .* is of cellxgene_census_human-May23-08-36-2023\. Leave"
    ):
        of_model("scgpt", folder, continual=True)
    mine = put(tmp_path / "mine", args=ARGS | {"save_dir": "save/my_run"})
    with pytest.raises(BenchError, match=r"--continual is for .* is of my_run\. Leave it out"):
        of_model("scgpt", mine, continual=True)
    assert read(of_model("scgpt", mine)).metadata["run"] == "my_run"


# What is said of them


def test_command_describes_what_was_found(folder):
    result = bench("scgpt", "--path", folder)
    assert result.exit_code == 0, result.output
    kept = [shape for name, shape in layout().items() if name != "flag_encoder.weight"]
    path = Path(result.output.splitlines()[0])
    for line in (
        f"{len(kept)} tensors, {sum(int(np.prod(shape)) for shape in kept):,} parameters",
        f"sha256 {sha256_of(path)}, identity {identity(path)}",
        "3 layers, 4 heads, width 16",
        f"left out: flag_encoder.weight ({scgpt_weights.LEFT_OUT['flag_encoder.weight']})",
        "vocabulary: 40 tokens, 37 genes and <pad>, <cls>, <eoc>; n_bins 51; mask_value -1; pad_value -2",
    ):
        assert line in result.output.splitlines()
    assert "renamed: 6 attention tensors, such as" in result.output
    assert bench(path).output == result.output


@pytest.mark.slow
def test_true_size(tmp_path):
    tokens = [f"G{i}" for i in range(60_694)] + ["<pad>", "<cls>", "<eoc>"]
    args = ARGS | {"nlayers": 12, "nheads": 8, "embsize": 512, "d_hid": 512}
    shapes = layout(60_697, 512, 12, 512)
    tensors = {name: torch.full(shape, 0.01 * i) for i, (name, shape) in enumerate(shapes.items())}
    assert sum(tensor.numel() for tensor in tensors.values()) == 51_330_049  # 195.8 MiB of float32, the published size
    file = own("scgpt", put(tmp_path / "true", tensors, args, tokens))
    said = weights.describe(file)
    assert said[0] == "162 tensors, 51,329,025 parameters"
    assert "12 layers, 8 heads, width 512" in said
    assert "vocabulary: 60,697 tokens, 60,694 genes and <pad>, <cls>, <eoc>" in said[-1]
    found = read(file).tensors
    network = ScGPTNetwork(Architecture.of(found, 8))
    assert str(load_into(network, found)) == "162 of 162 tensors"
    assert all(torch.equal(network.state_dict()[plain_name(n)], t) for n, t in tensors.items() if n != FLAG)
    network.classify_into(18, seed=0)
    of_paper = sum(t.numel() for name, t in network.named_parameters() if not name.startswith("mvc_decoder."))
    assert of_paper == 51_340_819
