"""Published weights of CellPLM, and the dictionary by which its genes have symbols.

Both checkpoints are in the authors' Dropbox folder, linked from https://github.com/OmicsML/CellPLM (code: BSD-2-Clause;
for the weights no licence is stated).  The SHA-256 of the newer pair are those of another project's download script;
that of the older checkpoint is published nowhere: it is noted when the file is first used, and held to afterwards.
"""

from bench.datasets.sources import Source
from bench.weights.entries import Published

LICENCE = "not stated (code: BSD-2-Clause)"
COMMIT = "https://raw.githubusercontent.com/OmicsML/CellPLM/b59ee7688b1bd2a745856a610248b46f15019a22"
FOLDER = (
    "The authors' Dropbox folder https://www.dropbox.com/scl/fo/i5rmxgtqzg7iykt2e9uqm, linked on "
    "https://github.com/OmicsML/CellPLM, has it in its sub-folder ckpt: download that, and give its place with --path."
)

PUBLISHED = {
    "cellplm_20231027": Published(
        model="cellplm",
        sources=(
            Source(
                name="20231027_85M.best.ckpt",
                licence=LICENCE,
                sha256="a5f0bc6f18a34c5ae6cc69a4d726870e7c7684242c7001c7f69c3cb81d6816df",
            ),
            Source(
                name="20231027_85M.config.json",
                licence=LICENCE,
                sha256="c9827f8cc2a8eda8e3e0726e1f21e2cbfd3a9582ee211d45f3855bfa81a2a686",
            ),
        ),
        by_hand=FOLDER,
    ),
    "cellplm_20230926": Published(  # a mixture as latent layer: its embedding is random, here seeded
        model="cellplm",
        sources=(
            Source(name="20230926_85M.best.ckpt", licence=LICENCE),
            Source(
                name="20230926_85M.config.json",
                licence="BSD-2-Clause",
                sha256="949ae2ba0e099fcb37859f3dbb82d7c2a7ac00b9bce41a2de4004797a60c02c3",
                size=368_869,
                url=f"{COMMIT}/ckpt/20230926_85M.config.json",
            ),
        ),
        by_hand=FOLDER,
    ),
}

SYMBOLS = Source(  # a pickle of symbols with Ensembl identifiers, which nothing of it is run to read
    name="gene_name_id_dict_gc104M.pkl",
    licence="Apache-2.0",
    sha256="fabfa0c2f49c598c59ae432a32c3499a5908c033756c663b5e0cddf58deea8e1",
    size=1_660_882,
    url="https://huggingface.co/ctheodoris/Geneformer/resolve/main/geneformer/gene_name_id_dict_gc104M.pkl",
)
