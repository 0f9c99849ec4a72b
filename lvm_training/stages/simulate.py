"""Stage `simulate`: data/release/morphology.csv becomes build/stamps/morphology.h5."""

import os

from rich.progress import Progress

from lvm_training.stages.paths import RELEASE, STAMP_FILE, STAMP_SET
from lvm_training.stamps.catalogue import read_catalogue
from lvm_training.stamps.simulate import simulate_set


def main() -> None:
    """Draw every galaxy of the release's catalogue, on all the machine's cores."""
    catalogue = read_catalogue(RELEASE / f"{STAMP_SET}.csv")
    processes = len(os.sched_getaffinity(0))
    with Progress() as bar:
        task = bar.add_task("galaxies", total=len(catalogue))
        simulate_set(
            catalogue,
            STAMP_FILE,
            processes=processes,
            progress=lambda done, _: bar.update(task, completed=done),
        )


if __name__ == "__main__":
    main()
