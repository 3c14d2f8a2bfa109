"""Golden cases of what goes into scGPT and of its losses: binning, tokens, masked values, similar cells."""

import numpy as np
import scipy.sparse as sp
import torch

from bench.models.golden import spread
from bench.models.layers.packed import Packed
from bench.models.scgpt import binning, losses
from bench.verify.case import Case
from bench.verify.tolerances import ROUNDING

TOLERANCES = {  # case -> kind of output -> largest error, of numbers of size one unless the kind says relative
    "scgpt_binning": {"bins": 0},
    "scgpt_tokenize": {"integers": 0},
    "scgpt_losses": {"relative": 1e-6},
}


def bins(case: Case) -> None:
    """Compare edges' effect: bins with the published stream, with given numbers, and what a bin can be at all."""
    exact, seed = TOLERANCES[case.name]["bins"], case.about["seeds"]["numpy_legacy_global_rng"]
    n_bins = case.settings["n_bins"]
    X = sp.csr_matrix(case["input.X"].numpy())
    streams = {
        "output.binned": lambda: np.random.RandomState(seed),
        "output.low": lambda: _Always(0.999_999),
        "output.high": lambda: _Always(0.0),
    }
    found = {name: _binned(X, stream(), n_bins) for name, stream in streams.items()}
    for name, values in found.items():
        case.compare(name, values, exact)
    given = case["random.uniform"].numpy()
    case.compare("output.binned", _binned(X, _Given(given[given >= 0]), n_bins), exact)
    fixed = found["output.low"] == found["output.high"]
    case.compare("output.deterministic", fixed, exact)
    free = fixed.all(axis=1)
    case.compare("output.row_tie_free", free, exact)
    case.compare("output.binned_tie_free_rows", found["output.binned"][free], exact)
    case.compare("output.bin_edges", _edges(X, n_bins), ROUNDING, relative=True)
    normed = binning.scaled(sp.csr_matrix(case["input_normalised.X"].numpy()))
    case.compare("output_normalised.X_normed", normed.toarray(), ROUNDING, relative=True)
    case.compare("output_normalised.bin_edges", _edges(normed, n_bins), ROUNDING, relative=True)
    case.compare("output_normalised.binned", _binned(normed, np.random.RandomState(seed + 1), n_bins), exact)


def tokenize(case: Case) -> None:
    """Compare genes and values of packed cells, long ones cut in the published way."""
    exact, s = TOLERANCES[case.name]["integers"], case.settings
    vocabulary, ids = case.about["vocabulary"], np.zeros(len(case["input.X"]), int)
    columns = case["input.gene_ids"].numpy()
    placed = sp.csr_matrix(case["input.X"].numpy())
    placed = sp.csr_matrix((placed.data, columns[placed.indices], placed.indptr), (len(ids), len(vocabulary)))
    stream = np.random.RandomState(case.about["seeds"]["numpy_legacy_global_rng_short"])
    cut = {"output_long": (placed, s["max_len_long"]), "output_subset": (placed[1:4], s["max_len_long"])}
    cut |= {"output_short": (placed, s["max_len_short"])}
    for name, (cells, most) in cut.items():
        kept = binning.at_most(cells, most - 1, ids=ids, seed=0, published_rng=stream)
        packed = Packed.of(kept, s["cls_id"])
        there = torch.arange(max(packed.lengths)) < torch.tensor(packed.lengths)[:, None]
        prefix = f"{name}.{'seeded_' * (name == 'output_short')}"
        case.compare(f"{prefix}genes", spread(packed.genes, there, s["pad_id"]), exact)
        case.compare(f"{prefix}values", spread(packed.bins, there, s["pad_value"]), exact)
    n_expressed = np.diff(placed.indptr)
    case.compare("output_short.n_expressed", n_expressed, exact)
    case.compare("output_short.truncated", n_expressed > s["max_len_short"] - 1, exact)
    _check_own_cut(case, placed, s["max_len_short"] - 1)


def _check_own_cut(case: Case, placed: sp.csr_matrix, most: int) -> None:
    """Our draws per cell keep the properties of the published one: enough genes, different ones, with their values."""
    kept = binning.at_most(placed, most, ids=np.arange(placed.shape[0]), seed=0)
    wrong = (np.diff(kept.indptr) != np.minimum(np.diff(placed.indptr), most)).sum()
    genes = [kept.indices[a:b] for a, b in zip(kept.indptr, kept.indptr[1:], strict=False)]
    wrong += sum(len(set(g.tolist())) != len(g) for g in genes)
    wrong += ((kept > 0).multiply(placed) != kept).nnz
    case.note("cells cut otherwise than promised", float(wrong), 0)


def loss(case: Case) -> None:
    """Compare the losses on given tensors."""
    relative = TOLERANCES[case.name]["relative"]
    said, target, mask = case["input.prediction"], case["input.target"], case["input.mask"]
    found = {
        "masked_mse": losses.masked_mse(said, target, mask),
        "masked_mse_single_row": losses.masked_mse(said[:1], target[:1], mask[:1]),
        "neg_log_bernoulli": losses.neg_log_bernoulli(case["input.probability"], target, mask),
        "masked_relative_error": losses.masked_relative_error(said, target + 1, mask),
        "ecs": [
            losses.elastic_cell_similarity(case["input.embeddings"], t) for t in case["input.ecs_thresholds"].tolist()
        ],
    }
    for name, value in found.items():
        case.compare(f"output.{name}", value, relative, relative=True)


class _Always:
    """A generator of one number."""

    def __init__(self, value: float):
        self.value = value

    def random_sample(self, size: int) -> np.ndarray:
        return np.full(size, self.value)


class _Given:
    """A generator of recorded numbers."""

    def __init__(self, values: np.ndarray):
        self.values = values

    def random_sample(self, size: int) -> np.ndarray:
        drawn, self.values = self.values[:size], self.values[size:]
        return drawn


def _binned(X: sp.csr_matrix, stream, n_bins: int) -> np.ndarray:
    found = sp.csr_matrix((binning.quantile_bins(X, lambda row: stream, n_bins), X.indices, X.indptr), X.shape)
    return found.toarray().astype(int)


def _edges(X: sp.csr_matrix, n_bins: int) -> np.ndarray:
    cells = [X.data[start:end] for start, end in zip(X.indptr, X.indptr[1:], strict=False)]
    rows = [binning.edges(values, n_bins) if len(values) else np.zeros(n_bins - 1) for values in cells]
    return np.pad(rows, ((0, 0), (1, 0)))
