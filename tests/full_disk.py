"""A disk that is full, for tests: the limit of the operating system on the size of a file."""

import resource
from contextlib import contextmanager


@contextmanager
def largest_file(n_bytes):
    """Let no file grow beyond a size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
