"""Published weights from their place to a record: one command each for Geneformer, scFoundation and CellPLM.

The files have the published names, tensors, vocabularies and addresses; Geneformer's V1 has its true size, the others
are narrower, and only hashes are changed.
"""

import json
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result
from in_process import execute
from published_layouts import put_cellplm, put_geneformer, put_scfoundation

from bench.cli import main
from bench.datasets import download
from bench.datasets.sources import Source, sha256_of
from bench.models.cellplm import sources as cellplm
from bench.models.geneformer import sources as geneformer
from bench.models.scfoundation import sources as scfoundation
from bench.protocol import notebooks, records
from bench.weights import known, read
from bench.weights.sources import identity_of

MIRROR = Path(os.environ.get("BENCH_MIRROR") or "nowhere")
NEEDED = ("token_dictionary_gc104M.pkl", "OS_scRNA_gene_index.19264.tsv", "20230926_85M.config.json")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("warm"),
    pytest.mark.skipif(
        not all((MIRROR / name).is_file() for name in NEEDED),
        reason="BENCH_MIRROR names no folder with the published vocabularies",
    ),
]
FIRST = ("geneformer_v1_10m", "scfoundation_cell", "cellplm_20231027")
OTHERS = ("geneformer_v2_104m", "cellplm_20230926")
WANTED = {"geneformer_v1_10m": 25_424, "geneformer_v2_104m": 20_271, "scfoundation_cell": 19_264}
WANTED |= dict.fromkeys(("cellplm_20231027", "cellplm_20230926"), 19_374)
UNREAD = {"geneformer": (), "scfoundation": ("decoder", "norm.", "to_final."), "cellplm": "decoder."}  # by no annotator
FRESH = {"scfoundation": ("norm.", "fc1.")}  # of the head
LICENCES = {"geneformer": "Apache-2.0", "cellplm": "not stated (code: BSD-2-Clause)"}
FEW = {"device": "cpu", "epochs": 2}
SETTINGS = {
    "geneformer": FEW | {"batch_size": 8, "max_tokens": 64, "warmup_steps": 2},
    "scfoundation": FEW | {"batch_size": 8, "accumulation": 1},
    "cellplm": FEW,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with what is on a server, in a mirror, and with cells; it is where commands run."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "mirror").mkdir()
    for file in MIRROR.iterdir():
        (folder / "mirror" / file.name).symlink_to(file)
    (folder / "mirror" / "20230926_85M.config.json").unlink()
    put_cellplm(folder / "mirror", MIRROR / "20230926_85M.config.json")
    put_geneformer(folder / "served" / urlsplit(geneformer.HUB).path.strip("/"))
    put_scfoundation(folder / "served" / urlsplit(scfoundation.FILE.url).path.strip("/"))
    return folder


@pytest.fixture(scope="module")
def asked(place) -> Iterator[list[str]]:
    """Serve the files; return the names of those that are asked for."""
    names = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            names.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(place / "served"))) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        with pytest.MonkeyPatch.context() as patch:
            _publish(patch, place, f"http://127.0.0.1:{server.server_port}")
            yield names
        server.shutdown()


def _publish(patch: pytest.MonkeyPatch, place: Path, url: str) -> None:
    """Let the published files be those of this place, under their addresses on the server."""

    def moved(source: Source) -> Source:
        path = urlsplit(source.url or "").path
        served = place / "served" / path.strip("/")
        file = served if served.is_file() else place / "mirror" / source.name
        sha256 = sha256_of(file) if source.sha256 else None  # one that nobody publishes stays unknown
        return replace(source, sha256=sha256, size=file.stat().st_size, url=url + path if served.is_file() else None)

    names = ("geneformer_v1_10m", "geneformer_v2_104m", *scfoundation.PUBLISHED, *cellplm.PUBLISHED)
    for module in (geneformer, scfoundation, cellplm):
        for name, entry in module.PUBLISHED.items():
            if name in names:
                patch.setitem(module.PUBLISHED, name, replace(entry, sources=tuple(map(moved, entry.sources))))
    patch.setattr(download, "ATTEMPTS", 1)
    patch.setattr(notebooks, "run", execute)
    patch.setattr(notebooks, "left_out", lambda executed: [])
    patch.setenv("BENCH_MIRROR", str(place / "mirror"))
    patch.setenv("BENCH_CACHE", str(place / "cache"))


@pytest.fixture(scope="module")
def cells_file(place, small) -> Path:
    """Counts of 80 real cells as somebody's own file has them."""
    cells = small[np.sort(np.argsort(small.obs["cell_type"].to_numpy(), kind="stable")[::3])].copy()
    del cells.uns["bench"], cells.obs["split"]
    cells.write_h5ad(place / "cells.h5ad")
    return place / "cells.h5ad"


