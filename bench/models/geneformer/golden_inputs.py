"""Golden cases of what goes into Geneformer: ranks, names of genes, rates, and the layout of published files."""

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp

from bench.core.errors import BenchError
from bench.models.geneformer.checkpoint import shapes
from bench.models.geneformer.dictionaries import published
from bench.models.geneformer.network import Architecture
from bench.models.geneformer.ranks import Ordered, ordered
from bench.models.geneformer.vocabulary import Vocabulary
from bench.training.schedule import warmed_up
from bench.verify.case import Case

TOLERANCES = {  # case -> kind of output -> largest error; ranks are equal but for the order of equal values
    "geneformer_tokenize_v2": {"integers": 0, "relative": 1e-12},
    "geneformer_tokenize_v1": {"integers": 0, "relative": 1e-12},
    "geneformer_tokenize_dups": {"integers": 0},
    "geneformer_tokenize_real": {"integers": 0},
    "geneformer_schedule": {"relative": 1e-12, "relative polynomial": 1e-9},
    "geneformer_keys": {"integers": 0},
}
TIE = 1e-12  # relative difference up to which values may stand in any order
PAD = 0


def tokenize(case: Case) -> None:
    """Compare kept cells, ranks, lengths, values and counts."""
    exact, relative = (TOLERANCES[case.name][kind] for kind in ("integers", "relative"))
    vocabulary = _vocabulary(case.about)
    X, totals = sp.csr_matrix(case["input.X"].numpy()), case["input.n_counts"].numpy()
    columns = vocabulary.columns(case.about["columns"])
    found = ordered(X, np.maximum(totals, 1), columns, vocabulary.medians)
    most, bounds = case.settings["model_input_size"], vocabulary.bounds
    ranks = found.ranks(most, bounds)
    kept = np.flatnonzero(np.diff(found.ends))
    case.compare("output.kept", kept, exact)
    _compare_ranks(case, "output.", found, ranks, kept)
    for name, numbers, edge in (("values", found.values, np.nan), ("counts", found.scaled, 0.0)):
        if f"output.{name}" in case.tensors:
            case.compare(f"output.{name}", _placed(case, found, numbers, kept, edge), relative, relative=True)
    if "output_loom.length" in case.tensors:  # information: a total of 0 makes every known gene of the file a token
        lengths = np.where(totals == 0, min((columns >= 0).sum(), most), np.diff(ranks.indptr))
        case.compare("output_loom.length", lengths, exact)


def odd(case: Case) -> None:
    """Compare odd inputs with what is recommended, and behind a switch with what the published tokeniser does."""
    exact, vocabulary = TOLERANCES[case.name]["integers"], _vocabulary(case.about)
    most, bounds = case.settings["model_input_size"], vocabulary.bounds
    identity = Vocabulary(vocabulary.tokens, vocabulary.medians)
    for name, variant in case.about["variants"].items():
        counts, expected = case[f"input.{name}.X"].numpy(), variant["h5ad"]
        X = _stored(counts) if name == "stored_zero" else sp.csr_matrix(counts)
        known = identity if name == "no_mapping_file" else vocabulary
        labels = [label.upper() for label in variant["columns"]]
        columns, totals = known.columns(labels), np.maximum(counts.sum(axis=1), 1)
        for as_published in (False, True):
            found = ordered(X, totals, columns, known.medians, as_published=as_published, labels=labels)
            here = np.flatnonzero(np.diff(found.ends))
            here = np.intersect1d(here, expected["kept"]) if name == "filter_pass" else here
            rows = [row.data.tolist() for row in found.ranks(most, bounds)[here]]
            theirs = expected["kept"], expected["input_ids"]
            if not as_published or name == "dense_empty":  # of a dense matrix: 0 / 0 is not 0, which nobody wants
                theirs = _recommended(expected, counts, columns, zero=name == "stored_zero")
            differ = here.tolist() != theirs[0] or rows != theirs[1]
            case.note(f"{name}, {'as published' if as_published else 'recommended'}", float(differ), exact)


def real(case: Case) -> None:
    """Compare ranks with the published dictionaries of both versions, which are fetched if need be."""
    X = sp.csr_matrix(case["input.X"].numpy())
    for version in ("V2", "V1"):
        vocabulary = published(version)
        if version == "V1":  # whose own tokeniser knows identifiers alone
            vocabulary = Vocabulary(vocabulary.tokens, vocabulary.medians)
        totals, columns = np.asarray(X.sum(axis=1)).ravel(), vocabulary.columns(case.about["columns"])
        found = ordered(X, totals, columns, vocabulary.medians)
        ranks = found.ranks(case.settings[version.lower()]["model_input_size"], vocabulary.bounds)
        _compare_ranks(case, f"output_{version.lower()}.", found, ranks, np.arange(X.shape[0]))


def schedule(case: Case) -> None:
    """Compare rates of the three schedules."""
    for shape, told in case.settings.items():
        peak = {"peak": told["lr"], "warmup": told["warmup_steps"], "shape": shape}
        found = [warmed_up(step, told["total_steps"], **peak) for step in case[f"input.{shape}.step"].tolist()]
        limit = TOLERANCES[case.name]["relative polynomial" if shape == "polynomial" else "relative"]
        case.compare(f"output.{shape}.lr", found, limit, relative=True)


