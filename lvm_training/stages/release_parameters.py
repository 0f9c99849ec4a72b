"""Stage `release_parameters`, frozen: models/parameters-nano/, with which `measure` and campaigns of parameters begin.

A head on features of the released LVM, of simulated stamps that no other stage draws. A killed run goes on.
"""

from lvm_training.galaxies.population import draw_catalogue
from lvm_training.galaxies.simulate import simulate_set
from lvm_training.params import load_params
from lvm_training.paths import NANO_BUILD, RELEASED_LVM, RELEASED_PARAMETERS
from lvm_training.progress import progress_bar
from lvm_training.stages.train_parameters import run_training

PROFILE = "nano"
STAMPS, SEED = 3000, 20261127


def main() -> None:
    """Make the released head of parameters."""
    stamps, features = NANO_BUILD / "parameters.h5", NANO_BUILD / "parameters-oriented.npy"
    if not stamps.is_file():
        with progress_bar("Catalogue") as progress:
            galaxies = draw_catalogue(STAMPS, SEED, progress=progress)
        with progress_bar("Simulated galaxies") as progress:
            simulate_set(galaxies, stamps, progress=progress)
    run_training(stamps, RELEASED_LVM, features, RELEASED_PARAMETERS, load_params(profile=PROFILE))


if __name__ == "__main__":
    main()
