"""A re-executable evaluation of single-cell foundation models on cell-type annotation."""

__version__ = "0.1.0"
