"""`python -m lvm_training.stages.release`: the starting release, an error in one line."""

import sys

from lvm_training.errors import GalaxyLoopError
from lvm_training.stages.release.start import main

if __name__ == "__main__":
    try:
        main()
    except GalaxyLoopError as error:
        sys.exit(str(error))
