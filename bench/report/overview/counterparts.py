"""What this project has beside a published number: the data of each tier, the recorded runs, or how to make them."""

import pandas as pd

from bench.datasets import DATASETS, find
from bench.published import COUNTERPART, TITLES
from bench.report.figures.runs import runs_of
from bench.report.figures.settings import parsed
from bench.report.figures.style import TIERS as TITLE_OF_TIER

DATA = {  # published data set -> tier -> where its experiment is repeated
    "zheng68k": {"quick": ("hao",), "standin": ("pbmc_facs",), "paper": ("zheng68k",)},
    "panglao": {"quick": ("baron",), "standin": ("baron", "kang"), "paper": ("panglao_human.h5ad",)},
    "ms": {"quick": ("kang",), "standin": ("kang",), "paper": ("ms",)},
    "hpancreas": {"quick": ("baron",), "standin": ("baron",), "paper": ("hpancreas",)},
    "myeloid": {"quick": (), "standin": (), "paper": ("myeloid",)},
    "liver": {"quick": ("baron",), "standin": ("baron",), "paper": ("liver",)},
}
NAMED = ["tier", "dataset", "series", "title"]
QUICK_SHARES = (0.1, 0.5, 1.0)  # of the training cells, in the quick tier of the few-shot chapters
BEYOND_QUICK = {"few_shot_scgpt": "kang", "scgpt_no_pretraining": "kang"}  # data that this tier runs only if asked
# of scBERT, as its chapters say; the stand-in tier computes frozen layers once, which takes two declared deviations
MAIN = {"stabiliser": "batch", "evaluation_batch": 64, "redraw": True}
STANDIN = MAIN | {"stabiliser": "per_cell", "redraw": False}


def reproduced(records: pd.DataFrame) -> pd.DataFrame:
    """Return the runs that may stand beside published ones, one row per run and metric.

    scBERT's runs under a changed recipe or stabiliser are left out; ``setting`` tells other settings apart.
    """
    main = records[_main(records)]
    runs = pd.concat([runs_of(main[:0]), *(runs_of(of) for _, of in main.groupby("experiment", sort=False))])
    variant = runs["variant"].where(runs["variant"] != "default", "")
    return runs.assign(variant=variant, setting=[_setting(run) for run in runs[NAMED].itertuples(index=False)])


def _setting(run) -> str:
    """Return what tells a run apart from others of its model and data set: settings, and how the data were read."""
    data = run.title.removeprefix(f"{TITLE_OF_TIER.get(run.tier, run.tier)}: {run.dataset}").strip(" ,")
    return ", ".join(filter(None, (run.series.partition(" (")[2].removesuffix(")"), data)))


class Lookup:
    """The runs of `reproduced`, found by what a published quantity asks for."""

    BY = ("experiment", "tier", "dataset", "model", "variant", "metric", "fraction")

    def __init__(self, runs: pd.DataFrame):
        self._nothing = runs[:0]
        self._groups = dict(tuple(runs.groupby(list(self.BY))))

    def find(self, quantity, tier: str, dataset: str, arm: tuple[str, str], metric: str = "") -> pd.DataFrame:
        """Return the runs of one arm (model, variant) that repeat a quantity, or another metric of the same runs."""
        metric = metric or COUNTERPART.get(quantity.metric, quantity.metric)
        key = (quantity.chapter, tier, dataset, *arm, metric, quantity.fraction)
        return self._groups.get(key, self._nothing)


def data_of(quantity, tier: str) -> tuple[str, ...]:
    """Return the data sets on which a tier repeats a published quantity."""
    return DATA[quantity.dataset][tier]


def impossible(quantity, tier: str, dataset: str = "") -> str:
    """Return why a tier cannot repeat a quantity, as a short phrase; empty where it can."""
    if quantity.variant == "reported_by_yang":
        return "reported by others, not run"
    if quantity.variant == "20_clusters":
        return "merged types alone are run"
    if not data_of(quantity, tier):
        return f"no data like {TITLES[quantity.dataset]} here"
    if quantity.metric.startswith("hard_") and dataset in DATASETS and not find(dataset).hard_pair:
        return f"{dataset} has no hard pair"
    if tier == "paper" and "no_gene2vec" in quantity.variant:
        return "weights were not published"
    return ""


def command(quantity, tier: str, dataset: str) -> str:
    """Return the command that makes the record of a quantity."""
    text = f"bench run chapters/{quantity.chapter}.md -p tier {tier}"
    if tier == "paper" and dataset == "panglao_human.h5ad":
        return f"{text} -p dataset {dataset}"
    if tier == "quick" and BEYOND_QUICK.get(quantity.chapter) == dataset:
        shares = "" if quantity.chapter == "scgpt_no_pretraining" else ' -p fractions "[0.1, 0.25, 0.5, 0.75, 1.0]"'
        return f"{text} -p dataset {dataset}{shares}"
    if tier == "quick" and quantity.fraction not in QUICK_SHARES:
        return f'{text} -p fractions "[0.25, 0.75]"'
    return text


def _main(records: pd.DataFrame) -> pd.Series:
    pairs = list(zip(records["tier"], records["hyperparameters"], strict=True))
    known = {pair: _is_main(*pair) for pair in set(pairs)}
    main = pd.Series([known[pair] for pair in pairs], records.index, dtype=bool)
    return ~(records["model"].eq("scbert") & (records["recipe"].eq("clean") | ~main))


def _is_main(tier: str, hyperparameters: str) -> bool:
    chosen = {"redraw": True} | parsed(hyperparameters)  # which is left out while it is True
    main = STANDIN if tier == "standin" else MAIN
    return all(chosen.get(name, value) == value for name, value in main.items())
