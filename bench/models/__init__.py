"""Every model by name, and any class from outside by import path or entry point."""

from bench.models.registry import MODELS, find
from bench.models.spec import create, describe

__all__ = ["MODELS", "create", "describe", "find"]
