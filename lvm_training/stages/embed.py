"""Stage `embed`: the LVM's features of build/stamps/morphology.h5 in build/features/morphology.npy."""

import os
from pathlib import Path

import torch
from rich.progress import Progress

from lvm_training.model.encoder import Encoder
from lvm_training.params import load_params
from lvm_training.pool.embedding import embed_to
from lvm_training.stages.pretrain import LVM_FOLDER
from lvm_training.stages.simulate import STAMP_SET, STAMPS
from lvm_training.stamps.stampset import StampSet

FEATURES = Path("build/features")


def main() -> None:
    """Embed the stamp set, going on where a killed run stopped."""
    params = load_params().embed
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    encoder = Encoder.load(LVM_FOLDER)
    with StampSet(STAMPS / f"{STAMP_SET}.h5") as stamps, Progress() as bar:
        task = bar.add_task("stamps", total=len(stamps))
        embed_to(
            FEATURES / f"{STAMP_SET}.npy",
            stamps,
            encoder,
            batch=params.batch,
            progress=lambda done, _: bar.update(task, completed=done),
        )


if __name__ == "__main__":
    main()
