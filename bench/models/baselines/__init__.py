"""Models without pretraining, one file each: controls, and baselines from nearest centroid to CellTypist's recipe."""
