"""Committed trials run once more: found again in their chapters, and compared with what is recorded of them."""
