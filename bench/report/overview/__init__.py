"""Every number and every claim of the paper beside what this project has recorded."""

from bench.report.overview.compare import comparisons, numbers
from bench.report.overview.views import claims_table, commands_of, commands_table, facts, numbers_table

__all__ = ["claims_table", "commands_of", "commands_table", "comparisons", "facts", "numbers", "numbers_table"]
