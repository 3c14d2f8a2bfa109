"""Published weights of Geneformer, the first paper's first.

They are at https://huggingface.co/ctheodoris/Geneformer, whose licence is Apache-2.0, in a folder for each size.  Those
of 2024 were taken out of it in June 2025 and are in its history only; "95M" in their names counted cells, not weights.
"""

from bench.datasets.sources import Source
from bench.models.geneformer.dictionaries import HUB, LICENCE
from bench.weights.entries import Published

BY_HAND = "The authors publish it at https://huggingface.co/ctheodoris/Geneformer, in the folder {}."
HISTORY = (
    "It was taken out of https://huggingface.co/ctheodoris/Geneformer in June 2025: copy {} from an older clone "
    "(git log --all -- {}) and name the file with --path."
)


def _entry(folder: str, size: int, sha256: str, file: str = "model.safetensors", *, there: bool = True) -> Published:
    name = f"{folder.rpartition('/')[2]}.{file.rpartition('.')[2]}"
    url = f"{HUB}/{folder}/{file}" if there else None
    source = Source(name, LICENCE, sha256=sha256, size=size, url=url, known_as=file)
    return Published("geneformer", (source,), (BY_HAND if there else HISTORY).format(folder, folder))


PUBLISHED = {
    "geneformer_v1_10m": _entry(
        "Geneformer-V1-10M",
        41_183_536,
        "a5e33a757431643b3697de7ef6127950cdc49e06e58d4266b3a3ab191b683f14",
    ),
    "geneformer_v2_104m": _entry(
        "Geneformer-V2-104M",
        417_571_156,
        "fff5cba29ddd8792991fa77b4872246fbe548a178cebda3775cdc72b67780e7f",
    ),
    "geneformer_v2_104m_clcancer": _entry(
        "Geneformer-V2-104M_CLcancer",
        417_571_156,
        "827738139bfed4bafa9d1f3df7c6146da2e3b85f7225076adc32c6eda0ba4357",
    ),
    "geneformer_v2_316m": _entry(
        "Geneformer-V2-316M",
        1_265_455_076,
        "965ceccea81953d362081ef3843560a0e4fef88d396c28017881f1e94b1246f3",
    ),
    "geneformer_v1_10m_bin": _entry(
        "Geneformer-V1-10M",
        41_216_562,
        "8d860e2125884475dd42bc2cd9a0e60c60808a7351241e08f2154931ffc142da",
        "pytorch_model.bin",
    ),
    "geneformer_v1_10m_cardiomyopathies": _entry(
        "fine_tuned_models/Geneformer-V1-10M_CellClassifier_cardiomyopathies_220224",
        41_115_113,
        "12ead3bad8cf4b853bac87eadeb79c9308ae492e9d29f32da1a2c85e8586108d",
        "pytorch_model.bin",
    ),
    "geneformer_12l_30m": _entry(
        "gf-12L-30M-i2048",
        158_467_410,
        "812f8d85e5ecf9d64c268f052f6ece2c1906bc4f1aecf70d5144b2598386b615",
        "pytorch_model.bin",
        there=False,
    ),
    "geneformer_12l_95m": _entry(
        "gf-12L-95M-i4096",
        152_012_980,
        "4365ba23e393fcfa0e65a94ac64a0983cd788bd23a8d4914f4ab66f85cfe043c",
        there=False,
    ),
    "geneformer_20l_95m": _entry(
        "gf-20L-95M-i4096",
        605_292_732,
        "db85c081a6d392448955c7d0185e26aba74507518df991ca8c69ee9108ce8bbf",
        there=False,
    ),
    "geneformer_12l_95m_clcancer": _entry(
        "gf-12L-95M-i4096_CLcancer",
        152_012_980,
        "2451adeed240c165634fea60ccba17063da8a2843ea9fcdcc0ce185720bf0dc2",
        there=False,
    ),
}