def bench(*words) -> Result:
    return CliRunner().invoke(main, list(map(str, words)))


def on(file: Path, models: list[str], **overrides) -> Result:
    """Give the command of the page on a file."""
    data = ("-p", "tier", "paper", "-p", "dataset", file, "-p", "label", "cell_type", "-p", "seeds", "0")
    return bench(
        "run", "five_models", *data, "-p", "models", json.dumps(models), "-p", "overrides", json.dumps(overrides)
    )


def run(file: Path, *weights: str) -> Result:
    named = {name.partition("_")[0]: name for name in weights}
    return on(file, list(named), **{model: SETTINGS[model] | {"weights": name} for model, name in named.items()})


@pytest.fixture(scope="module")
def records_of(asked, place, cells_file) -> dict[str, pd.DataFrame]:
    """The records of every published name, made by a command for the first three and one for the others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_RESULTS", str(place / "results"))
        accepted = bench("weights", "scfoundation_cell", "--accept-licence")
        assert accepted.exit_code == 0, accepted.output
        for weights in (FIRST, OTHERS):
            done = run(cells_file, *weights)
            assert done.exit_code == 0, done.output
            for name in set(weights) - {"scfoundation_cell"}:
                assert f"Weights {name}, licence: {LICENCES[name.partition('_')[0]]}" in done.stderr
        table = records.read("five_models", committed=False)
        again = run(cells_file, *FIRST)
        assert "3 of 3 trials recorded, 0 to run" in again.stderr
    names = {identity_of(name): name for name in (*FIRST, *OTHERS)}
    return {names[digest]: rows for digest, rows in table.groupby("weights_hash")}


@pytest.mark.parametrize("name", [*FIRST, *OTHERS])
def test_one_command_leads_from_the_published_files_to_a_record(name, records_of, place):
    rows = records_of[name]
    assert set(rows["status"]) == {"ok"} and set(rows["tier"]) == {"paper"} and set(rows["recipe"]) == {"published"}
    assert set(rows["dataset"]) == {"cells.h5ad"} and (set(rows["n_train"]), set(rows["n_test"])) == ({64}, {16})
    assert set(rows["genes_wanted"]) == {WANTED[name]} and set(rows["genes_used"]) <= {*range(400, 501)}
    assert rows["genes_share"].between(0.5, 1).all()
    assert set(rows["weights_sha256"]) == {sha256_of(place / "cache" / "weights" / f"{name}.safetensors")}
    values = rows[rows["class"] == ""].groupby("metric")["value"].last()
    assert 0 <= values["accuracy"] <= 1 and 1 <= values["best_epoch"] <= 2


@pytest.mark.parametrize("name", [*FIRST, *OTHERS])
def test_the_record_accounts_for_every_tensor_of_the_published_file(name, records_of, place):
    family, (audit,) = name.partition("_")[0], set(records_of[name]["weights"])
    tensors = read(place / "cache" / "weights" / f"{name}.safetensors").tensors
    loaded = [tensor for tensor in tensors if not tensor.startswith(UNREAD[family])]
    digest = known()[name].sources[0].sha256[:16]
    assert audit.startswith(f"{len(loaded)} of {len(tensors)} tensors, sha256 {digest}")
    lacking = re.findall(r"not in the file: ([^;]*)", audit)
    assert all(tensor.startswith(FRESH[family]) for names in lacking for tensor in names.split(", "))
    assert bool(lacking) == (family == "scfoundation")


def test_every_file_is_fetched_once(records_of, asked):
    assert len(asked) == len(set(asked)) == 3


def test_without_a_gpu_the_command_says_what_to_change(asked, cells_file, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refused = on(cells_file, ["geneformer", "geneformer@probe", "cellplm"])
    assert refused.exit_code == 2
    said = refused.stderr.removeprefix("bench: ").splitlines()  # a line for both variants
    remedy = "torch finds no GPU; use device='cpu'. A chapter takes another one with: --device auto"
    asked_for = "device='cuda' was asked for, but"
    assert said == [f"{name}: {asked_for} {remedy}" for name in ("geneformer", "cellplm")]


def test_a_licence_that_has_to_be_accepted_is_asked_for_before_a_byte_is_fetched(
    asked, cells_file, monkeypatch, tmp_path
):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    before = list(asked)
    refused = run(cells_file, "scfoundation_rde")
    assert refused.exit_code == 2 and asked == before
    assert "may be used for non-commercial research only" in refused.stderr
    assert "say so once: bench weights scfoundation_rde --accept-licence" in refused.stderr


def test_weights_made_here_are_no_published_ones(asked, cells_file):
    refused = run(cells_file, "geneformer_quick")
    assert refused.exit_code == 2
    assert "tier='paper' stands for published weights here, not geneformer_quick" in refused.stderr
