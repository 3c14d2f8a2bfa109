"""What a fitted model says of cells: asked with cells of its own each time, and read by names, never by position alone.

Arrays, lists, tensors of any precision and device, sparse matrices and tables are understood.  What could be read in
two ways is refused with a sentence that says what to return.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import issparse

from bench.core.errors import BenchError
from bench.models.contract import Annotator
from bench.statistics.confidence import contradicted
from bench.statistics.predictions import ABSTAINED, Predictions

# what tools call a cell that they give no type, in small letters; a declaration `rejects` on the class adds others
REJECTIONS = frozenset({"unassigned", "unknown", "rejected", "ambiguous", "undetermined", "unclassified"})


def asked(verb: str, method: Callable, cells: AnnData) -> Any:
    """Return what a method answers that is given cells which it may change."""
    return method(cells.copy())


def predictions_of(
    model: Any,
    cells: AnnData,
    truth: np.ndarray,
    types: Sequence[str],
    batch: np.ndarray | None = None,
    ask: Callable[[str, Callable, AnnData], Any] = asked,
) -> Predictions:
    """Return what a fitted model says of cells, rejected ones as abstentions.

    Parameters
    ----------
    model
        Its ``predict``, where it has one of its own, says the label; else the most probable type is meant.
    cells
        As a model may see them, without labels; they stay as they are.
    truth
        Their types, shape (n_cells,).
    types
        Types of the training cells: none of them is ever taken for a rejection.
    batch
        Donor, study or condition, shape (n_cells,).
    ask
        Calls a method of the model.

    Raises
    ------
    BenchError
        If an answer cannot be read, is no probability distribution, or names types otherwise than the cells.
    """
    found = probabilities(ask("predict_proba", model.predict_proba, cells), classes_of(model), cells.obs_names)
    said = Predictions(truth, found, classes_of(model), None, batch)
    own = getattr(type(model), "predict", Annotator.predict)
    label = said.predicted
    if own is not Annotator.predict:  # else the model would infer twice
        label = labels(ask("predict", model.predict, cells), said.classes, cells.obs_names)
    abstains = rejected(label, getattr(model, "rejects", ()), types)
    said = replace(said, predicted=np.where(abstains, ABSTAINED, label))
    _check_named_alike(said, types)
    return said


def remarks(said: Predictions) -> list[str]:
    """Return sentences on what a reader of the scores should know of the answers behind them."""
    notes, n = [], len(said.truth)
    if n_rejected := int(said.abstained.sum()):
        notes.append(f"{n_rejected} of {n} cells are given no type; they are wrong in accuracy and recall")
    if share := contradicted(said):
        notes.append(f"predict and predict_proba disagree in {round(share * n)} of {n} cells; the labels are predict's")
    if len(said.labels) and n_rejected < n and not set(said.predicted) & set(said.labels):
        notes.append("none of the predicted types occurs among the scored cells")
    return notes


def classes_of(model: Any) -> np.ndarray:
    """Return the types that a fitted model knows, in the order of its columns."""
    if not hasattr(model, "classes_"):
        raise BenchError("fit sets no classes_; expected the sorted cell types, one per column of predict_proba.")
    return np.asarray(model.classes_)


def probabilities(answer: Any, classes: np.ndarray, cells: Sequence[str]) -> np.ndarray:
    """Return the numbers of an answer of ``predict_proba``, rows as cells and columns as classes where it names them.

    Raises
    ------
    BenchError
        If it holds no numbers, or names other cells or types.
    """
    if (table := _table(answer)) is not None:
        rows = _places(table.index, cells, "rows", "cells", "cells.obs_names")
        columns = _places(table.columns, classes, "columns", "types", "classes_")
        answer = table.to_numpy()[rows][:, columns]
    values = _array("predict_proba", answer)
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise BenchError(
            f"predict_proba returned values such as {values.flat[0]!r}; expected numbers, one row per cell."
        ) from error


def labels(answer: Any, classes: np.ndarray, cells: Sequence[str]) -> np.ndarray:
    """Return the labels of an answer of ``predict``, shape (n_cells,), in the order of the cells where it names them.

    Raises
    ------
    BenchError
        If it is no label per cell, or names other cells.
    """
    if isinstance(answer, Mapping):
        answer = pd.Series(answer)
    if isinstance(answer, pd.DataFrame):
        if answer.shape[1] != 1:
            raise BenchError(f"predict returned a table of {answer.shape[1]} columns; expected one label per cell.")
        answer = answer.iloc[:, 0]
    if isinstance(answer, pd.Series):
        answer = answer.to_numpy()[_places(answer.index, cells, "rows", "cells", "cells.obs_names")]
    values = _array("predict", answer)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise BenchError(f"predict returned an answer of shape {values.shape}; expected one label per cell.")
    if missing := int(pd.isna(values).sum()):
        raise BenchError(f"predict gave {missing} cells no label; say 'Unassigned' where the model rejects a cell.")
    if values.dtype.kind in "iufb" and not set(values.astype(str)) & set(classes.astype(str)):
        raise BenchError(
            f"predict returned numbers such as {values[0]}; expected types: return self.classes_[numbers]."
        )
    return values.astype(str)


def _table(answer: Any) -> pd.DataFrame | None:
    """Return an answer that names its columns as a table, and nothing for one that does not."""
    if isinstance(answer, pd.DataFrame):
        return answer
    if isinstance(answer, Mapping):
        return pd.DataFrame({name: _array("predict_proba", column) for name, column in answer.items()})
    if names := getattr(getattr(answer, "dtype", None), "names", None) or getattr(answer, "columns", None):
        return pd.DataFrame({name: np.asarray(answer[name]) for name in names})  # of another library
    return None


def _array(verb: str, answer: Any) -> np.ndarray:
    """Return an answer without names as an array."""
    if np.ma.is_masked(answer):
        raise BenchError(f"{verb} returned an array with masked values; fill them.")
    if issparse(answer):
        return answer.toarray()
    if isinstance(answer, (list, tuple)) and any(hasattr(item, "detach") for item in answer):
        answer = [_array(verb, item) for item in answer]
    if hasattr(answer, "detach"):  # a tensor of torch: NumPy reads neither bfloat16, nor gradients, nor other devices
        answer = answer.detach().cpu().to_dense()
        return (answer.double() if answer.is_floating_point() else answer).numpy()
    if type(answer).__module__.partition(".")[0] == "cupy":
        return answer.get()
    try:
        values = np.asarray(answer)
    except Exception as error:  # whatever an object of the user's raises
        raise BenchError(f"{verb} returned a {type(answer).__name__} that is no array: {error}") from error
    if values.ndim == 0:
        raise BenchError(f"{verb} returned a {type(answer).__name__}; expected an array with a row per cell.")
    return values


def _places(said: pd.Index, wanted: Sequence[str], side: str, what: str, remedy: str) -> np.ndarray:
    """Return where each of the wanted names stands among those said; names 0, 1, 2, ... are places themselves."""
    if isinstance(said, pd.RangeIndex) and said.equals(pd.RangeIndex(len(said))):
        return np.arange(len(said))  # nothing was named
    said, wanted = pd.Index(list(map(str, said)), dtype=object), pd.Index(list(map(str, wanted)), dtype=object)
    for names in (wanted, pd.Index(list(map(str, range(len(wanted)))), dtype=object)):
        if len(said) == len(names) and set(said) == set(names):
            return said.get_indexer(names)
    known = said.isin(wanted)
    odd = [*said[~known], *said[known & said.duplicated()]][:1]
    raise BenchError(
        f"{side.capitalize()} of the returned table name {len(set(said[known]))} of {len(wanted)} {what} in "
        f"{len(said)} names{f', one is {odd[0]!r}' if odd else ''}; name them as {remedy}, each once."
    )


def rejected(said: np.ndarray, own: str | Sequence[str], types: Sequence[str]) -> np.ndarray:
    """Return which labels mean that a cell is given no type, shape (n_cells,)."""
    own, known = {own} if isinstance(own, str) else set(map(str, own or ())), set(map(str, types))
    usual = REJECTIONS - {name.casefold() for name in known}
    names, place = np.unique(said, return_inverse=True)
    means = [name not in known and (name in own or name.casefold() in usual) for name in names]
    return np.array(means, dtype=bool)[place]


def _check_named_alike(said: Predictions, types: Sequence[str]) -> None:
    """Raise where no prediction can be right because types have other names; a collapsed model is just wrong."""
    if not len(said.labels):
        return  # nobody knows how they are named
    predicted, truth, known = set(said.predicted[~said.abstained]), set(said.labels), set(map(str, types))
    if not predicted or predicted & truth or (predicted <= known and known & truth):
        return
    raise BenchError(
        f"None of the types that are predicted, such as '{min(predicted)}', occurs among the scored cells, which are "
        f"'{min(truth)}' and the like: types are named otherwise. Predict names of the training cells' cell_type."
    )
