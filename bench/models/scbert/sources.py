"""Published weights of scBERT.

scBERT's checkpoint is mirrored byte for byte at https://huggingface.co/btraven/scbert-panglao-pretrain; its authors
gave Google Drive links in issue 46 of TencentAILabHealthcare/scBERT: file 1_Pgk_o8AtQtoXr_ZLQx0eJYoSWzjxC8f (weights)
and file 1ZyC2mGxZK1tLdy3sMOmdJERnSuvR9WZ0 (data).
"""

from bench.datasets.sources import Source
from bench.weights.entries import Published

PUBLISHED = {
    "scbert_panglao": Published(
        model="scbert",
        sources=(
            Source(
                name="panglao_pretrain.pth",
                licence="GPL-3.0 (the repository's licence says it covers the model)",
                sha256="aa27109136580b24a1b985f63d0ba31f22490d09e71b13d1793cbff38619dfe3",
                size=87_631_538,
                url="https://huggingface.co/btraven/scbert-panglao-pretrain/resolve/main/panglao_pretrain.pth",
            ),
        ),
        by_hand="The authors' own copy is at https://drive.google.com/file/d/1_Pgk_o8AtQtoXr_ZLQx0eJYoSWzjxC8f.",
    ),
}
