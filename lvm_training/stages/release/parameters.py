"""Stage `release_parameters`, frozen: models/parameters-nano/, with which `measure` and campaigns of parameters begin.

A head on features of the released LVM, of the pipeline's stamps; its card says how it does on their test split. A
killed run goes on.
"""

from lvm_training.params import load_params
from lvm_training.paths import NANO_BUILD, RELEASED_LVM, RELEASED_PARAMETERS, STAMP_FILE
from lvm_training.stages.train.parameters import run_training

PROFILE = "nano"


def main() -> None:
    """Make the released head of parameters."""
    features = NANO_BUILD / "morphology-oriented.npy"
    run_training(STAMP_FILE, RELEASED_LVM, features, RELEASED_PARAMETERS, load_params(profile=PROFILE))


if __name__ == "__main__":
    main()
