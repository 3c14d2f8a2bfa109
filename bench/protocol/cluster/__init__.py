"""Trials on a cluster: the workers of a dask.distributed scheduler that runs already, or of one started for the run.

Each trial is a future of its own and not one call of many in joblib's dask backend, which ends as a whole when one of
them is lost; what the workers run is the same function as on one machine.  A worker that dies has its trials done by
others.  Workers need not see the disk of the client: data sets of this project they fetch, other files they are sent.
"""

from bench.protocol.cluster.handing_out import answers
from bench.protocol.cluster.starting import NEEDS, VARIABLE, chosen, started
from bench.protocol.cluster.workers import client_of, has_gpus

__all__ = ["NEEDS", "VARIABLE", "answers", "chosen", "client_of", "has_gpus", "started"]
