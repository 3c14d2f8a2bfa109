"""A kernel of this interpreter, run as a file: it ends without delay, and a folder of the user's replaces no package.

Jupyter's own looks for modules in the folder that it runs in before it looks among what is installed; one called
``bench`` there would take this package's place.
"""

import os
import sys

if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    root = os.path.dirname(os.path.dirname(here))
    sys.path[:] = [folder for folder in sys.path if folder not in ("", here, root)] + [root, ""]
    from ipykernel.kernelapp import launch_new_instance

    from bench.core.leaving import leave

    launch_new_instance()
    leave()
