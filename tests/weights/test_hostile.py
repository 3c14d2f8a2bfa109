"""Files made to harm whoever opens them: nothing in them runs, nothing outside is touched, the answer is a sentence."""

import io
import pickle
import struct
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from bench.cli import main
from bench.core.errors import BenchError
from bench.protocol import records
from bench.weights.files import read


def text(value: str) -> bytes:
    """Return the instruction of a pickle that puts a text on its stack."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def call(module: str, name: str, *arguments: str) -> bytes:
    """Return instructions that import a function and call it with texts."""
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(map(text, arguments)) + b"tR"


def _touching(target: str) -> dict[str, bytes]:
    """Return pickles by how they would make a file; each does so where it is opened without care."""
    python = f"open({target!r}, 'w').close()"
    shell = f"touch '{target}'"
    inner = b"\x80\x04" + call("posix", "system", shell) + b"."
    memo = b"\x80\x04" + text("posix") + b"\x94" + text("system") + b"\x94" + b"\x93(" + text(shell) + b"tR."
    nested = b"\x80\x04cpickle\nloads\n(B" + struct.pack("<I", len(inner)) + inner + b"tR."
    state = b"\x80\x04" + b"cfunctools\npartial\n(cposix\nsystem\ntR(" + text(shell) + b"tR."
    imported = b"\x80\x04cbuiltins\ngetattr\n(" + call("importlib", "import_module", "os") + text("system") + b"tR("
    return {
        "system": inner,
        "eval": b"\x80\x04" + call("builtins", "eval", python) + b".",
        "exec": b"\x80\x04" + call("builtins", "exec", python) + b".",
        "popen": b"\x80\x04" + call("os", "popen", shell) + b"0N.",
        "check_output": b"\x80\x04csubprocess\ngetoutput\n(" + text(shell) + b"tR.",
        "open": b"\x80\x04" + call("builtins", "open", target, "w") + b"0N.",
        "stack_global": memo,
        "inst": b"(S" + repr(shell).encode() + b"\niposix\nsystem\n.",
        "obj": b"\x80\x04(cposix\nsystem\n" + text(shell) + b"o.",
        "nested": nested,
        "partial": state,
        "getattr": imported + text(shell) + b"tR.",
    }


WAYS = list(_touching("x"))


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "ran"


def torch_file(payload: bytes, path: Path) -> None:
    """Write a zip file as ``torch.save`` does, with another pickle in it."""
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(2)}, buffer)
    with zipfile.ZipFile(buffer) as good, zipfile.ZipFile(path, "w") as bad:
        for name in good.namelist():
            bad.writestr(name, payload if name.endswith("data.pkl") else good.read(name))


def legacy_file(payload: bytes, path: Path) -> None:
    """Write a file as older versions of torch did: several pickles, one after the other."""
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(2)}, buffer, _use_new_zipfile_serialization=False)
    head = buffer.getvalue()
    start = io.BytesIO(head)
    for _ in range(3):  # magic number, version, sizes
        pickle.load(start)
    path.write_bytes(head[: start.tell()] + payload)


def array_file(payload: bytes, path: Path) -> None:
    """Write an ``.npy`` file that holds Python objects."""
    header = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + payload)


def arrays_file(payload: bytes, path: Path) -> None:
    """Write an ``.npz`` file of such arrays, under all names that predictions have."""
    array_file(payload, path)
    content = path.read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("cells", "labels", "classes", "truth", "predicted", "probabilities"):
            archive.writestr(f"{name}.npy", content)


def plain_file(payload: bytes, path: Path) -> None:
    path.write_bytes(payload)


def annotated_file(payload: bytes, path: Path) -> None:
    """Write an HDF5 file that has the pickle wherever a reader might look for an object."""
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0", "pickle": np.void(payload)})
        for name in ("X", "uns", "obs", "var"):
            place = file.create_dataset(name, data=np.void(payload))
            place.attrs.update({"encoding-type": "pickle", "encoding-version": "0.1.0", "object": np.void(payload)})


WRITERS = {
    "w.pt": torch_file,
    "w.pth": legacy_file,
    "w.ckpt": plain_file,
    "w.bin": torch_file,
    "w.pkl": plain_file,
    "w.safetensors": plain_file,
    "w.npy": array_file,
    "w.npz": arrays_file,
    "w.h5ad": annotated_file,
}


@pytest.mark.parametrize("way", WAYS)
def test_the_pickles_do_what_they_should_not_where_they_are_opened_without_care(way, target):
    pickle.loads(_touching(str(target))[way])
    until = time.monotonic() + 10
    while not target.exists() and time.monotonic() < until:  # a shell of its own takes a moment
        time.sleep(0.01)
    assert target.exists()


CARELESS = {
    "w.pt": lambda path: torch.load(path, weights_only=False),
    "w.pth": lambda path: torch.load(path, weights_only=False),
    "w.ckpt": lambda path: pickle.loads(path.read_bytes()),
    "w.npy": lambda path: np.load(path, allow_pickle=True),
    "w.npz": lambda path: np.load(path, allow_pickle=True)["cells"],
}


@pytest.mark.parametrize("name", CARELESS)
def test_files_that_hold_them_are_as_dangerous(name, tmp_path, target):
    WRITERS[name](_touching(str(target))["system"], tmp_path / name)
    with suppress(Exception):  # what comes after the harm
        CARELESS[name](tmp_path / name)
    assert target.exists()


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("way", WAYS)
def test_nothing_runs_whatever_the_file_is_called(way, name, tmp_path, target):
    path = tmp_path / name
    WRITERS[name](_touching(str(target))[way], path)
    if name.endswith(".h5ad"):
        said = CliRunner().invoke(main, ["data", str(path)])
        assert said.exit_code == 2 and said.output.startswith("bench: ") and "Traceback" not in said.output
    else:
        with pytest.raises(BenchError, match=str(path)):
            read(path)
    assert not target.exists()


@pytest.mark.parametrize("way", WAYS)
def test_predictions_that_hold_objects_are_refused(way, target):
    place = records.path_of("few_shot_pbmc", "quick", "k", ".npz")
    place.parent.mkdir(parents=True)
    arrays_file(_touching(str(target))[way], place)
    with pytest.raises(BenchError, match="No predictions for trial k"):
        records.read_predictions("few_shot_pbmc", "quick", "k")
    assert not target.exists()


def expanded(path: Path) -> None:
    """Write one number that stands for 4 TB of them."""
    torch.save({"a": torch.zeros(1).expand(10**12)}, path)


def compressed(path: Path) -> None:
    """Write 1.5 GB of zeros, compressed to 1.5 MB twice over."""
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(2)}, buffer)
    with zipfile.ZipFile(buffer) as good, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bad:
        for name in good.namelist():
            bad.writestr(name, bytes(1_500_000_000) if name.endswith("/data/0") else good.read(name))


@pytest.mark.parametrize("write", [expanded, pytest.param(compressed, marks=pytest.mark.campaign)])
def test_a_small_file_that_would_fill_the_memory_is_refused_at_once(write, tmp_path):
    write(tmp_path / "w.pt")
    with pytest.raises(
        BenchError, match=r"w\.pt \([\d,]+ bytes\) says that it stands for [\d,]+ bytes, .* fill the memory"
    ):
        read(tmp_path / "w.pt")


@pytest.mark.parametrize("inside", ["../../escaped", "archive/../../escaped"])
def test_names_that_lead_out_of_an_archive_write_nothing(inside, tmp_path):
    path = tmp_path / "a" / "b" / "w.pt"
    path.parent.mkdir(parents=True)
    torch.save({"a": torch.ones(2)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(inside, b"x")
    before = sorted(tmp_path.rglob("*"))
    try:
        read(path)
    except BenchError as error:
        assert str(path) in str(error)
    assert sorted(tmp_path.rglob("*")) == before and not Path("/escaped").exists()
