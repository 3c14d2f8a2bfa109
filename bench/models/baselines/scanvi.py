"""scANVI: a variational autoencoder of counts, pretrained without labels (scVI), then trained on with those it has.

Source: Xu et al. 2021, Molecular Systems Biology 17:e9620, as scvi-tools has it (BSD-3-Clause, optional extra
``scvi``); settings of its tutorial "Atlas-level integration of lung data": two layers, 30 latent dimensions, negative
binomial, 20 epochs with 100 cells of each type.
Deviations: the genes are those of largest variance of the log levels, not by scanpy's ``seurat_v3``; all training
cells are trained on, none held out, so that a type of one cell is learnt.
Scored cells are not seen: the fitted encoder is asked about them, and is not trained on with them as an unlabelled
query (scArches).  The batch of training cells is told to the decoder alone, the package's default, hence a cell of a
batch that was never seen is predicted like any other.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from bench.core.checked import Checked
from bench.core.errors import BenchError, reason_of
from bench.models.baselines.columns import most_variable
from bench.models.contract import Annotator, labels_of
from bench.preprocess import GENES, LEAST_GENES, align, features, listed_genes, looked_for

LABEL, BATCH, UNLABELLED = "cell_type", "batch", "(no label)"  # of the last there is no training cell
BATCH_SIZE = 128  # cells, or all where there are fewer


@dataclass(frozen=True)
class ScANVIConfig(Checked):
    """Hyper-parameters."""

    sizes: ClassVar = ("n_genes", "n_layers", "n_latent", "epochs", "epochs_labelled", "n_samples_per_label")
    fractions: ClassVar = ("least_genes",)
    choices: ClassVar = {"genes": GENES}

    n_genes: int = 2000  # most variable among training cells
    n_layers: int = 2  # of encoder and decoder
    n_latent: int = 30  # dimensions
    epochs: int = 400  # of scVI; fewer above 20,000 cells, in proportion
    epochs_labelled: int = 20  # of scANVI
    n_samples_per_label: int = 100  # cells of each type in an epoch of scANVI
    genes: str = "all"  # or "panglao"
    least_genes: float = LEAST_GENES  # share of genes that must be found by name; see bench.preprocess


class ScANVI(Annotator):
    """Annotator by a semi-supervised autoencoder; nothing is tuned, the settings are published ones."""

    Config = ScANVIConfig
    recipes = ("clean",)
    packages = (("scvi-tools", 'pip install "scfm-bench[scvi]"'),)

    def fit(self, train: AnnData, *, seed: int, validation: AnnData | None = None) -> Self:
        """Train scVI on the training cells, then scANVI on them and their types.

        Raises
        ------
        BenchError
            If scvi-tools is not installed or cannot be imported, or the data are no counts.
        """
        self.check_installed()
        check_importable()
        if train.uns["bench"]["values"] != "counts":
            raise BenchError(
                f"scanvi models counts, and these data are declared as {train.uns['bench']['values']}; "
                "name a layer that holds counts (layer), or leave scanvi out."
            )
        self.genes_ = looked_for(train, listed_genes(train, self.config.genes), self.config.least_genes)
        labels, self._model = labels_of(train), None
        self.classes_ = np.unique(labels)
        self._columns = most_variable(features(train, genes=self.config.genes), self.config.n_genes).columns_
        batch = train.obs["batch"].astype(str).to_numpy() if "batch" in train.obs else np.full(len(labels), "")
        cells = self._counts(train, labels, batch)
        cells = cells[np.asarray(cells.X.sum(axis=1)).ravel() > 0].copy()  # the likelihood of others is not a number
        self._often = pd.Series(labels).mode()[0]
        self._batch = batch[0]
        if cells.obs[LABEL].nunique() > 1:
            with quiet():
                self._model = self._trained(cells, seed)
        return self

    def predict_proba(self, cells: AnnData) -> np.ndarray:
        """Return (n_cells, n_classes) probabilities at the mean of each cell's latent distribution."""
        if self._model is None:  # a single type
            return np.tile((self.classes_ == self._often).astype(float), (cells.n_obs, 1))
        known = self._counts(cells, np.full(cells.n_obs, UNLABELLED), np.full(cells.n_obs, self._batch))
        with quiet():
            found = self._model.predict(known, soft=True)
        return found.reindex(columns=self.classes_, fill_value=0).to_numpy(dtype=np.float64)

    def _counts(self, cells: AnnData, labels: np.ndarray, batch: np.ndarray) -> AnnData:
        """Return counts of the chosen genes with what scvi-tools looks up in ``obs``."""
        X, found = sp.csr_matrix(cells.X), cells.var_names.tolist()
        wanted = listed_genes(cells, self.config.genes)
        X = X if found == wanted else align(X, found, wanted)
        obs = pd.DataFrame({LABEL: labels, BATCH: batch}, index=cells.obs_names.astype(str))
        names = pd.DataFrame(index=np.array(wanted)[self._columns])
        return AnnData(X[:, self._columns].astype(np.float32), obs=obs, var=names)

    def _trained(self, cells: AnnData, seed: int):
        """Return the trained scANVI."""
        import scvi
        from scvi.model import SCANVI, SCVI

        scvi.settings.seed = seed
        drawn = cells.obs[LABEL].value_counts().clip(upper=self.config.n_samples_per_label).sum()
        options = {
            "train_size": 1.0,
            "batch_size": int(min(BATCH_SIZE, drawn)),
            "datasplitter_kwargs": {"drop_last": True},  # a last batch of one cell has no variance to normalise by
            **_on(self.device),
        }
        SCVI.setup_anndata(cells, batch_key=BATCH, labels_key=LABEL)
        pretrained = SCVI(cells, n_layers=self.config.n_layers, n_latent=self.config.n_latent, gene_likelihood="nb")
        pretrained.train(max_epochs=round(self.config.epochs * min(1, 20_000 / cells.n_obs)), **options)
        model = SCANVI.from_scvi_model(pretrained, unlabeled_category=UNLABELLED)
        labelled = {"max_epochs": self.config.epochs_labelled, "n_samples_per_label": self.config.n_samples_per_label}
        model.train(**labelled, **options)
        return model


def check_importable() -> None:
    """Raise a BenchError if scvi-tools is installed, but beside another version of something than it needs."""
    try:
        import scvi.model  # noqa: F401, before `quiet`: lightning sets its loggers when it is imported
    except ImportError as error:
        command = ScANVI.packages[0][1]
        raise BenchError(f"scvi-tools cannot be imported ({reason_of(error)}); install it anew: {command}") from error


def _on(device: str) -> dict[str, object]:
    """Return what scvi-tools is told of the device, and to write nothing."""
    from bench.training.device import device_of

    found = device_of(device)
    where = {"accelerator": "cpu"} if found.type == "cpu" else {"accelerator": "gpu", "devices": [found.index or 0]}
    return where | {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}


@contextmanager
def quiet() -> Iterator[None]:
    """Let neither scvi-tools nor lightning, which it trains with, talk of devices and of epochs."""
    loggers = [logging.getLogger(name) for name in ("scvi", "lightning.pytorch", "lightning.fabric")]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
