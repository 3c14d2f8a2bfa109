"""Real cells, small weights and golden numbers for the tests; results go to a folder of the test's own."""

import json
import logging
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from safetensors.numpy import load_file

from bench.datasets import Dataset, check, load, notes
from bench.preprocess import log1p_cp10k

TYPES = ("B cells", "Monocytes", "NK cells", "Plasma cells", "Platelet", "T cells CD4 conv", "T cells CD8", "mDC")
N_CELLS = 30  # of each type
N_GENES = 500
BROWSER_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
BROWSER_FLAGS += ["--disable-component-update", "--disable-sync"]
TESTS = Path(__file__).parent
LONGEST_FIRST = ("report/test_book.py", "report/test_chapters.py", "core/test_interruption.py")
LONGEST_FIRST += ("models/test_models.py", "verify/test_verify.py", "models/scbert/test_pretrain.py")
LONGEST_FIRST += ("training/test_cells.py", "weights/test_weights.py", "models/scgpt/test_finetune_scgpt.py")
LONGEST_FIRST += ("models/test_processors.py", "report/test_warm_kernels.py", "protocol/test_paper_tier.py")
ONE_CORE = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT")
OF_USERS = (tempfile.gettempdir(), os.environ.get("BENCH_CASES") or tempfile.gettempdir())
OURS = (str(TESTS.parent), sys.prefix, sys.base_prefix)  # wherever the checkout lies
GOLDEN = [Path(folder) for folder in os.environ.get("BENCH_GOLDEN", str(TESTS / "golden")).split(os.pathsep) if folder]
OF_AUTHORS = ("geneformer_tokenize_real", "scfoundation_preprocess")  # cases that need published vocabularies


def folder_of(case: str) -> Path:
    """Return the folder of golden cases that has this one; without it, or what it needs, the test is skipped."""
    if case in OF_AUTHORS and not os.environ.get("BENCH_MIRROR"):
        pytest.skip(f"golden case {case} needs its authors' files, in a folder that BENCH_MIRROR names")
    for folder in GOLDEN:
        if (folder / f"{case}.json").is_file():
            return folder
    pytest.skip(f"golden case {case} is not in {' or '.join(map(str, GOLDEN))}")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Share the whole suite between two processes of one core each; a file asked for by name runs in this one."""
    alone = config.args_source is not pytest.Config.ArgsSource.TESTPATHS or config.option.usepdb
    if alone or hasattr(config, "workerinput"):  # one of the two itself
        return
    if getattr(config.option, "numprocesses", 0) is None:
        config.option.numprocesses, config.option.dist = 2, "loadfile"
        config.option.loadscopereorder = False  # the order is that of the collection
        os.environ.update(dict.fromkeys(ONE_CORE, "1"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Begin with the files that take longest, so that no core waits at the end; what is a campaign is slow, too."""
    for item in items:
        if item.get_closest_marker("campaign"):
            item.add_marker("slow")
    order = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path.relative_to(TESTS).as_posix(), len(order)))


@pytest.fixture(scope="session", autouse=True)
def interrupts_are_heard():
    """A shell that starts the tests in the background has them, and every process they start, ignore Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def browser():
    """Return a headless Chromium."""
    path = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
    if path is None:
        say = pytest.fail if os.environ.get("BENCH_REQUIRE_BROWSER") == "1" else pytest.skip
        say("no browser: install chromium (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=BROWSER_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def warm():
    """Fork kernels, trials' processes and scripts from one that has imported what they need, as ``bench run`` does."""
    from bench.report.book.warm_kernels import nursery

    with nursery():
        yield


@pytest.fixture(autouse=True)
def own_results(monkeypatch, tmp_path) -> Path:
    """No test reads or writes the user's results; ``BENCH_CACHE`` stays as it is, so that downloads survive."""
    folder = tmp_path / "results"
    monkeypatch.setenv("BENCH_RESULTS", str(folder))
    logging.disable(logging.NOTSET)  # the command silences what an interrupted kernel would say on its way out
    return folder


