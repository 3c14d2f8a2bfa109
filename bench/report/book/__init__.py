"""What makes the built book: Sphinx extensions, each a file; none is needed to run an experiment."""
