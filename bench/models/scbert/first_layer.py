"""A shortcut through the first layer: genes that a cell does not express have the same keys and values in every cell.

Most positions of a cell hold token 0.  Their keys and values in the first layer depend on weights alone, so that their
sum is computed once; for a cell the expressed positions are taken out of it and put in with their own tokens.
"""

import torch
from torch import Tensor

from bench.models.layers.favor_sums import KeySummary, block_size, blocks


class FirstKeys:
    """Sums over the keys of the first layer, with those of token 0 kept until a weight changes."""

    def __init__(self, network):
        self.network, self._made_of = network, None

    def summary(self, tokens: Tensor) -> KeySummary:
        """Return the same sums as adding all keys of (cells, positions) token ids to a new `KeySummary`."""
        self._refresh()
        at = self.network.layers[0][0]["fn"]
        keys = KeySummary(len(tokens), at.heads, at.projection)
        keys.sums += self._zero.sums
        keys.values += self._zero.values
        keys.reference += self._zero.reference
        for cell, ids in enumerate(tokens):
            expressed = ids.nonzero()[:, 0]
            keys.top[cell] = self._tops.index_fill(1, expressed, -torch.inf).amax(1)
            one = slice(cell, cell + 1)
            for part in expressed.split(self._positions_at_once()) if len(expressed) else ():
                keys.add(one, *self._keys(torch.zeros_like(part)[None], part), take_out=True)
                keys.add(one, *self._keys(ids[part][None], part))
        return keys

    def _refresh(self) -> None:
        """Sum the keys of token 0 at all positions, if a weight they depend on has changed since."""
        network = self.network
        norm, at = network.layers[0][0].values()
        weights = [network.token_emb.weight, *norm.parameters(), at.to_k.weight, at.to_v.weight, at.projection]
        weights += [network.pos_emb["emb"].weight] if network.architecture.gene2vec else []
        made_of = [(weight.data_ptr(), weight._version) for weight in weights]
        if made_of == self._made_of:
            return
        with torch.autocast(at.projection.device.type, enabled=False):  # kept for whatever precision comes next
            self._sum_up(at)
        self._made_of = made_of

    def _sum_up(self, at) -> None:
        n_positions = self.network.architecture.n_genes + 1
        self._zero = KeySummary(1, at.heads, at.projection)
        self._tops = at.projection.new_empty(at.heads, n_positions)
        positions = torch.arange(n_positions, device=at.projection.device)
        for part in positions.split(self._positions_at_once()):
            k, v = self._keys(torch.zeros_like(part)[None], part)
            self._zero.add(slice(0, 1), k, v)
            self._tops[:, part] = (k @ self._zero.projection).amax(3)[0]

    def _keys(self, ids: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values, (1, heads, positions, dim_head), of tokens at some positions."""
        norm, at = self.network.layers[0][0].values()
        normed = norm(self.network.embed(ids, positions))
        return at.split(at.to_k(normed)), at.split(at.to_v(normed))

    def _positions_at_once(self) -> int:
        at = self.network.layers[0][0]["fn"]
        n_positions = self.network.architecture.n_genes + 1
        size = block_size(at.projection.device)
        return next(blocks(1, n_positions, at.heads, len(at.projection), size))[1].stop