@pytest.fixture(autouse=True)
def modules_of_users_are_forgotten():
    """Models that a test has written, or taken from the shared cases, have common names; the next test has its own."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(OF_USERS) and not file.startswith(OURS):
            del sys.modules[name]


@pytest.fixture(scope="session")
def hao() -> AnnData:
    return load("hao")


@pytest.fixture(scope="session")
def small(hao) -> AnnData:
    """240 real cells of eight types in mixed order, 500 genes, raw counts, a third to score; treat it as read-only."""
    rng = np.random.default_rng(0)
    labels = hao.obs["cell_type"].to_numpy()
    cells = np.concatenate([rng.choice(np.flatnonzero(labels == t), N_CELLS, replace=False) for t in TYPES])
    values = log1p_cp10k(hao.X).toarray()
    genes = np.sort(np.argsort(values.var(axis=0))[-N_GENES:])
    chosen = hao[rng.permutation(cells), genes]
    obs = pd.DataFrame({"cell_type": chosen.obs["cell_type"].astype(str)})
    rank = obs.groupby("cell_type").cumcount()  # within the type
    obs["split"] = np.where(rank % 3, "train", "test")
    return check(AnnData(chosen.X, obs=obs, var=chosen.var), Dataset("small", "240 cells of Hao PBMC", read=None))


@pytest.fixture
def sides(small) -> tuple[AnnData, AnnData]:
    """20 training cells and 10 scored cells of each of eight types, private copies."""
    train = (small.obs["split"] == "train").to_numpy()
    return small[train].copy(), small[~train].copy()


@pytest.fixture(scope="module")
def cells_file(cells, tmp_path_factory) -> Path:
    """The ``cells`` of a module of tests as a file."""
    file = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    cells.write_h5ad(file)
    return file


@pytest.fixture
def beside_cells(monkeypatch, tmp_path, cells_file):
    """Be beside ``cells.h5ad``, which is as old in every test, so that it is read once."""
    monkeypatch.chdir(tmp_path)
    notes._said.cache_clear()
    shutil.copy2(cells_file, "cells.h5ad")


@pytest.fixture(scope="session")
def tiny_scbert(small, tmp_path_factory):
    """Return a writer of weights files of small random scBERTs over the 60 most variable genes of `small`."""
    import torch

    from bench.models.scbert.network import Architecture, ScBERTNetwork
    from bench.weights import save

    values = log1p_cp10k(small.X).toarray()
    genes = small.var_names[np.argsort(-values.var(axis=0))[:60]].tolist()
    folder = tmp_path_factory.mktemp("weights")

    def _tiny_scbert(name: str = "tiny", *, gene2vec: bool = True, **metadata: str | None) -> Path:
        path = folder / f"{name}.safetensors"
        network = ScBERTNetwork(Architecture(60, 16, 2, 2, 8, 16, gene2vec=gene2vec), seed=1)
        if gene2vec:
            rng = torch.Generator().manual_seed(2)
            network.pos_emb["emb"].weight[:-1] = torch.randn(60, 16, generator=rng, dtype=torch.float64)
        told = {"genes": json.dumps(genes), "library": "all"} | metadata
        save(path, network.state_dict(), {key: text for key, text in told.items() if text is not None})
        return path

    return _tiny_scbert


@pytest.fixture(scope="session")
def tiny_scgpt(small, tmp_path_factory):
    """Return a writer of weights files of small random scGPTs that know 400 of the 500 genes of `small`, and others."""
    import torch

    from bench.models.scgpt.network import Architecture, ScGPTNetwork
    from bench.weights import save

    rng = np.random.default_rng(0)
    genes = [*rng.permutation(small.var_names)[:400], *(f"OTHER{i}" for i in range(20))]
    genes = rng.permutation(genes).tolist()
    tokens = [*genes[:7], "<pad>", *genes[7:60], "<eoc>", "<cls>", *genes[60:]]  # special ones are anywhere
    folder = tmp_path_factory.mktemp("scgpt")

    def _tiny_scgpt(name: str = "tiny", *, vocabulary: list[str] = tokens, **metadata: str | None) -> Path:
        path = folder / f"{name}.safetensors"
        network = ScGPTNetwork(Architecture(len(vocabulary), 16, 3, 2, 24), seed=1)
        with torch.no_grad():
            for layer in network.transformer_encoder["layers"]:
                layer.self_attn.in_proj_weight *= 4  # attends to few genes, so that cells differ
        told = {"model": "scgpt", "genes": json.dumps(vocabulary), "heads": "2", "library": "bins"} | metadata
        save(path, network.state_dict(), {key: text for key, text in told.items() if text is not None})
        return path

    return _tiny_scgpt


@pytest.fixture(scope="session")
def tiny_geneformer(small, tmp_path_factory):
    """Return a writer of weights files of small random Geneformers that know 400 of the 500 genes of `small`."""
    import torch

    from bench.models.geneformer.network import Architecture, GeneformerNetwork
    from bench.models.geneformer.vocabulary import SPECIALS, Vocabulary
    from bench.weights import save

    rng = np.random.default_rng(0)
    genes = rng.permutation([*rng.permutation(small.var_names)[:400], *(f"OTHER{i}" for i in range(20))]).tolist()
    medians = rng.lognormal(1, 1, len(genes))
    folder = tmp_path_factory.mktemp("geneformer")

    def _tiny_geneformer(name: str = "tiny", *, version: str = "V1", positions: int = 64, **metadata) -> Path:
        path = folder / f"{name}_{version}_{positions}.safetensors"
        tokens = [*SPECIALS[version], *genes]
        vocabulary = Vocabulary(tokens, np.concatenate([np.full(len(SPECIALS[version]), np.nan), medians]))
        network = GeneformerNetwork(Architecture(len(tokens), 16, 3, 2, 24, positions), seed=1)
        with torch.no_grad():
            for layer in network.bert["encoder"]["layer"]:
                layer.attention["self"]["query"].weight *= 40  # attends to few genes, so that cells differ
        told = {"model": "geneformer", "heads": "2", "library": "ranks", "version": version} | vocabulary.metadata()
        told |= metadata
        save(path, network.state_dict(), {key: text for key, text in told.items() if text is not None})
        return path

    return _tiny_geneformer


@pytest.fixture(scope="session")
def tiny_scfoundation(small, tmp_path_factory):
    """Return a writer of weights files of small random scFoundations that know 400 of the 500 genes of `small`."""
    from bench.models.scfoundation.architecture import Architecture
    from bench.models.scfoundation.checkpoint import metadata_of
    from bench.models.scfoundation.network import ScFoundationNetwork
    from bench.weights import save

    rng = np.random.default_rng(0)
    genes = rng.permutation([*rng.permutation(small.var_names)[:400], *(f"OTHER{i}" for i in range(20))]).tolist()
    folder = tmp_path_factory.mktemp("scfoundation")

    def _tiny_scfoundation(name: str = "tiny") -> Path:
        path = folder / f"{name}.safetensors"
        architecture = Architecture(len(genes), 16, 3, 2, 24, 12, 1, 1, 8, 16, 8)
        told = metadata_of(architecture, genes) | {"model": "scfoundation"}
        save(path, ScFoundationNetwork(architecture, seed=9).state_dict(), told)  # no random probe's seed
        return path

    return _tiny_scfoundation


@pytest.fixture(scope="session")
def tiny_cellplm(small, tmp_path_factory):
    """Return a writer of weights files of small random CellPLMs that know 400 of the 500 genes of `small`."""
    import torch

    from bench.models.cellplm.network import Architecture, CellPLMNetwork
    from bench.weights import save

    genes = np.random.default_rng(0).permutation(small.var_names)[:400].tolist()
    folder = tmp_path_factory.mktemp("cellplm")

    def _tiny_cellplm(name: str = "tiny", *, kind: str = "vae", **metadata: str | None) -> Path:
        path = folder / f"{name}.safetensors"
        sizes = {"n_batches": 1, "n_datasets": 1, "n_clusters": 4, "mixture": 12, "decoder": 12}
        network = CellPLMNetwork(Architecture(400, 16, 2, 2, 24, 8, kind=kind, **sizes), seed=1)
        with torch.no_grad():
            network.embedder.feat_enc.emb *= 100  # so that cells differ
        told = {"model": "cellplm", "genes": json.dumps(genes), "heads": "2", "library": "counts"} | metadata
        save(path, network.state_dict(), {key: text for key, text in told.items() if text is not None})
        return path

    return _tiny_cellplm


@pytest.fixture(scope="session")
def golden():
    """Return a reader of golden cases: name -> (description, tensors); ``BENCH_GOLDEN`` names other folders."""

    def _golden(name: str) -> tuple[dict, dict[str, np.ndarray]]:
        folder = folder_of(name)
        return json.loads((folder / f"{name}.json").read_text()), load_file(folder / f"{name}.safetensors")

    return _golden


@pytest.fixture
def own_cases(tmp_path):
    """Return a maker of folders with private copies of some golden cases, and of the cases that they borrow from."""

    def _own_cases(*names: str) -> Path:
        to = tmp_path / "cases"
        to.mkdir(exist_ok=True)
        for name in names:
            for file in folder_of(name).glob(f"{name}.*"):
                shutil.copyfile(file, to / file.name)
            about = json.loads((to / f"{name}.json").read_text())
            _own_cases(*{other for key, other in about.items() if key in ("weights_from", "inputs_and_outputs_from")})
        return to

    return _own_cases
