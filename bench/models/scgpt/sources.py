"""Published weights of scGPT.

scGPT's whole-human folder is on Google Drive, linked from https://github.com/bowang-lab/scGPT, whose licence is MIT; it
is mirrored at https://huggingface.co/perturblab/scgpt-human and https://huggingface.co/u-cellm/scGPT-whole-human.
"""

from bench.datasets.sources import Source
from bench.weights.entries import Published

_HUMAN = {
    "best_model.pt": "6cb5d451ab5c4b33eb673adbe4fddc61d2389df1b89b7651a9fe2e557572b922",
    "args.json": "c18e075e018140cb8b2d9029387b9de26607a5ce6a8ccabd6ead70cd76b95d60",
    "vocab.json": "acca93d114ca62c3f0f50debbd23e8c87f0714f4737764454f6b2b13f2e8580f",
}
PUBLISHED = {
    "scgpt_human": Published(
        model="scgpt",
        sources=tuple(
            Source(
                name=name,
                licence="MIT (the licence of the scGPT repository)",
                sha256=digest,
                url=f"https://huggingface.co/perturblab/scgpt-human/resolve/main/{name}",
            )
            for name, digest in _HUMAN.items()
        ),
        by_hand="The same three files are at https://huggingface.co/u-cellm/scGPT-whole-human; the authors link them "
        "as whole-human on https://github.com/bowang-lab/scGPT.",
    ),
}
