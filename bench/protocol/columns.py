"""The columns of a record, and how a file of them is read.

The list is fixed.  What an older record lacks reads as unknown: an empty text, no number, or the word in the columns of
yes, no and unknown.  It is never filled by guess.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from bench.core.errors import BenchError

COLUMNS = {
    "experiment": "chapter that asked for the trial",
    "tier": "what the number is worth: quick, standin or paper",
    "dataset": "name of the data set, or file name of a user's .h5ad",
    "dataset_hash": "16 hex digits over its checked content",
    "label": "column of obs with the cell types, as the user named it; none where no label was needed",
    "batch": "column of obs with donor, study or condition, as the user named it; none without one",
    "layer": "where the values are from: X, raw, or a layer's name",
    "symbols": "column of var with the gene symbols, or var_names",
    "dropped_types": "cell types left out on request, a JSON list",
    "query": "file name or name of the data that were scored; empty where they are a part of the data set",
    "query_hash": "16 hex digits over their checked content",
    "split": "random, authors or held_out:GROUP; query where other data are scored",
    "subset": "how few-shot cells were drawn: paired or published",
    "model": "name or import path",
    "variant": "one of the model's variants; of an embedding, its name",
    "recipe": "one of the model's recipes",
    "hyperparameters": "canonical JSON, defaults included; files given to a model from outside by name and SHA-256",
    "weights_hash": "identity of the weights, or of an embedding's values for these cells, 16 hex digits; or empty",
    "weights_sha256": "of the file of weights or of an embedding that was loaded, 64 hex digits; empty without one",
    "weights": "tensors loaded of those in the file, and the start of the published file's SHA-256; or which embedding",
    "predictions_hash": "16 hex digits over predictions made with another tool; empty for models that are run here",
    "fraction": "share of the training cells used",
    "seed": "of the draw and of the model",
    "protocol": "version of the project's protocol and of the model; of one from outside, of what it imports",
    "sees_scored_cells": "whether the recipe looks at scored cells, as some published ones do: yes, no or unknown",
    "pretrained_on_scored_cells": "whether weights, an embedding or a tool have seen them before: yes, no or unknown",
    "genes_wanted": "genes that the model looks for by name; all of the data set where it takes what there is",
    "genes_used": "those of them that the data set has",
    "genes_share": "share of the training cells' counts that is in the genes used",
    "metric": "see bench.statistics.metrics, or a diagnostic of the model; empty in a failed trial",
    "class": "cell type, for metrics per class",
    "epoch": "for diagnostics per epoch, from 1",
    "value": "of the metric",
    "n_train": "cells trained on",
    "train_share": "n_train divided by all training cells of the split",
    "n_test": "cells scored",
    "seconds": "wall time of fit and prediction; like memory, device and threads unknown of results made elsewhere",
    "peak_memory_mb": "largest resident memory of the process and its workers, 1 MB = 10^6 bytes",
    "device": "where it ran",
    "processor": "name of the processor, or of the GPU",
    "threads": "that numerical libraries could use",
    "commit": "of this project, '-dirty' with uncommitted changes",
    "versions": "of Python and the packages that decide numbers",
    "key": "of the trial",
    "status": "ok, or failed: reason",
}
NUMBERS = {"fraction", "seed", "genes_wanted", "genes_used", "genes_share", "epoch", "value", "n_train", "train_share"}
NUMBERS |= {"n_test", "seconds", "peak_memory_mb", "threads"}
TEXTS = [column for column in COLUMNS if column not in NUMBERS]
CORE = {"experiment", "tier", "dataset", "metric", "class", "value", "key", "status"}  # without them it is no record
YES_NO = ("sees_scored_cells", "pretrained_on_scored_cells")
AGAIN = "then give the bench run or bench score that made it once more"
OLDER = {"": "unknown", "True": "yes", "False": "no"}


def called(trial: Any) -> str:
    """Return which trial it is: ``knn on hao, 50 %, seed 0``; of a `Trial`, or of a row of its record."""
    variant = "" if trial.variant in ("", "default") else f"@{trial.variant}"
    return f"{trial.model}{variant} on {trial.dataset}, {100 * trial.fraction:g} %, seed {trial.seed:g}"


def yes_no(answer: bool) -> str:
    """Return the word that records have for it; where nobody knows it is ``unknown``."""
    return "yes" if answer else "no"


def joined(*tables: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of tables of records, one table after the other.

    Empty ones are left out: pandas would guess types of columns from them.
    """
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def read_csv(path: Path) -> pd.DataFrame:
    """Return a file of records with all columns; those that it lacks are unknown.

    Raises
    ------
    BenchError
        If it cannot be read, is cut short, or is no record of this version.
    """
    try:
        table = pd.read_csv(
            path,
            dtype=dict.fromkeys(TEXTS, str),
            keep_default_na=False,
            na_values={c: [""] for c in NUMBERS},
            float_precision="round_trip",
        )
    except (OSError, ValueError) as error:
        raise BenchError(f"{path} is not a record ({error}); delete it, {AGAIN}.") from error
    if odd := sorted((set(table) - set(COLUMNS)) | (CORE - set(table))):
        raise BenchError(
            f"{path} is not a record of this version: {odd} differ in its columns; delete or move it, {AGAIN}."
        )
    table = table.assign(**{column: "" for column in TEXTS if column not in table}).reindex(columns=list(COLUMNS))
    numbers = all(pd.api.types.is_numeric_dtype(table[column]) for column in NUMBERS)
    if table.empty or not numbers or not table["status"].fillna("").str.fullmatch("(?s)ok|failed: .*").all():
        raise BenchError(f"{path} is not a complete record; delete it, {AGAIN}.")
    return table.assign(**{column: table[column].replace(OLDER) for column in YES_NO})
