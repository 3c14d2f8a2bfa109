"""Gene vectors: correlations against NumPy, the same vectors in every process, co-expressed genes near each other."""

import hashlib
import json

import numpy as np
import pytest
from forked import Script
from full_disk import largest_file

from bench.core.errors import BenchError
from bench.datasets import load
from bench.models.scbert import coexpression
from bench.models.scbert.coexpression import coexpressed
from bench.models.scbert.gene2vec import gene2vec, train_file
from bench.training.cells import Selection, build

TOGETHER = {  # cell types of the pancreas, and what is expressed in none but one of them
    "acinar": ["PRSS1", "CPA1", "CTRB1", "CELA3A", "PNLIP", "CPA2"],
    "stellate": ["COL1A1", "COL1A2", "COL3A1", "SPARC"],
    "endothelial": ["PLVAP", "PECAM1", "KDR", "FLT1"],
}
FEW = {"pairs_per_gene": 10, "epochs": 2, "dim": 16}


@pytest.fixture(scope="session")
def cells(tmp_path_factory):
    """Two data sets and 1,500 genes: those that vary most in Baron, and 20 that neither of them has."""
    baron = load("baron")
    varied = baron.var_names[np.argsort(baron.X.power(2).mean(axis=0).A1)[-1480:]].tolist()
    markers = [gene for genes in TOGETHER.values() for gene in genes]
    names = list(dict.fromkeys(markers + varied))[:1480] + [f"NOBODY{i}" for i in range(20)]
    return build(tmp_path_factory.mktemp("cells"), [Selection("baron"), Selection("hao")], names, "all")


@pytest.fixture(scope="session")
def trained(cells):
    return gene2vec(cells, epochs=20)


def rows_of(cells, number):
    return np.flatnonzero(cells.dataset == number)


@pytest.mark.slow
def test_pairs_are_those_of_numpy(cells, monkeypatch):
    monkeypatch.setattr(coexpression, "BLOCK", 100)
    rows = rows_of(cells, 1)
    X = cells.tokens(rows).astype(float)
    active = np.flatnonzero(((X > 0).sum(axis=0) >= 30) & (X.std(axis=0) > 0))
    expected = np.corrcoef(X[:, active].T)
    np.fill_diagonal(expected, 0)
    found = coexpression._correlation(cells, rows, active)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    pairs, largest = coexpressed(cells, rows, pairs_per_gene=5, min_correlation=0.15, min_cells=30)
    wanted = set()
    for gene, row in enumerate(expected):
        best = [other for other in np.argsort(-row)[:5] if row[other] >= 0.15]
        wanted |= {tuple(sorted((int(active[gene]), int(active[other])))) for other in best}
    assert largest == pytest.approx(expected.max(), abs=1e-6)
    assert len(wanted) > 200
    assert set(map(tuple, pairs.tolist())) == wanted
    assert len(pairs) == len(wanted)


def test_genes_seen_in_few_cells_or_alike_in_all_have_no_pair(cells):
    rows = rows_of(cells, 0)
    n_cells = (cells.tokens(rows) > 0).sum(axis=0)
    for min_cells in (1, 100):
        pairs, largest = coexpressed(cells, rows, pairs_per_gene=3, min_correlation=0.1, min_cells=min_cells)
        assert n_cells[pairs].min() >= min_cells
        assert np.isfinite(largest)


def test_shape_options_and_card(cells):
    vectors, card = gene2vec(cells, seed=3, **FEW)
    assert vectors.shape == (1500, 16)
    assert vectors.dtype == np.float64
    assert np.isfinite(vectors).all()
    assert card["n_genes_without_pair"] >= 20
    assert card["n_pairs"] == sum(source["n_pairs"] for source in card["datasets"])
    assert [source["dataset"] for source in card["datasets"]] == ["baron", "hao"]
    assert card.items() >= {"seed": 3, **FEW, "cells": cells.content, "n_cells": len(cells)}.items()
    lengths = np.linalg.norm(vectors, axis=1)
    paired = len(vectors) - card["n_genes_without_pair"]
    np.testing.assert_allclose(np.sort(lengths[-20:]), lengths[-1])  # no pair: all of one length
    others = np.delete(lengths, np.flatnonzero(np.isclose(lengths, lengths[-1])))
    assert len(others) == paired
    assert lengths[-1] == pytest.approx(others.mean())


