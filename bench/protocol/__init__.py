"""From a request to a record: trials and their keys, the runner, records, notebooks."""
