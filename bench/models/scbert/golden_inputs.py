"""Golden case of what goes into scBERT: alignment, cell filter, normalisation, token ids."""

import numpy as np
import scipy.sparse as sp

from bench.preprocess import align, log1p_cp10k, tokens
from bench.verify.case import Case

# case -> kind of output -> largest error of numbers of size one
TOLERANCES = {"scbert_preprocess": {"values": 5e-6, "integers": 0}}


def preprocess(case: Case) -> None:
    """Compare alignment, cell filter, normalisation and token ids."""
    allowed = TOLERANCES[case.name]
    counts = sp.csr_matrix(case["input.counts"].numpy().astype(np.float32))
    aligned = align(counts, case.about["gene_names"], case.about["reference_genes"])
    case.compare("output.aligned_counts", aligned.toarray(), allowed["integers"])
    n_genes = np.diff(aligned.indptr)
    kept = np.flatnonzero(n_genes >= case.settings["min_genes"])
    case.compare("output.kept_cells", kept, allowed["integers"])
    per_cell = n_genes if len(case["output.n_genes"]) == len(n_genes) else n_genes[kept]
    case.compare("output.n_genes", per_cell, allowed["integers"])
    values = log1p_cp10k(aligned[kept], base=case.settings["log_base"])
    case.compare("output.normalised", values.toarray(), allowed["values"])
    ids = np.pad(tokens(values).toarray(), ((0, 0), (0, 1)))  # the appended token
    case.compare("output.tokens", ids, allowed["integers"])
