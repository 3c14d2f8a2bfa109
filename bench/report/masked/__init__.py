"""Is masked pretraining easy?  The paper's Table 3 with better baselines: fitted on the same cells, scored alike."""

from bench.report.masked.compare import against_baselines, bins
from bench.report.masked.grid import masked_grid

__all__ = ["against_baselines", "bins", "masked_grid"]
