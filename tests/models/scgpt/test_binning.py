"""Bins of real cells depend on nothing but the cell and the seed, or follow the published stream number by number."""

import math

import numpy as np
import pytest
import scipy.sparse as sp

from bench.core.errors import BenchError
from bench.datasets import load
from bench.datasets.names import cell_ids
from bench.models.scgpt.binning import CLS, EOC, N_BINS, PAD, at_most, binned, edges, scaled
from bench.preprocess import log1p_cp10k

N_CELLS = 40


class Real:
    """Some real cells, and a vocabulary that has three of five of their genes in another order, and others."""

    def __init__(self, name: str):
        adata, rng = load(name), np.random.default_rng(0)
        rows = np.sort(rng.choice(adata.n_obs, N_CELLS, replace=False))
        self.X, self.genes = adata.X[rows], adata.var_names.tolist()
        self.ids = cell_ids("", adata.obs_names[rows])
        known = rng.permutation(self.genes)[: 3 * len(self.genes) // 5]
        others = [f"OTHER{i}" for i in range(50)]
        self.vocabulary = [PAD, *rng.permutation([*known, *others]).tolist(), EOC, CLS]
        self.known = np.isin(self.genes, known)

    def binned(self, X=None, genes=None, ids=None, **more) -> sp.csr_matrix:
        X, genes, ids = (own if given is None else given for own, given in zip(self.all, (X, genes, ids), strict=True))
        return binned(X, genes, self.vocabulary, ids=ids, **{"seed": 0} | more)

    @property
    def all(self):
        return self.X, self.genes, self.ids


@pytest.fixture(scope="module", params=["baron", "pbmc_facs"])
def real(request) -> Real:
    return Real(request.param)


def equal(found: sp.csr_matrix, expected: sp.csr_matrix) -> None:
    np.testing.assert_array_equal(found.toarray(), expected.toarray())


# What bins are


@pytest.mark.slow
def test_bins_are_those_of_the_quantiles_among_the_genes_of_the_vocabulary(real):
    found = real.binned()
    assert (found.shape, found.dtype) == ((N_CELLS, len(real.vocabulary)), np.uint8)
    columns = [real.vocabulary.index(gene) for gene in np.array(real.genes)[real.known]]
    values, bins = real.X[:, real.known].toarray(), found.toarray()
    assert not np.delete(bins, columns, axis=1).any()
    np.testing.assert_array_equal(bins[:, columns] > 0, values > 0)
    for row, here in zip(bins[:, columns], values, strict=True):
        bins_of, here = row[here > 0], here[here > 0]
        assert bins_of.min() >= 1 and bins_of.max() <= N_BINS - 1
        share = np.array([[(here < v).mean(), (here <= v).mean()] for v in here])  # of the cell's genes
        low, high = np.floor(share[:, 0] * 49), np.ceil(share[:, 1] * 49) + 1
        assert ((low <= bins_of) & (bins_of <= high)).all()
        top = here == here.max()
        assert bins_of[top].max() == bins_of.max()


@pytest.mark.parametrize("max_genes", [None, 100])
def test_bins_depend_on_the_cell_alone(real, max_genes):
    """Neither the order of cells nor of genes nor the company of others matters, subsets of long cells included."""
    whole, rng = real.binned(max_genes=max_genes), np.random.default_rng(1)
    order, genes = rng.permutation(N_CELLS), rng.permutation(len(real.genes))
    equal(real.binned(real.X[order], ids=real.ids[order], max_genes=max_genes), whole[order])
    equal(real.binned(real.X[:, genes], [real.genes[i] for i in genes], max_genes=max_genes), whole)
    for some in ([7], [3, 30, 5], np.arange(20)):
        equal(real.binned(real.X[some], ids=real.ids[some], max_genes=max_genes), whole[some])


@pytest.mark.slow
def test_seed_and_identifier_decide_ties_and_nothing_else(real):
    whole, totals = real.binned().toarray(), scaled(sp.csr_matrix(real.X[:, real.known]))
    equal(real.binned(), sp.csr_matrix(whole))
    columns = [real.vocabulary.index(gene) for gene in np.array(real.genes)[real.known]]
    for other in (real.binned(seed=1), real.binned(ids=real.ids + np.uint64(1))):
        changed = other.toarray()[:, columns] != whole[:, columns]
        assert changed.sum() > 0.3 * totals.nnz
        for row, there in enumerate(changed):
            values = totals[row].toarray().ravel()
            cuts = np.quantile(values[values > 0], np.linspace(0, 1, 50))
            several = (cuts == values[:, None]).sum(axis=1) > 1  # a value on which several quantiles fall
            assert several[there].all()
            assert not changed[row][(values > 0) & ~several].any()


def test_ties_are_broken_evenly():
    vocabulary, values = [PAD, CLS, EOC, *"ABCDEFGHIJ"], np.ones((4000, 10))
    found = binned(sp.csr_matrix(values), list("ABCDEFGHIJ"), vocabulary, ids=np.arange(4000, dtype=np.uint64), seed=0)
    counts = np.bincount(found.data, minlength=N_BINS)
    assert counts[0] == 0
    assert (abs(counts[1:] - 800) < 5 * np.sqrt(800)).all()


def test_logarithms_and_counts_have_the_same_bins(real):
    counts, logs = real.binned().toarray(), real.binned(log1p_cp10k(real.X)).toarray()
    np.testing.assert_array_equal(logs > 0, counts > 0)
    assert (logs != counts).sum() <= 1e-3 * (counts > 0).sum()  # where rounding parts a tie
    assert (real.binned(7 * real.X).toarray() != counts).sum() <= 1e-3 * (counts > 0).sum()


def test_genes_outside_the_vocabulary_leave_no_trace(real):
    whole, other = real.binned(), real.X.toarray()
    other[:, ~real.known] = np.random.default_rng(0).integers(0, 1000, other[:, ~real.known].shape)
    equal(real.binned(sp.csr_matrix(other)), whole)
    equal(real.binned(real.X[:, real.known], list(np.array(real.genes)[real.known])), whole)


def test_cells_are_scaled_as_scanpy_does_it(real):
    import scanpy as sc
    from anndata import AnnData

    expected = sc.pp.normalize_total(AnnData(real.X.astype(np.float32)), 1e4, inplace=False)["X"]
    np.testing.assert_allclose(scaled(real.X).toarray(), expected.toarray(), rtol=1e-6)


# Long, empty and odd cells


def test_a_long_cell_keeps_a_random_subset_of_its_genes_with_their_bins(real):
    whole, most = real.binned(), 150
    found, other = real.binned(max_genes=most), real.binned(max_genes=most, seed=1)
    lengths = np.diff(whole.indptr)
    assert lengths.max() > most
    np.testing.assert_array_equal(np.diff(found.indptr), np.minimum(lengths, most))
    kept = found.toarray() > 0
    np.testing.assert_array_equal(found.toarray()[kept], whole.toarray()[kept])  # bins are those of the whole cell
    long = lengths > most
    assert (kept != (other.toarray() > 0))[long].any(axis=1).all()
    equal(real.binned(max_genes=int(lengths.max())), whole)


def test_every_gene_of_a_long_cell_is_equally_often_kept(real):
    row = int(np.diff(real.binned().indptr).argmax())
    bins = real.binned()[np.full(400, row)]
    kept = (at_most(bins, 100, ids=np.arange(400, dtype=np.uint64), seed=0) > 0).toarray().sum(axis=0)
    n_genes = int(np.diff(bins.indptr)[0])
    share = 100 / n_genes
    here = kept[bins[0].indices]
    assert kept.sum() == here.sum() == 400 * 100
    assert abs(here - 400 * share).max() < 6 * math.sqrt(400 * share)


def test_empty_cells_stay_empty_and_disturb_no_other(real):
    X = real.X.copy()
    for row in (3, N_CELLS - 1):
        X.data[X.indptr[row] : X.indptr[row + 1]] = 0  # zeros that are stored
    found, whole = real.binned(X), real.binned()
    assert not found[[3, N_CELLS - 1]].nnz
    others = np.setdiff1d(np.arange(N_CELLS), [3, N_CELLS - 1])
    equal(found[others], whole[others])
    assert not binned(X[:0], real.genes, real.vocabulary, ids=real.ids[:0], seed=0, max_genes=5).nnz
    assert not binned(X[[3]], real.genes, real.vocabulary, ids=real.ids[[3]], seed=0, max_genes=5).nnz


def test_stored_zeros_are_not_expressed(real):
    X = real.X.copy()
    X.data[::3] = 0
    without = X.copy()
    without.eliminate_zeros()
    assert without.nnz < X.nnz
    equal(real.binned(X), real.binned(without))


def test_a_cell_with_one_gene_or_one_value_has_random_bins():
    vocabulary = ["A", "B", "C", *(PAD, CLS, EOC)]
    ids = np.arange(2000, dtype=np.uint64)
    one = binned(sp.csr_matrix(np.tile([0, 7.0, 0], (2000, 1))), list("ABC"), vocabulary, ids=ids, seed=0)
    assert set(one.indices) == {1}
    assert set(one.data) == set(range(1, N_BINS))
    all_same = binned(sp.csr_matrix(np.full((2000, 3), 2.5)), list("ABC"), vocabulary, ids=ids, seed=0).toarray()
    assert (all_same[:, 0] != all_same[:, 1]).mean() > 0.9  # each gene draws for itself


def test_special_tokens_are_no_genes(real):
    genes = [PAD, CLS, EOC, *real.genes[3:]]
    found = real.binned(real.X, genes)
    special = [real.vocabulary.index(token) for token in (PAD, CLS, EOC)]
    assert not found[:, special].nnz
    known = np.isin(genes, real.vocabulary) & (np.arange(len(genes)) > 2)
    equal(found, real.binned(real.X[:, known], list(np.array(genes)[known])))


def test_of_a_symbol_that_two_columns_have_the_first_counts(real):
    column = int(np.flatnonzero(real.known & (real.X > 0).toarray().all(axis=0))[0])  # every cell expresses it
    twice = sp.hstack([real.X, 3 * real.X[:, [column]]], format="csr")
    for stream in (None, np.random.RandomState(0)):
        again = None if stream is None else np.random.RandomState(0)
        found = real.binned(twice, [*real.genes, real.genes[column]], published_rng=stream)
        equal(found, real.binned(published_rng=again))


@pytest.mark.parametrize("genes", [["ENSG00000000003", "ENSG00000000005"], ["Cd3e", "Gapdh"], [PAD, CLS]])
def test_no_gene_in_the_vocabulary_is_a_sentence(genes):
    with pytest.raises(BenchError, match=rf"None of the 2 genes \({genes[0]}, {genes[1]}.*expected human gene symbols"):
        binned(sp.csr_matrix(np.ones((1, 2))), genes, ["CD3E", "GAPDH", PAD, CLS], ids=np.zeros(1), seed=0)


# As published


def one_by_one(X: np.ndarray, stream: np.random.RandomState) -> list[list[int]]:
    """Bins of each cell's expressed genes in the order of columns, value by value, from the description alone."""
    cells = []
    for row in X:
        total = np.float32(row.sum(dtype=np.float64)) / np.float32(1e4)
        expressed = [np.float32(value) / total for value in row if value != 0]
        cuts = [np.quantile(expressed, q) for q in np.linspace(0, 1, 50)] if expressed else []
        bins = []
        for value in expressed:  # one number for each, whether it is needed or not
            above, from_here = sum(cut < value for cut in cuts), sum(cut <= value for cut in cuts)
            bins.append(math.ceil(from_here - stream.random_sample() * (from_here - above)))
        cells.append(bins)
    return cells


@pytest.mark.slow
def test_published_stream_is_one_for_all_cells_and_genes_in_their_order(real):
    X, n = real.X[:6].copy(), 6
    X.data[X.indptr[2] : X.indptr[3]] = 0  # a cell without any count takes no number
    stream, other = np.random.RandomState(5), np.random.RandomState(5)
    found = real.binned(X, ids=real.ids[:n], published_rng=stream)
    expected = one_by_one(X[:, real.known].toarray(), other)
    assert sum(map(len, expected)) > 1000
    genes = np.array(real.genes)[real.known]
    for row in range(n):
        of = dict(zip(found[row].indices, found[row].data, strict=True))
        expressed = X[row, real.known].toarray().ravel() > 0
        assert [of[real.vocabulary.index(gene)] for gene in genes[expressed]] == expected[row]
    assert stream.random_sample() == other.random_sample()  # and nothing more was drawn


def test_published_stream_then_draws_the_subsets_of_long_cells(real):
    X, most = real.X[:6], 200
    stream, other = np.random.RandomState(5), np.random.RandomState(5)
    found = real.binned(X, ids=real.ids[:6], max_genes=most, published_rng=stream)
    expected = one_by_one(X[:, real.known].toarray(), other)
    genes = np.array(real.genes)[real.known]
    for row in range(6):
        expressed = genes[X[row, real.known].toarray().ravel() > 0]
        kept = range(len(expressed))
        if len(expressed) > most:
            kept = other.choice(len(expressed), most, replace=False)
        assert [real.vocabulary[token] for token in found[row].indices] == [expressed[i] for i in kept]
        assert found[row].data.tolist() == [expected[row][i] for i in kept]
    assert stream.random_sample() == other.random_sample()


def test_published_stream_depends_on_the_order_of_cells(real):
    forth = real.binned(published_rng=np.random.RandomState(0)).toarray()
    back = real.binned(real.X[::-1], published_rng=np.random.RandomState(0)).toarray()[::-1]
    np.testing.assert_array_equal(forth > 0, back > 0)
    assert (forth != back).sum() > 0.3 * (forth > 0).sum()


def test_edges_are_numpys_quantiles_in_double_precision(real):
    values = scaled(sp.csr_matrix(real.X[:1])).data
    np.testing.assert_array_equal(edges(values), [np.quantile(values, q) for q in np.linspace(0, 1, N_BINS - 1)])
    assert len(edges(values)) == N_BINS - 1
