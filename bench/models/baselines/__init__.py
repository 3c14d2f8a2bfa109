"""Models without pretraining, one file each: controls, L1 logistic regression, nearest neighbours."""
