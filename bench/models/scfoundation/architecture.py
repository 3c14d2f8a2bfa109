"""The sizes of an scFoundation, as they are published or as tensors have them."""

from dataclasses import dataclass

from torch import Tensor

from bench.core.errors import BenchError

DECODER = "decoder.performer.net.layers"


@dataclass(frozen=True)
class Architecture:
    """Sizes of the network; the defaults are the published ones."""

    n_genes: int = 19_264  # two tokens of read depth follow
    dim: int = 768  # of the encoding of a token
    depth: int = 12  # layers of the encoder
    heads: int = 12
    hidden: int = 3072  # width of the encoder's feed-forward layers
    decoder_dim: int = 512
    decoder_depth: int = 6
    decoder_heads: int = 8
    dim_head: int = 64  # of the decoder
    n_features: int = 266  # random features, int(dim_head * ln(dim_head))
    n_bins: int = 100  # vectors that a value is mixed of
    bin_alpha: float = 1.0
    dropout: float = 0.1  # of the encoder
    mask_id: int = 102  # values that stand for a hidden one and for padding
    pad_id: int = 103

    @classmethod
    def of(cls, tensors: dict[str, Tensor], **more: float) -> "Architecture":
        """Return the sizes that tensors have; ``heads`` and what else they do not tell is given.

        Raises
        ------
        BenchError
            If they are not those of an scFoundation.
        """
        try:
            n_bins, dim = tensors["token_emb.emb.weight"].shape
            hidden = tensors["encoder.transformer_encoder.0.linear1.weight"].shape[0]
            n_features, dim_head = tensors[f"{DECODER}.0.0.fn.fast_attention.projection_matrix"].shape
            inner, decoder_dim = tensors[f"{DECODER}.0.0.fn.to_q.weight"].shape
            depth = _number_of("encoder.transformer_encoder", tensors)
            decoder = (decoder_dim, _number_of(DECODER, tensors), inner // dim_head, dim_head, n_features)
            n_genes = len(tensors["pos_emb.weight"]) - 3
        except (KeyError, ValueError) as error:
            raise BenchError(
                f"This is no scFoundation checkpoint: no usable {error} among its tensors "
                f"{', '.join(list(tensors)[:4])} ..."
            ) from error
        return cls(n_genes, dim, depth, int(more.pop("heads")), hidden, *decoder, n_bins, **more)

    def __post_init__(self):
        if self.dim % self.heads:
            raise BenchError(f"dim={self.dim} should be a multiple of heads={self.heads}.")
        if self.pad_id >= self.n_genes + 3:
            raise BenchError(f"pad_id={self.pad_id} is the row of a position, too; there are {self.n_genes + 3}.")


def _number_of(layers: str, tensors: dict[str, Tensor]) -> int:
    n_parts = layers.count(".") + 1
    return 1 + max(int(name.split(".")[n_parts]) for name in tensors if name.startswith(f"{layers}."))
