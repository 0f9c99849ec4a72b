"""Stage `simulate`: data/release/morphology.csv becomes build/stamps/morphology.h5."""

import os

from lvm_training.galaxies.catalogue import read_catalogue
from lvm_training.galaxies.simulate import simulate_set
from lvm_training.paths import RELEASE, STAMP_FILE, STAMP_SET
from lvm_training.progress import progress_bar


def main() -> None:
    """Draw every galaxy of the release's catalogue, on all the machine's cores."""
    catalogue = read_catalogue(RELEASE / f"{STAMP_SET}.csv")
    processes = len(os.sched_getaffinity(0))
    with progress_bar("Galaxies") as progress:
        simulate_set(catalogue, STAMP_FILE, processes=processes, progress=progress)


if __name__ == "__main__":
    main()
