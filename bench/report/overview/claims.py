"""What the paper claims, each claim as a difference between two arms and the region in which it has to lie.

Sources: PROTOCOL 1.1-1.9 and the paper's text.  A claim says that one arm is above another, or that two arms are the
same.  For "the same" a margin is needed, which the paper does not state; `bench.statistics.MARGIN` is this project's.
The test of a difference decides: significantly inside the region the claim holds, significantly outside it does not,
else it is open.  p values are corrected by Holm's method for all comparisons of a published table in a tier.
"""

from dataclasses import dataclass, field

import numpy as np

from bench.report.effects import Effect
from bench.report.overview.quantities import FAMILIES, SMALL_BATCHES, SPREAD, arms_of
from bench.statistics.intervals import ALPHA, MARGIN

LEVEL, LEVEL_SAME = 1 - ALPHA, 1 - 2 * ALPHA  # of the interval shown; two one-sided tests for "the same"
HOLDS, FAILS, OPEN, UNTESTED = "holds", "does not hold", "not decided", "not testable"
NONE = "no record yet"
VERDICTS = (HOLDS, FAILS, OPEN, UNTESTED, NONE)

LR, SCBERT, SCGPT, MODE = ("l1_logistic", ""), ("scbert", "pretrained"), ("scgpt", "pretrained"), ("mode_per_cell", "")
FEW = (0.1, 0.25, 0.5, 0.75)
EVERY = (*FEW, 1.0)
BOTH = ("accuracy", "macro_f1")


@dataclass(frozen=True)
class Claim:
    """One claim of the paper."""

    says: str  # one sentence
    place: str  # of the numbers that support it, as in bench.report.overview.quantities
    a: tuple[str, str]  # model, variant
    b: tuple[str, str] | None = None
    datasets: tuple[str, ...] = ("zheng68k",)
    cases: dict[str, tuple[float, ...]] = field(default_factory=dict)  # metric -> shares of the training cells
    same: bool = False  # a and b are the same, within the margin; else a is above b

    @property
    def level(self) -> float:
        """Level of the interval that decides."""
        return LEVEL_SAME if self.same else LEVEL

    def p(self, effect: Effect) -> tuple[float, bool]:
        """Return the uncorrected p value (nan without a test) and whether the difference lies where it is claimed."""
        if not self.same:
            return effect.differs(), effect.value > 0
        equal, apart = effect.same(MARGIN), min(effect.above(MARGIN), effect.below(-MARGIN))
        return min(equal, apart), equal <= apart

    def verdict(self, p: float, inside: bool) -> str:
        """Return ``holds``, ``does not hold`` or ``not decided`` for a corrected p value."""
        if np.isnan(p) or p >= ALPHA:
            return OPEN
        return HOLDS if inside else FAILS

    def covers(self, quantity) -> bool:
        """Return whether a published quantity, a row of `quantities`, is one that this claim rests on."""
        metric = "masked_accuracy" if quantity.place == "Table 3" else quantity.metric  # its other columns say the same
        arms, behind = {self.a, self.b}, arms_of(quantity)
        return (
            quantity.place == self.place
            and quantity.dataset in self.datasets
            and quantity.fraction in self.cases.get(metric, ())
            and arms.issuperset(behind)
        )


NO_GENE2VEC, NO_PRETRAINING = ("scbert", "no_gene2vec"), ("scbert", "no_pretraining")
SCRATCH, FROZEN = ("scgpt", "no_pretraining"), ("scgpt", "no_pretraining_frozen_embeddings")
ALL_HARD = dict.fromkeys((*BOTH, "hard_accuracy", "hard_f1"), (1.0,))
ALL_SETS = ("ms", "hpancreas", "myeloid")


def _few_and_all(says: str, a, b, dataset: str, cases: dict[str, tuple[float, ...]]) -> list[Claim]:
    """Return the claim twice: for the shares of Figure 3, and for all training cells, which are in the table."""
    few = {metric: tuple(s for s in shares if s < 1) for metric, shares in cases.items()}
    whole = {metric: tuple(s for s in shares if s == 1) for metric, shares in cases.items()}
    both = ("Figure 3", few), ("Supplementary Table 4", whole)
    return [Claim(says, place, a, b, (dataset,), chosen) for place, chosen in both if any(chosen.values())]


CLAIMS = (
    Claim("Logistic regression is above scBERT with all labels.", "Table 1", LR, SCBERT, cases=ALL_HARD),
    Claim(
        "Logistic regression is above scBERT at every share of the training cells.",
        "Figure 2",
        LR,
        SCBERT,
        cases=dict.fromkeys(BOTH, EVERY),
    ),
    Claim("scBERT without pretraining is as good.", "Table 2", SCBERT, NO_PRETRAINING, cases=ALL_HARD, same=True),
    Claim("scBERT without gene2vec is worse.", "Table 2", SCBERT, NO_GENE2VEC, cases=ALL_HARD),
    Claim(
        "Without gene2vec scBERT predicts masked bins as well as the cell's most common bin does.",
        *("Table 3", NO_GENE2VEC, MODE, ("panglao", "zheng68k"), {"masked_accuracy": (1.0,)}, True),
    ),
    Claim(
        "With gene2vec scBERT is above the cell's most common bin.",
        *("Table 3", SCBERT, MODE, ("panglao", "zheng68k"), {"masked_accuracy": (1.0,)}),
    ),
    Claim("Small batches do better.", "Figure 4", SCBERT, cases={SMALL_BATCHES: (1.0,)}),
    Claim("The spread over seeds grows with the batch.", "Figure 4", SCBERT, cases={SPREAD: (1.0,)}),
    Claim("Equal settings give a fast and a slow family of runs.", "Figure 5", SCBERT, cases={FAMILIES: (1.0,)}),
    *_few_and_all("On MS scGPT is above logistic regression.", SCGPT, LR, "ms", dict.fromkeys(BOTH, EVERY)),
    *_few_and_all(
        *("On pancreas logistic regression is above scGPT while labels are few.", LR, SCGPT, "hpancreas"),
        {"accuracy": (0.1, 0.25, 0.5), "macro_f1": (0.1, 0.25)},
    ),
    *_few_and_all(
        *("On pancreas scGPT has the higher macro F1 with all labels.", SCGPT, LR, "hpancreas", {"macro_f1": (1.0,)})
    ),
    *_few_and_all(
        "On myeloid cells logistic regression is above scGPT.", LR, SCGPT, "myeloid", dict.fromkeys(BOTH, EVERY)
    ),
    *(
        Claim(says, "Supplementary Figure 6, Table 5", SCGPT, arm, ALL_SETS, dict.fromkeys(BOTH, (1.0,)))
        for says, arm in (
            ("scGPT without pretraining is worse.", SCRATCH),
            ("scGPT without pretraining and with frozen encoders is worse.", FROZEN),
        )
    ),
)
