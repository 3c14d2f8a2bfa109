"""Label cells with scanpy's ingest, trained on the cells that `bench split` names.  Used by `other_tools.md`.

python ingest.py my.h5ad splits.csv FOLDER: the first holds raw counts; FOLDER gets a file for each split, share, seed.
"""

import sys
from functools import partial
from pathlib import Path

import anndata
import pandas as pd
import pynndescent
import scanpy as sc

# scanpy 1.11 reads this setting back, and pynndescent 0.7 has no number for it: without this line a TypeError
pynndescent.NNDescent = partial(pynndescent.NNDescent, n_search_trees=1)


def labelled(train: anndata.AnnData, scored: anndata.AnnData, seed: int) -> pd.Series:
    """Return for each scored cell the most frequent type of its 15 nearest training cells."""
    for cells in (train, scored):
        sc.pp.normalize_total(cells, target_sum=1e4)
        sc.pp.log1p(cells)
    sc.pp.highly_variable_genes(train, n_top_genes=min(2000, train.n_vars))
    genes = train.var_names[train.var["highly_variable"]]
    train, scored = train[:, genes].copy(), scored[:, genes].copy()
    sc.pp.pca(train, n_comps=min(50, train.n_obs - 1, train.n_vars - 1), random_state=seed)
    sc.pp.neighbors(train, n_neighbors=15, method="gauss", random_state=seed)  # distances alone are used, in any method
    sc.tl.ingest(scored, train, obs="cell_type", embedding_method="pca", random_state=seed)
    return scored.obs["cell_type"]


adata = anndata.read_h5ad(sys.argv[1])
splits = pd.read_csv(sys.argv[2], dtype={"cell": str, "cell_type": str})
folder = Path(sys.argv[3])
folder.mkdir(exist_ok=True)
for (split, fraction, seed), rows in splits.groupby(["split", "fraction", "seed"]):
    train_rows = rows[rows["role"] == "train"].set_index("cell")
    scored_rows = rows[rows["role"] == "scored"].set_index("cell")
    train, scored = adata[train_rows.index].copy(), adata[scored_rows.index].copy()
    train.obs, scored.obs = train_rows[["cell_type"]], scored_rows[[]]  # no type but those of the table
    path = folder / f"ingest_{split}_{fraction:g}_{seed}.csv".replace(":", "_")
    labelled(train, scored, seed).to_csv(path, index_label="cell")
    print(path)
