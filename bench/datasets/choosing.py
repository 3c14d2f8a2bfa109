"""Which matrix of a file is used: the one that is asked for, X, or one that is known to hold the counts."""

from collections.abc import Mapping

import h5py
from anndata.io import read_elem

from bench.core.errors import BenchError, listed, unknown
from bench.datasets.places import found_in, matrices, place
from bench.datasets.request import Request, option
from bench.datasets.values import Holding

OF_COUNTS = ("raw", "counts", "raw_counts", "count", "umi", "umis", "umi_counts")  # taken where X holds none


def refused(reading_of: str, layer: str, holding: Holding, others: Mapping[str, Holding]) -> BenchError:
    """Return the error for a matrix that holds neither counts nor, as asked, logarithms; with the way that is left."""
    start = f"{reading_of}: {place(layer)} holds {holding.said}, not counts"
    counts = [name for name, other in others.items() if other.kind == "counts"]
    logs = [name for name, other in others.items() if other.kind == "log1p"]
    if counts:
        return BenchError(f"{start}; {place(counts[0])} holds {others[counts[0]].said}: {option('layer', counts[0])}.")
    if holding.kind == "log1p":
        return BenchError(
            f"{start}, and the file has none. To use them as they are: {option('layer', layer)}, or "
            "adata.uns['bench'] = {'values': 'log1p'} in the file; models that need counts need 'base' and 'total' "
            "there, too, such as 'e' and 10000."
        )
    if logs:
        return BenchError(f"{start}; {place(logs[0])} holds {others[logs[0]].said}: {option('layer', logs[0])}.")
    return BenchError(f"{start}, and no other matrix does; {REMEDIES[holding.kind]}.")


REMEDIES = {
    "scaled": "store the counts from before scaling in a layer (adata.layers['counts'])",
    "linear": "store the raw counts in a layer, or take the logarithm (scanpy.pp.log1p) and name X with -p layer X",
    "root": "store the raw counts in a layer; square roots are neither counts nor logarithms",
    "fractions": "store the counts from before the correction in a layer, or round to whole numbers if they are counts",
    "broken": "remove or replace them, from the counts on",
    "nothing": "load a matrix of counts or log values",
}


def chosen(file: h5py.File, asked: Request) -> tuple[str, str, list[str]]:
    """Return the matrix, what it holds and what was recognised."""
    there = matrices(file)
    if asked.layer is not None:
        return _asked_for(file, asked, there)
    if "X" in there:
        declared = _declared(file)
        holding = found_in(file, "X")
        if declared not in (None, "counts"):
            return "X", declared, []
        if holding.kind == "counts":
            return "X", "counts", [f"X holds {holding.said}."] if "binary" in holding.said else []
    else:
        holding = None
    for name in (name for name in OF_COUNTS if name in there):
        if (other := found_in(file, name)).kind == "counts":
            said = f"X holds {holding.said}" if holding else "there is no X"
            also = f" ({option('layer', 'X')} takes X)" if holding and holding.kind == "log1p" else ""
            return name, "counts", [f"{said}; {place(name)} is used, with {other.said}{also}."]
    if holding is None:
        raise BenchError(
            f"{asked.name} has no X; store the counts there (adata.X = adata.layers[...])"
            + (f", or name one of {listed(there)} with {option('layer', there[0])}." if there else ".")
        )
    raise refused(asked.name, "X", holding, {name: found_in(file, name) for name in there if name != "X"})


def _asked_for(file: h5py.File, asked: Request, there: list[str]) -> tuple[str, str, list[str]]:
    if asked.layer not in there:
        raise unknown(f"layer of {asked.name}", asked.layer, there)
    holding = found_in(file, asked.layer)
    if asked.layer == "X" and (declared := _declared(file)):
        return "X", declared, []
    if holding.kind in ("counts", "log1p"):
        used = [f"{place(asked.layer)} holds {holding.said}, used as they are."] if holding.kind == "log1p" else []
        return asked.layer, holding.kind, used
    others = {name: found_in(file, name) for name in there if name != asked.layer}
    raise refused(asked.name, asked.layer, holding, others)


def _declared(file: h5py.File) -> str | None:
    """Return the values that the file itself declares."""
    declared = _told(file)
    return str(declared["values"]) if "values" in declared else None


def logarithms(file: h5py.File) -> dict[str, str]:
    """Return the ``base`` and the ``total`` of logarithms in X, as far as the file declares them."""
    return {key: str(value) for key, value in _told(file).items() if key in ("base", "total")}


def _told(file: h5py.File) -> Mapping:
    declared = read_elem(file["uns/bench"]) if "uns/bench" in file else {}
    return declared if isinstance(declared, Mapping) else {}
