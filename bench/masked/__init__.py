"""Is masked pretraining easy?  The paper's Table 3 with better baselines: fitted on the same cells, scored alike."""

from bench.masked.grid import masked_grid

__all__ = ["masked_grid"]
