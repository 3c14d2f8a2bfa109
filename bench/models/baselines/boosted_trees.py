"""Gradient-boosted trees on the genes that differ most between types: the strongest of what is not linear.

Source: scikit-learn's HistGradientBoostingClassifier.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from sklearn.ensemble import HistGradientBoostingClassifier

from bench.models.baselines.rank_linear import explained
from bench.models.baselines.tuned import Tuned, TunedConfig
from bench.models.baselines.tuning import Setting, Transformer
