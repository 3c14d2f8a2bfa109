"""Label cells with scanpy's ingest, as `other_tools.md` does.

python ingest.py my.h5ad splits.csv FOLDER: the file holds raw counts, the table is
that of `bench split`, FOLDER gets a file of labels for each split, share and seed.
"""

import sys
from functools import partial
from pathlib import Path

import anndata
import pandas as pd
import pynndescent
import scanpy as sc

# scanpy 1.11 reads this setting back, and pynndescent 0.7 has no number for it:
# without this line ingest ends in a TypeError
pynndescent.NNDescent = partial(pynndescent.NNDescent, n_search_trees=1)


def labelled(train: anndata.AnnData, scored: anndata.AnnData, seed: int) -> pd.Series:
    """Return for each scored cell the most frequent type of its nearest training cells."""
    for cells in (train, scored):
        sc.pp.normalize_total(cells, target_sum=1e4)
        sc.pp.log1p(cells)
    sc.pp.highly_variable_genes(train, n_top_genes=min(2000, train.n_vars))
    genes = train.var_names[train.var["highly_variable"]]
    train, scored = train[:, genes].copy(), scored[:, genes].copy()
    size = min(50, train.n_obs - 1, train.n_vars - 1)
    sc.pp.pca(train, n_comps=size, random_state=seed)
    # ingest uses the distances alone, which are the same with any method
    sc.pp.neighbors(train, n_neighbors=15, method="gauss", random_state=seed)
    method = {"obs": "cell_type", "embedding_method": "pca"}
    sc.tl.ingest(scored, train, **method, random_state=seed)
    return scored.obs["cell_type"]


adata = anndata.read_h5ad(sys.argv[1])
splits = pd.read_csv(sys.argv[2], dtype={"cell": str, "cell_type": str})
folder = Path(sys.argv[3])
folder.mkdir(exist_ok=True)
for (split, fraction, seed), rows in splits.groupby(["split", "fraction", "seed"]):
    train_rows = rows[rows["role"] == "train"].set_index("cell")
    scored_rows = rows[rows["role"] == "scored"].set_index("cell")
    train, scored = adata[train_rows.index].copy(), adata[scored_rows.index].copy()
    # no type is seen but those of the table
    train.obs, scored.obs = train_rows[["cell_type"]], scored_rows[[]]
    path = folder / f"ingest_{split}_{fraction:g}_{seed}.csv".replace(":", "_")
    labelled(train, scored, seed).to_csv(path, index_label="cell")
    print(path)
