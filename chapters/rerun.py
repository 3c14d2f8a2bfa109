"""Keep what a random sample of committed trials gives when it is run again here, which `reproduce.md` shows.

python chapters/rerun.py [TRIALS]: so many of networks and as many of simple models, by default ten, of those that
another kind of processor has recorded in two minutes or less.
"""

import sys

from bench.protocol.rerun.repeating import said, verdicts
from bench.report.reruns import elsewhere, write

found = []
for verdict in verdicts(elsewhere(int(sys.argv[1]) if len(sys.argv) > 1 else 10, longest_s=120.0)):
    found.append(verdict)
    print("\n".join(said(verdict, in_full=False)), file=sys.stderr, flush=True)
    write(found)
