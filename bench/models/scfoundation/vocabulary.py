"""The genes of scFoundation's positions: 19,264 symbols, in the order of its authors' list, which is not sorted.

Source: github.com/biomap-research/scFoundation, commit d09626a5, OS_scRNA_gene_index.19264.tsv.  Licence: Apache-2.0,
as all of that repository but the weights.
"""

from pathlib import Path

from bench.datasets.sources import Source, fetch

N_GENES = 19_264
GENE_LIST = Source(
    name="OS_scRNA_gene_index.19264.tsv",
    licence="Apache-2.0",
    sha256="bb337ea195d94e7b033543abc02a42e7060d6562eba97deb077f7dcecec62661",
    size=228_232,
    url="https://raw.githubusercontent.com/biomap-research/scFoundation/d09626a5c1bc30b9c6227378677b61e0b987fe8b/"
    "OS_scRNA_gene_index.19264.tsv",
)


def published_genes(path: Path | None = None) -> list[str]:
    """Return the 19,264 symbols in the order of the positions.

    Parameters
    ----------
    path
        The file, or a folder that holds it, for a machine without network.

    Raises
    ------
    BenchError
        If the file cannot be had, or is not the published one.
    """
    lines = fetch(GENE_LIST, path).read_text(encoding="utf-8").splitlines()[1:]
    return [line.split("\t")[0] for line in lines]
