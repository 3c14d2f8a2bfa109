"""How well masked positions were predicted: counts over cells, and the metrics of the paper's Table 3."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.core.errors import BenchError
from bench.models.scbert.masking import Masked, most_common_bin
from bench.models.scbert.network import MASK, Architecture, ScBERTNetwork
from bench.report.masked.baselines import Predictor, fitted, masked_cells
from bench.report.masked.cells import Rows
from bench.report.masked.request import Task
from bench.weights import load_into, read


def score_task(task: Task) -> tuple[list[dict[str, Any]], str]:
    """Return the metrics of a trial, and what became of the tensors of a network's weights."""
    predictor = Network(task.weights, task.device) if task.weights else fitted(task.trial.model, task.fit)
    return score(predictor, task.scored, task.trial.seed, task.batch), getattr(predictor, "audit", "")


def score(predictor: Predictor, held_out: Rows, seed: int, batch: int) -> list[dict[str, Any]]:
    """Return the metrics of a predictor as rows of a record; positions are pooled over cells.

    ``masked_accuracy``
        Share of right predictions among the replaced positions, as published.
    ``masked_accuracy_se``
        Its standard error over cells, whose positions go together (ratio estimator).
    ``masked_accuracy_all``
        The same among all selected positions: one in ten of these is visible, where a network may copy what it sees.
    ``predictions_equal_most_common_bin``
        Share of the replaced positions where the prediction is the most frequent id 1 to 5 of the whole cell.
    ``cells_predicting_most_common_bin``
        Share of cells, of those with a replaced position, all of whose replaced positions are predicted so.
    ``recall_bin``, ``support_bin``
        By true id 1 to 5: share of the replaced positions that are predicted right, and their number.

    Parameters
    ----------
    predictor
        Says an id for every position.
    held_out
        The cells to score.
    seed
        Of the masks.
    batch
        Cells at a time; on them a network's stabiliser depends.

    Raises
    ------
    BenchError
        If no position of any cell is expressed.
    """
    tally, cells = Tally(), held_out.cells()
    for start in range(0, len(held_out.rows), batch):
        tokens, masked = masked_cells(cells, held_out.rows[start : start + batch], seed)
        tally.add(tokens, masked, predictor(tokens, masked))
    return list(tally.rows())


class Tally:
    """Counts of positions and cells."""

    def __init__(self) -> None:
        self.right, self.all_right, self.n_all, self.common = 0, 0, 0, 0
        self.cells, self.common_cells = 0, 0
        self.products = np.zeros(3)  # over cells: right squared, right times positions, positions squared
        self.hits, self.support = np.zeros(MASK, np.int64), np.zeros(MASK, np.int64)

    def add(self, tokens: Tensor, masked: Masked, predicted: Tensor) -> None:
        """Count some cells; all of shape (cells, positions)."""
        right, replaced = predicted == tokens, masked.replaced
        common = (predicted == most_common_bin(tokens)[:, None]) & replaced
        self.all_right += int((right & masked.selected).sum())
        self.n_all += int(masked.selected.sum())
        self.common += int(common.sum())
        hits, n = (x.sum(1).double().numpy() for x in (right & replaced, replaced))
        self.products += hits @ hits, hits @ n, n @ n
        some = replaced.any(1)
        self.cells += int(some.sum())
        self.common_cells += int((some & (common == replaced).all(1)).sum())
        self.hits += np.bincount(tokens[replaced & right].numpy(), minlength=MASK)
        self.support += np.bincount(tokens[replaced].numpy(), minlength=MASK)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield metric, class and value; a bin without any position has no recall."""
        if not (n := self.support.sum()):
            raise BenchError("None of the cells to score has an expressed gene among the weights'; choose other cells.")
        share = self.hits.sum() / n
        values = {
            "masked_accuracy": share,
            "masked_accuracy_se": np.sqrt(max(self.products @ (1, -2 * share, share**2), 0)) / n,
            "masked_accuracy_all": self.all_right / self.n_all,
            "predictions_equal_most_common_bin": self.common / n,
            "cells_predicting_most_common_bin": self.common_cells / self.cells,
        }
        for metric, value in values.items():
            yield {"metric": metric, "class": "", "value": float(value)}
        for token in np.flatnonzero(self.support):
            recall = self.hits[token] / self.support[token]
            yield {"metric": "recall_bin", "class": str(token), "value": float(recall)}
            yield {"metric": "support_bin", "class": str(token), "value": float(self.support[token])}


class Network:
    """Predict with a pretrained network the most probable of all seven ids, as published."""

    def __init__(self, path: Path, device: str) -> None:
        checkpoint = read(path)
        n_genes = len(json.loads(checkpoint.metadata["genes"]))
        self.network = ScBERTNetwork(replace(Architecture.of(checkpoint.tensors), n_genes=n_genes))
        self.audit = str(load_into(self.network, checkpoint))
        self.network.eval().to(device)
        self.device = device

    def __call__(self, tokens: Tensor, masked: Masked) -> Tensor:
        """Return (cells, positions) ids."""
        with torch.inference_mode():
            return self.network(masked.tokens.to(self.device)).argmax(-1).cpu()