def keys(case: Case) -> None:
    """Compare names and shapes of all published checkpoints."""
    names = {
        "vocab_size": "n_tokens",
        "hidden_size": "dim",
        "num_hidden_layers": "depth",
        "num_attention_heads": "heads",
    }
    names |= {"intermediate_size": "hidden", "max_position_embeddings": "positions"}
    for name, told in case.about["checkpoints"].items():
        a = Architecture(**{names[key]: size for key, size in told["config"].items()})
        expected = {
            key: tuple(shape) for key, shape in told["tensors_outside_layers"].items() if "position_ids" not in key
        }
        for key, shape in told["tensors_per_layer (bert.encoder.layer.{i}.*)"].items():
            expected |= {f"bert.encoder.layer.{i}.{key}": tuple(shape) for i in range(a.depth)}
        found = dict(shapes(a))
        case.note(f"{name}: names and shapes", float(len(found.items() ^ expected.items())), 0)
        numbers = sum(int(np.prod(shape)) for shape in found.values())
        case.note(f"{name}: parameters", float(abs(numbers - told["parameters"])), 0)


def _vocabulary(about: Mapping) -> Vocabulary:
    mapping = about["gene_mapping"] if isinstance(about["gene_mapping"], dict) else {}
    return Vocabulary.of(about["token_dictionary"], about["gene_medians"], mapping)


def _compare_ranks(case: Case, prefix: str, found: Ordered, ranks: sp.csr_matrix, kept: np.ndarray) -> None:
    """Compare ids, of which equal values may stand in any order, lengths, and which values are equal."""
    exact, expected = TOLERANCES[case.name]["integers"], case[f"{prefix}input_ids"].numpy()
    lengths = np.diff(ranks.indptr)[kept]
    case.compare(f"{prefix}length", lengths, exact)
    bounded = int(case.name != "geneformer_tokenize_v1" and prefix != "output_v1.")
    ids, groups = np.full(expected.shape, PAD), np.full(expected.shape, -1)
    for row, cell in enumerate(kept):
        own = ranks[cell].data
        if len(own) > expected.shape[1]:
            raise BenchError(f"{case.name}: cell {cell} has {len(own)} tokens, expected were {expected.shape[1]}.")
        ids[row, : len(own)] = own
        values = found.values[found.ends[cell] :][: len(own) - 2 * bounded]
        apart = np.abs(np.diff(values)) > TIE * values[1:]
        groups[row, bounded : bounded + len(values)] = np.concatenate([[0], np.cumsum(apart)])[: len(values)]
    case.compare(f"{prefix}tie_group", groups, exact)
    for row in range(len(ids)):
        for group in range(groups[row].max() + 1):
            here = groups[row] == group
            ids[row, here] = _as_far_as_allowed(ids[row, here], expected[row, here])
    case.compare(f"{prefix}input_ids", ids, exact)


def _as_far_as_allowed(ids: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return the expected order of equal values if the ids are the same, else the ids."""
    return expected if sorted(ids) == sorted(expected) else ids


def _placed(case: Case, found: Ordered, numbers: np.ndarray, kept: np.ndarray, edge: float) -> np.ndarray:
    """Return numbers of genes where their tokens are expected, ``edge`` at <cls> and <eos>, NaN where nothing is."""
    expected = case["output.input_ids"].numpy()
    placed = np.full(expected.shape, np.nan)
    for row, cell in enumerate(kept):
        here = slice(found.ends[cell], found.ends[cell + 1])
        known = dict(zip(found.tokens[here].tolist(), numbers[here], strict=True)) | {PAD: np.nan}
        placed[row] = [known.get(token, edge) for token in expected[row].tolist()]
    return placed


def _stored(counts: np.ndarray) -> sp.csr_matrix:
    """Return the counts with the first zero of the first cell stored."""
    rows, columns = np.nonzero(counts)
    zero = np.flatnonzero(counts[0] == 0)[0]
    rows, columns = np.append(rows, 0), np.append(columns, zero)
    data = np.append(counts[np.nonzero(counts)], 0)
    return sp.csr_matrix((data, (rows, columns)), shape=counts.shape)


def _recommended(expected: Mapping, counts: np.ndarray, columns: np.ndarray, *, zero: bool) -> tuple[list, list]:
    """Return cells and ids without what is not to be copied: doubled tokens, stored zeros, cells without a gene."""
    present = ((counts > 0) & (columns >= 0)).any(axis=1)
    cells, rows = [], []
    for cell, ids in zip(expected["kept"], expected["input_ids"], strict=True):
        if present[cell]:
            expressed = {0, 1, 2, 3, *columns[counts[cell] > 0].tolist()}
            once = list(dict.fromkeys(ids))
            cells.append(cell)
            rows.append([token for token in once if token in expressed] if zero else once)
    return cells, rows
