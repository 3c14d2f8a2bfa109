"""Published weights of scFoundation: one file with three models, whose licence allows non-commercial research alone.

The file is on a SharePoint folder that the authors' repository links (model/README.md); a mirror is at
https://huggingface.co/genbio-ai/scFoundation.  Size and SHA-256 are those that independent repositories agree on.
"""

from bench.datasets.sources import Source
from bench.weights.entries import Published

LICENCE = "scFoundation License: non-commercial research only (not the Apache-2.0 of the authors' code)"
TERMS = (
    "The weights of scFoundation may be used for non-commercial research only; commercial, military and illegal use, "
    "and passing them on for such use, are excluded (MODEL_LICENSE of github.com/biomap-research/scFoundation)."
)
FILE = Source(
    name="models.ckpt",
    licence=LICENCE,
    sha256="9f40bf324d3d0084c4b288d06f5af4fddd12206e2a3f022551d12e89e33a0ea9",
    size=1_432_587_886,
    url="https://huggingface.co/genbio-ai/scFoundation/resolve/cb434153a1acfacd215eefc956ea445f7cc39cc3/models.ckpt",
)
BY_HAND = (
    "The authors link the same file, models.ckpt, on https://github.com/biomap-research/scFoundation "
    "(model/README.md, a page that needs a browser)."
)
PUBLISHED = {  # what the authors take each for: their classifier, embeddings of cells, embeddings at another depth
    f"scfoundation_{part}": Published("scfoundation", (FILE,), BY_HAND, part=part, terms=TERMS)
    for part in ("gene", "cell", "rde")
}
