"""Golden cases: what the authors' own code gave for the same weights and cells."""

from bench.verify.case import Case
from bench.weights import load_into
from pocket.network import PocketNetwork


def forward(case: Case) -> None:
    """Compare embeddings and predicted levels."""
    weights = case.weights()
    dim, n_genes = weights["encoder.weight"].shape
    network = PocketNetwork(n_genes, dim, seed=0).eval()
    load_into(network, weights)
    levels = case["input.levels"]
    case.compare("output.embedding", network.encode(levels), 1e-5)
    case.compare("output.levels", network(levels), 1e-5)
