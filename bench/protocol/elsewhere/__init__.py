"""Predictions that were made with other tools: cells for them as a table, and their answers as records."""