@pytest.mark.slow
def test_rows_choose_the_cells(cells):
    some = rows_of(cells, 0)[:800]
    vectors, card = gene2vec(cells, rows=some[::-1], **FEW)
    assert [source["n_cells"] for source in card["datasets"]] == [800, 0]
    np.testing.assert_array_equal(vectors, gene2vec(cells, rows=some, **FEW)[0])


@pytest.mark.slow
def test_seed_decides(cells):
    first, again, other = (gene2vec(cells, seed=seed, **FEW)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


@pytest.mark.slow
def test_processes_agree(cells, warm):
    code = (
        "import hashlib, sys\nfrom bench.training.cells import Cells\n"
        "from bench.models.scbert.gene2vec import gene2vec\n"
        f"print(hashlib.sha256(gene2vec(Cells(sys.argv[1]), **{FEW})[0].tobytes()).hexdigest())"
    )
    done = Script(code, cells.folder, OMP_NUM_THREADS="2").wait()  # with another seed of hashes than this process
    assert done.stdout.strip() == hashlib.sha256(gene2vec(cells, **FEW)[0].tobytes()).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("kind", TOGETHER)
def test_genes_of_one_cell_type_are_near_each_other(cells, trained, kind):
    vectors, card = trained
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    places = [cells.genes.index(gene) for gene in TOGETHER[kind]]
    within = (unit[places] @ unit[places].T)[np.triu_indices(len(places), 1)]
    others = np.setdiff1d(np.arange(1480), places)
    away = unit[places] @ unit[others].T
    print(kind, within.mean(), away.mean(), (within[:, None] > away.ravel()).mean())
    assert within.mean() > away.mean() + 0.2
    assert (within[:, None] > away.ravel()).mean() > 0.9
    assert card["cosine_of_pairs"] > card["cosine_of_random_genes"] + 0.05


def test_no_pair_is_an_error(cells):
    with pytest.raises(BenchError, match=r"correlate by 0.999 or more: the largest correlation is 0\.9\d+. Lower"):
        gene2vec(cells, min_correlation=0.999)
    with pytest.raises(BenchError, match=r"No two genes with tokens in at least 5000 cells"):
        gene2vec(cells, min_cells=5000)
    with pytest.raises(BenchError, match=r"use more cells \(1 now\)"):
        gene2vec(cells, rows=np.array([4]))


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("dim", 0, "dim=0 should be a whole number of at least 1"),
        ("epochs", 1.5, "epochs=1.5 should be a whole number"),
        ("seed", -1, "seed=-1 should be a whole number of at least 0"),
        ("pairs_per_gene", 0, "pairs_per_gene=0"),
        ("min_correlation", 0.0, "min_correlation=0.0 should be between 0 and 1"),
        ("min_correlation", 1, "min_correlation=1 should be between 0 and 1"),
    ],
)
def test_options_out_of_range(cells, option, value, message):
    with pytest.raises(BenchError, match=message):
        gene2vec(cells, **{option: value})


@pytest.mark.slow
def test_files_are_whole_and_match(cells, tmp_path):
    path = tmp_path / "new" / "vectors.npy"
    assert train_file(path, cells, seed=1, **FEW) == path
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["genes"] == cells.genes
    assert card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    first = np.load(path)
    np.testing.assert_array_equal(first, gene2vec(cells, seed=1, **FEW)[0])
    with largest_file(1000), pytest.raises(BenchError, match=r"vectors.npy and its card cannot be written: File too"):
        train_file(path, cells, seed=2, **FEW)
    np.testing.assert_array_equal(np.load(path), first)
    assert sorted(p.name for p in path.parent.iterdir()) == ["vectors.json", "vectors.npy"]
    train_file(path, cells, seed=2, **FEW)
    assert np.abs(np.load(path) - first).max() > 0.01
    with pytest.raises(BenchError, match=r"vectors.bin should end in .npy"):
        train_file(tmp_path / "vectors.bin", cells)
