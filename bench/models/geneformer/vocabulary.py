"""Which token a gene is, under which names it is known, and the median that its expression is divided by."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from anndata import AnnData

from bench.core.errors import BenchError
from bench.preprocess import Genes
from bench.weights.vocabulary import SPECIAL

PAD, MASK, CLS, EOS = "<pad>", "<mask>", "<cls>", "<eos>"
SPECIALS = {"V1": (PAD, MASK), "V2": (PAD, MASK, CLS, EOS)}  # the first ids of each version
LONGEST = {"V1": 2048, "V2": 4096}  # positions of the published networks


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by their ids, special ones first, and medians of what is no gene NaN."""

    tokens: Sequence[str]
    medians: np.ndarray  # (n_tokens,) float64, counts per 10,000 of the cells that express a gene
    names: Mapping[str, int] = field(default_factory=dict)  # token of a gene by its other names: aliases, symbols

    @property
    def version(self) -> str:
        """``V1``, or ``V2`` where cells begin with <cls> and end with <eos>."""
        return "V2" if CLS in self.special else "V1"

    @cached_property
    def special(self) -> tuple[str, ...]:
        """The tokens that are no genes."""
        return tuple(token for token in self.tokens if SPECIAL.fullmatch(token))

    @property
    def bounds(self) -> tuple[int, int] | None:
        """Ids of the tokens that every cell begins and ends with, in V2."""
        return (self.tokens.index(CLS), self.tokens.index(EOS)) if self.version == "V2" else None

    @cached_property
    def known(self) -> dict[str, int]:
        """Token of every name of a gene."""
        own = {token: number for number, token in enumerate(self.tokens) if token not in self.special}
        return dict(self.names) | own

    def columns(self, labels: Iterable[str]) -> np.ndarray:
        """Return the token of each label, (n_labels,), else -1; upper case is tried too, as published."""
        known = self.known
        found = (known.get(label, known.get(label.upper(), -1)) for label in map(str, labels))
        return np.fromiter(found, dtype=np.int64)

    def columns_of(self, cells: AnnData) -> np.ndarray:
        """Return the token of each gene of some cells: by its Ensembl identifier if there is one, else by its name."""
        by_name = self.columns(cells.var_names)
        if "ensembl_id" not in cells.var:
            return by_name
        by_id = self.columns(cells.var["ensembl_id"].astype(str))
        return np.where(by_id < 0, by_name, by_id)

    def genes(self, cells: AnnData, columns: np.ndarray) -> Genes:
        """Return the genes that are tokens, those that a data set has by its own names.

        Parameters
        ----------
        cells, columns
            The data set, and what `columns_of` returns for it.
        """
        own = {token: name for token, name in zip(columns[::-1], cells.var_names[::-1], strict=True) if token >= 0}
        genes = range(len(self.special), len(self.tokens))
        return Genes([own.get(gene, self.tokens[gene]) for gene in genes], [own[gene] for gene in genes if gene in own])

    def metadata(self) -> dict[str, str]:
        """Return what a weights file says of it."""
        medians = [None if np.isnan(median) else float(median) for median in self.medians]
        parts = {"genes": list(self.tokens), "medians": medians, "names": dict(self.names)}
        return {key: json.dumps(part, separators=(",", ":")) for key, part in parts.items()}

    @classmethod
    def told(cls, genes: str, medians: str, names: str) -> "Vocabulary":
        """Return what `metadata` told."""
        medians = np.array(json.loads(medians), dtype=np.float64)  # of null NaN
        return cls(json.loads(genes), medians, json.loads(names))

    @classmethod
    def of(cls, tokens: Mapping[str, int], medians: Mapping[str, float], mapping: Mapping[str, str]) -> "Vocabulary":
        """Return the vocabulary of dictionaries as they are published.

        Parameters
        ----------
        tokens
            Id of each token.
        medians
            Of genes; those without a token are of no use.
        mapping
            Identifier by other names; those that lead to no token count as unknown, as in the published tokeniser.

        Raises
        ------
        BenchError
            If ids are not 0, 1, 2, ... each once, or a gene has no median above 0.
        """
        if sorted(tokens.values()) != list(range(len(tokens))):
            raise BenchError(f"The ids of {len(tokens):,} tokens should be 0 to {len(tokens) - 1:,}, each once.")
        ordered = sorted(tokens, key=tokens.__getitem__)
        found = np.array([np.nan if SPECIAL.fullmatch(t) else medians.get(t, 0) for t in ordered], dtype=np.float64)
        if lacking := [t for t, median in zip(ordered, found, strict=True) if median <= 0]:
            raise BenchError(f"{len(lacking):,} genes have a token and no median above 0, such as {lacking[0]}.")
        names = {name: tokens[gene] for name, gene in mapping.items() if gene in tokens and name not in tokens}
        return cls(ordered, found, names)
