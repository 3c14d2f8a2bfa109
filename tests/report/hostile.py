"""Own results as people have them, and worse: written beside the committed ones, to see whether a page still holds."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from bench.core.keys import digest
from bench.protocol import records
from bench.protocol.columns import COLUMNS

LONG = "a name of three hundred characters " * 9
ODD = "$x_1$ <script>alert(1)</script> | {a} **b** _c_\nnew line"
FAILED = {"metric": "", "class": "", "value": np.nan, "epoch": np.nan, "status": f"failed: ValueError: no {ODD}"}


def write_all(experiment: str) -> int:
    """Write own results of an experiment that differ from its committed ones in every way; return how many files."""
    ours = records.read(experiment, own=False).drop(columns="origin")
    ours = ours[ours["tier"] == "quick"]
    linear = ours["model"].eq("l1_logistic") if (ours["model"] == "l1_logistic").any() else ours["model"].ne("scbert")
    some = ours[linear].assign(value=lambda t: 0.1 * t["value"])
    for settings in ({"Cs": [0.001]}, {"Cs": [0.01]}):
        _write(_with_settings(some, settings))
    differ = {"dataset_hash": "f" * 16, "label": "kind_1", "layer": "raw", "symbols": "feature_name"}
    differ |= {"dropped_types": json.dumps(["B cells", ODD]), "query": "query.h5ad", "query_hash": "e" * 16}
    differ |= {
        "protocol": "9.9",
        "subset": "published",
        "recipe": "other",
        "weights_hash": "d" * 16,
        "split": "authors",
    }
    for column, value in differ.items():
        _write(some.assign(**{column: value}))
    _write(ours.assign(dataset="mine.h5ad", dataset_hash="c" * 16))
    _write(ours.assign(dataset="mine.h5ad", dataset_hash="b" * 16, label=ODD))
    _write(some.assign(dataset=LONG + ".h5ad", dataset_hash="a" * 16, split="held_out:" + ODD))
    types = some[some["class"] != ""]
    for n in range(70):
        _write(types.head(1).assign(dataset="seventy.h5ad", **{"class": f"{ODD} {n}"}, value=0.5, seed=n))
    for model in (
        "v1:MyModel",
        "v2:MyModel",
        "outside:scGPT",
        f"odd:{ODD}",
        f"long:{LONG}",
        *(f"m:M{n}" for n in range(40)),
    ):
        _write(some.assign(model=model, hyperparameters="{}", value=0.5))
    _write(some.assign(model="few:Few", hyperparameters="{}", fraction=0.01, train_share=0.137, n_train=70))
    _write(some.assign(model="few:Few", hyperparameters="{}", fraction=0.05, train_share=0.137, n_train=70))
    _write(some.assign(model="nan:NaN", hyperparameters="no JSON", value=np.nan, seconds=np.nan, peak_memory_mb=np.nan))
    elsewhere = {"model": "elsewhere", "hyperparameters": "{}", "predictions_hash": "9" * 16}
    elsewhere |= {"seconds": np.nan, "peak_memory_mb": np.nan, "threads": np.nan, "device": "", "processor": ""}
    _write(some.assign(variant="Labels of SingleR", **elsewhere))
    _write(some.assign(variant="scBERT", **elsewhere))
    _write(some.assign(model="all:Failed", hyperparameters="{}", **FAILED))
    partly = some.assign(model="some:Failed", hyperparameters="{}")
    _write(partly[partly["split"] != partly["split"].max()])
    _write(partly[partly["split"] == partly["split"].max()].assign(**FAILED))
    _write(some.assign(model="one:Seed", hyperparameters="{}")[some["seed"] == some["seed"].min()])
    _write(ours.assign(tier="huge"))
    _write(ours.assign(**FAILED), keys="kept")  # what the chapter asks for, failed here
    _broken_files(experiment, ours)
    return len(list(records.own_folder().rglob("*.csv")))


def _with_settings(rows: pd.DataFrame, settings: dict) -> pd.DataFrame:
    changed = {text: json.dumps(json.loads(text or "{}") | settings) for text in set(rows["hyperparameters"])}
    return rows.assign(hyperparameters=rows["hyperparameters"].map(changed))


def _write(rows: pd.DataFrame, keys: str = "new") -> None:
    """Write rows as one own file per trial; the key follows from all that tells trials apart."""
    for (tier, key), trial in rows.groupby(["tier", "key"]):
        told = trial.iloc[0].drop(["metric", "value", "class", "epoch", "versions"]).astype(str).to_dict()
        key = digest(told) if keys == "new" else key
        path = records.path_of(trial["experiment"].iloc[0], tier, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        trial.assign(key=key)[list(COLUMNS)].to_csv(path, index=False)


def _broken_files(experiment: str, ours: pd.DataFrame) -> None:
    """Write files that are no records, records of older columns, and predictions of other cells or of none."""
    folder = records.path_of(experiment, "quick", "x").parent
    (folder / "empty.csv").touch()
    (folder / "cut.csv").write_text("experiment,tier,dataset\n" + f"{experiment},quick")
    (folder / "text.csv").write_bytes(b"\xff\xfe\x00 no table")
    older = ours[ours["key"] == ours["key"].iloc[0]].assign(key="older", model="older:Older", hyperparameters="{}")
    older.drop(columns=["label", "layer", "genes_wanted", "train_share"])[: len(older)].to_csv(
        folder / "older.csv", index=False
    )
    npz = Path(records.committed_folder() / experiment).glob("*.npz")
    for n, path in enumerate(sorted(npz)):
        target = folder / path.name
        if n % 2:
            target.write_bytes(path.read_bytes()[:100])
        else:
            with np.load(path) as kept:
                np.savez(target, **{name: kept[name][::-1] if name == "truth" else kept[name] for name in kept})
