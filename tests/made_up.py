"""Record tables for tests of figures: the published runs with a little noise, in the columns of records; no results."""

import json

import numpy as np
import pandas as pd

from bench.protocol.records import COLUMNS
from bench.published import COUNTERPART
from bench.published.scbert import baseline, table2, table3

TRIAL = {"split": "random", "subset": "paired", "recipe": "published", "protocol": "1.1", "fraction": 1.0, "class": ""}
TRIAL |= {"experiment": "made_up", "tier": "standin", "dataset": "pbmc_facs", "status": "ok", "commit": "0" * 12}
TRIAL |= {"dataset_hash": "d" * 16, "weights_hash": "", "epoch": np.nan, "n_train": 100, "n_test": 50, "seconds": 1.0}
SETTINGS = {"batch_size": 32, "lr": 1e-4, "epochs": 10}
RECALLS = {  # of bins 1-5
    ("scbert", "pretrained"): [0.83, 0.79, 0.55, 0.42, 0.71],
    ("scbert", "no_gene2vec"): [0.99, 0.02, 0.0, 0.0, 0.0],
    ("mode_per_cell", "default"): [1.0, 0.01, 0.0, 0.0, 0.0],
    ("mode_per_gene", "default"): [0.96, 0.21, 0.15, 0.18, 0.60],
    ("gene_depth_regression", "default"): [0.88, 0.55, 0.32, 0.3, 0.64],
}


def row(model, variant, seed, metric, value, settings=None, **more) -> dict:
    """Return one row of a record."""
    settings = json.dumps((SETTINGS if model == "scbert" else {}) | (settings or {}), sort_keys=True)
    trial = TRIAL | {"model": model, "variant": variant, "seed": seed, "hyperparameters": settings} | more
    parts = [trial[k] for k in ("tier", "dataset", "model", "variant", "hyperparameters", "seed", "weights_hash")]
    return trial | {"metric": metric, "value": value, "key": "/".join(map(str, parts))}


def table_of(rows: list[dict]) -> pd.DataFrame:
    """Return rows as `bench.protocol.records.read` would."""
    return pd.DataFrame(rows).reindex(columns=[*COLUMNS, "origin"])


def ablation_records(n_seeds=3, rng=0, metrics=("accuracy", "macro_f1", "hard_accuracy", "hard_f1"), **more):
    """Return scBERT's three variants, the head on bins, L1 logistic regression and the majority."""
    rng, rows = np.random.default_rng(rng), []
    floor = {"accuracy": 0.2, "macro_f1": 0.03, "hard_accuracy": 0.5, "hard_f1": 0.2}
    centre = {"l1_logistic": 0.8, "scbert_head": 0.76}
    published = pd.concat([table2(), baseline()]).groupby(["model", "variant", "metric"])["value"].mean()
    for metric in metrics:
        name = COUNTERPART.get(metric, metric)
        for (model, variant), value in published.xs(metric, level="metric").items():
            for seed in range(n_seeds):
                rows.append(row(model, variant or "default", seed, name, value + rng.normal(0, 0.012), **more))
        for seed in range(n_seeds):
            rows.append(row("scbert_head", "default", seed, name, centre["scbert_head"] + rng.normal(0, 0.01), **more))
        rows.append(row("majority", "default", 0, name, floor[metric], **more))
    return table_of(rows)


def class_records(n_seeds=3):
    """Return recall and support per cell type for four models."""
    rng, rows = np.random.default_rng(1), []
    support = {"CD19+ B": 159, "CD34+": 140, "CD56+ NK": 137, "CD8+ Cytotoxic T": 76, "CD4+ T Helper2": 51}
    support |= {"CD8+/CD45RA+ Naive Cytotoxic": 48, "CD4+/CD45RO+ Memory": 48, "CD4+/CD25 T Reg": 43}
    support |= {"CD4+/CD45RA+/CD25- Naive T": 40, "CD14+ Monocyte": 33}
    models = [("l1_logistic", "default"), ("scbert", "pretrained"), ("scbert", "no_pretraining")]
    for model, variant in [*models, ("scbert_head", "default"), ("majority", "default")]:
        for seed in range(n_seeds):
            for i, (cell_type, cells) in enumerate(support.items()):
                value = float(i == 0) if model == "majority" else 0.95 - 0.06 * i + rng.normal(0, 0.03)
                rows.append(row(model, variant, seed, "recall", value, **{"class": cell_type}))
                rows.append(row(model, variant, seed, "support", cells, **{"class": cell_type}))
    return table_of(rows)


def masked_records(n_seeds=3, **more):
    """Return masked accuracy and recall per bin of two variants and three baselines."""
    rng, rows = np.random.default_rng(2), []
    centre = table3("zheng68k").groupby(["model", "variant", "metric"])["value"].mean().to_dict()
    for model, variant in RECALLS:
        default = {"masked_accuracy": 0.72, "predictions_equal_most_common_bin": 0.85}
        for seed in range(n_seeds):
            for metric, value in default.items():
                value = centre.get((model, variant.replace("default", ""), metric), value) + rng.normal(0, 0.002)
                rows.append(row(model, variant, seed, metric, min(value, 1), **more))
            for i, value in enumerate(RECALLS[model, variant], start=1):
                value = float(np.clip(value + rng.normal(0, 0.01), 0, 1))
                rows.append(row(model, variant, seed, "recall_bin", value, **{"class": str(i)}, **more))
                support = [68, 20, 7, 3, 2][i - 1]
                rows.append(row(model, variant, seed, "support_bin", support, **{"class": str(i)}, **more))
    return table_of(rows)


def epoch_records(settings=({},), n_seeds=4, n_epochs=10, slow=1, variants=("pretrained",), **more):
    """Return loss and accuracy per epoch; the last ``slow`` seeds of every setting stay 0.1 below the others."""
    rng, rows = np.random.default_rng(3), []
    for variant in variants:
        for several in settings:
            top = 0.79 - 0.015 * np.log2(several.get("batch_size", 8) / 8)
            for seed in range(n_seeds):
                is_slow = seed >= n_seeds - slow
                for epoch in range(1, n_epochs + 1):
                    value = (top - 0.1 * is_slow) * (1 - np.exp(-epoch / (4 if is_slow else 2))) + rng.normal(0, 0.004)
                    values = {"validation_accuracy": value, "train_loss": 2 * (1 - value)}
                    for metric, number in values.items():
                        rows.append(row("scbert", variant, seed, metric, number, several, epoch=epoch, **more))
                rows.append(row("scbert", variant, seed, "best_epoch", n_epochs, several, **more))
    return table_of(rows)
