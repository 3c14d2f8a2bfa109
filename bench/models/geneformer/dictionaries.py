"""The published vocabularies of Geneformer: tokens, medians and names of genes, V1 and V2.

Source: https://huggingface.co/ctheodoris/Geneformer, folders geneformer and geneformer/gene_dictionaries_30m, as of
February 2026; licence Apache-2.0.  They are pickles of plain dictionaries, whose hash is compared before
`bench.weights.plain_pickle` reads them.  Known deviation: V1's own tokeniser knows Ensembl identifiers alone; symbols
are led to them here by the authors' table of names.
"""

from functools import lru_cache
from pathlib import Path

from bench.datasets.sources import Source, fetch, verify
from bench.models.geneformer.vocabulary import Vocabulary
from bench.weights.plain_pickle import read_dictionary

HUB = "https://huggingface.co/ctheodoris/Geneformer/resolve/05fcbeb8a27d49e0a7a4349152202ee2c1cbfd28"
LICENCE = "Apache-2.0"
_V1 = f"{HUB}/geneformer/gene_dictionaries_30m"
_V2 = f"{HUB}/geneformer"


def _pickle(folder: str, name: str, size: int, sha256: str) -> Source:
    return Source(name, LICENCE, sha256=sha256, size=size, url=f"{folder}/{name}")


FILES = {  # version -> tokens, medians, other names of genes
    "V1": (
        _pickle(
            _V1,
            "token_dictionary_gc30M.pkl",
            788_424,
            "ab9dc40973fa5224d77b793e2fd114cacf3d08423ed9c4c49caf0ba9c7f218f1",
        ),
        _pickle(
            _V1,
            "gene_median_dictionary_gc30M.pkl",
            940_965,
            "b3b589bb5ec75040d05fc44dd6bf0184cf87f3c362cf158d196a6ed3b7fe5f39",
        ),
        _pickle(
            _V1,
            "gene_name_id_dict_gc30M.pkl",
            1_117_117,
            "55e67962e79c0039a6c32d43c5c99f38e51964bbcfa32f736150ee1e285c438c",
        ),
    ),
    "V2": (
        _pickle(
            _V2,
            "token_dictionary_gc104M.pkl",
            425_590,
            "67c445f4385127adfc48dcc072320cd65d6822829bf27dd38070e6e787bc597f",
        ),
        _pickle(
            _V2,
            "gene_median_dictionary_gc104M.pkl",
            1_512_661,
            "a51c53f6a771d64508dfaf61529df70e394c53bd20856926117ae5d641a24bf5",
        ),
        _pickle(
            _V2,
            "gene_name_id_dict_gc104M.pkl",
            1_660_882,
            "fabfa0c2f49c598c59ae432a32c3499a5908c033756c663b5e0cddf58deea8e1",
        ),
        _pickle(
            _V2,
            "ensembl_mapping_dict_gc104M.pkl",
            3_957_652,
            "0819bcbd869cfa14279449b037eb9ed1d09a91310e77bd1a19d927465030e95c",
        ),
    ),
}
SIZES = {"V1": 25_426, "V2": 20_275}  # tokens, by which a checkpoint tells its version


def published(version: str, beside: Path | None = None) -> Vocabulary:
    """Return the vocabulary of a version, from files beside a checkpoint where they are there, else fetched once.

    Raises
    ------
    BenchError
        If a file cannot be had, or is not the published one.
    """
    return _read(tuple(_found(source, beside) for source in FILES[version]))


def _found(source: Source, beside: Path | None) -> Path:
    own = beside / source.name if beside else None
    return verify(source, own) if own is not None and own.is_file() else fetch(source)


@lru_cache(maxsize=2)
def _read(files: tuple[Path, ...]) -> Vocabulary:
    tokens, medians, *names = map(read_dictionary, files)
    together: dict[str, str] = {}
    for table in names:  # symbols as they are written, then what the tokeniser itself knows
        together |= table
    return Vocabulary.of(tokens, medians, together)
