"""From records to pages: figures, tables, overview, findings, masked pretraining, the book's Sphinx extensions."""
