"""Stage `embed`: the LVM's features of build/stamps/morphology.h5 in build/features/morphology.npy."""

import os

import torch

from lvm_training.model.encoder import Encoder
from lvm_training.params import load_params
from lvm_training.paths import FEATURE_FILE, LVM_FOLDER, STAMP_FILE
from lvm_training.pool.embedding import embed_to
from lvm_training.progress import progress_bar
from lvm_training.stamps.stampset import StampSet


def main() -> None:
    """Embed the stamp set, going on where a killed run stopped."""
    params = load_params().embed
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    encoder = Encoder.load(LVM_FOLDER, params.views)
    with StampSet(STAMP_FILE) as stamps, progress_bar("Stamps") as progress:
        embed_to(FEATURE_FILE, stamps, encoder, batch=params.batch, progress=progress)


if __name__ == "__main__":
    main()
