"""What a family says of weights that somebody published."""

from dataclasses import dataclass

from bench.datasets.sources import Source


@dataclass(frozen=True)
class Published:
    """Published weights: the family they belong to, and their files."""

    model: str  # name of the family
    sources: tuple[Source, ...]  # the one with the tensors first
    by_hand: str  # where else the files can be had
    part: str = ""  # which of several sets of weights that the file holds; the converter is told it
    terms: str = ""  # what a licence asks for that has to be accepted, in a sentence
