"""The data sets by name; each is a file in ``bench/datasets`` that ends in ``DATASET = Dataset(...)``, and a name here.

It stands below the data sets' own room so that they can be listed without pandas and anndata.
"""

from bench.core.glance import texts

DATASETS = {
    name: f"bench.datasets.{name}"
    for name in ("baron", "hao", "kang", "pbmc_facs", "zheng68k", "ms", "myeloid", "hpancreas", "liver")
}


def told(name: str) -> dict[str, str]:
    """Return those fields of a data set that its module gives as plain text, such as its title."""
    return texts(f"{DATASETS[name]}:DATASET")
