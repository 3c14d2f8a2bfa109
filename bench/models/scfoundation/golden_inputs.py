"""Golden cases of scFoundation's inputs: alignment, values and read depth in every mode of the published script."""

import numpy as np
import scipy.sparse as sp
from torch import Tensor

from bench.core.errors import BenchError
from bench.models.scfoundation.inputs import bulk, depth_tokens, normalised, with_depth
from bench.models.scfoundation.vocabulary import published_genes
from bench.preprocess import align
from bench.verify.case import Case

# case -> kind of output -> largest error of numbers of size one
TOLERANCES = {"scfoundation_preprocess": {"values": 2e-6, "integers": 0}}


def preprocess(case: Case) -> None:
    """Compare values, T and S, and the tokens in their order, for every mode of the script."""
    allowed, genes = TOLERANCES[case.name], published_genes()
    if len(genes) != case.settings["n_list"]:
        raise BenchError(f"{case.name} is over {case.settings['n_list']} genes, the list has {len(genes)}.")
    for name in sorted(case.outputs(("output.",))):
        run, kind = name.removeprefix("output.").rsplit(".", 1)
        if kind != "values":
            continue
        given = _given(case, run, genes)
        whole = given.toarray()
        case.compare(f"output.{run}.T_S", whole[:, -2:], allowed["values"])
        longest = case[name].shape[1]
        tokens = [_row(row, longest, case.settings["pad_value"]) for row in given]
        case.compare(name, np.stack([values for values, _ in tokens]), allowed["values"])
        case.compare(f"output.{run}.positions", np.stack([places for _, places in tokens]), allowed["integers"])
        n_tokens = (whole > 0).sum(1)
        case.compare(f"output.{run}.n_tokens", n_tokens, allowed["integers"])


def _row(row: sp.csr_matrix, longest: int, fill: float) -> tuple[np.ndarray, np.ndarray]:
    """Return values and positions of the tokens of a cell, filled up as the case has them."""
    there = row.data > 0
    values, places = np.full(longest, fill, np.float32), np.full(longest, -1)
    values[: there.sum()], places[: there.sum()] = row.data[there], row.indices[there]
    return values, places


def _given(case: Case, run: str, genes: list[str]) -> sp.csr_matrix:
    """Return the values of a run of the preprocessing case, over the whole list."""
    mode = run.split("_")[0]
    source = "bulk_counts" if mode == "bulk" else "T_values" if mode == "T" else "counts"
    found = sp.csr_matrix(case[f"input.{source}"].numpy().astype(np.float64))
    aligned = align(found, case.about["gene_names"], genes)
    if mode != "A":
        return _whole(aligned, run)
    return _whole(normalised(aligned)[0], run, case["input.A_totals"].numpy().astype(np.float64))


def matrix_of(case: Case, run: str) -> sp.csr_matrix:
    """Return the values of a run of the embedding case."""
    mode = run.split("_")[0]
    if mode == "A":
        given = case["input.A_values"].numpy().astype(np.float64)
        return _whole(sp.csr_matrix(given[:, :-1]), run, given[:, -1])
    return values_of(case[f"input.{'bulk_counts' if mode == 'bulk' else 'T_values' if mode == 'T' else 'counts'}"], run)


def values_of(given: Tensor, run: str) -> sp.csr_matrix:
    """Return values with T and S, (n_cells, n_genes + 2), as the script's options, such as ``F_t4``, make them."""
    return _whole(sp.csr_matrix(given.numpy().astype(np.float64)), run)


def _whole(given: sp.csr_matrix, run: str, totals: np.ndarray | None = None) -> sp.csr_matrix:
    """Return values with T and S as the script's options, such as ``F_t4``, make them of an aligned matrix."""
    mode, option = run.split("_")[:2]
    if mode == "bulk":
        values, depth = bulk(given) if option == "F" else (given, np.repeat(given.sum(axis=1).A1[:, None], 2, axis=1))
        return with_depth(values, depth)
    if mode == "F":
        values, totals = normalised(given)
    else:
        values, totals = given, given.sum(axis=1).A1 if totals is None else totals
    return with_depth(values, depth_tokens(totals, option.replace("p", "."), literal=True))
