"""Stage `simulate_lenses`: simulated lenses and look-alikes become build/lenses/, stamps and truth."""

from lvm_training.lenses.lens_sets import write_lenses
from lvm_training.params import load_params
from lvm_training.paths import LENS_FILE, LENS_TRUTH
from lvm_training.progress import progress_bar


def main() -> None:
    """Draw the three splits of the active profile."""
    with progress_bar("Stamps") as progress:
        write_lenses(LENS_FILE, LENS_TRUTH, load_params().lenses, progress=progress)


if __name__ == "__main__":
    main()
