"""Stage `finetune`: an encoder learns what people said of stamps, and becomes build/finetuned/."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lvm_training.errors import LabelError
from lvm_training.files import write_csv, write_json
from lvm_training.model.encoder import Encoder
from lvm_training.model.training_run import training_run
from lvm_training.params import Params, load_params
from lvm_training.paths import FINETUNE_CURVE, FINETUNE_METRICS, FINETUNED, RELEASE
from lvm_training.stages.train.morphology import read_labels
from lvm_training.stamps.render import render_set
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet
from lvm_training.supervised.encoder_training import train_encoder
from lvm_training.tables.snapshot import Snapshot

READ = 128  # stamps at a time
LOSS = "train/loss"


def labelled_pictures(labels: Snapshot, folder: Path, rendering: Rendering) -> tuple[torch.Tensor, list[str]]:
    """Pictures (N, 3, S, S) of the labelled stamps in the order of the labels, and the digests of their sets.

    Parameters
    ----------
    labels : Snapshot
        In the order of stamps, as `Snapshot.sorted` gives them.
    folder : Path
        Where the sets lie, each in a file of its name.

    Raises
    ------
    LabelError
        If a label is of a set that is not in the folder, or of a stamp that its set has not.
    """
    with ExitStack() as stack:
        sets = {name: stack.enter_context(_opened(folder, name)) for name in sorted(set(labels.stamp_set))}
        parts = [
            render_set(sets[name], rows[at : at + READ], rendering)
            for name, rows in _rows_of(labels, sets)
            for at in range(0, len(rows), READ)
        ]
        return torch.cat(parts), [stamps.digest for stamps in sets.values()]


def _opened(folder: Path, name: str) -> StampSet:
    path = folder / f"{name}.h5"
    if not path.is_file():
        raise LabelError(
            f"There are labels of the stamp set {name}, and no {path}.", "Name its folder: `stamps` in params.yaml."
        )
    return StampSet(path)


def _rows_of(labels: Snapshot, sets: dict[str, StampSet]) -> Iterator[tuple[str, NDArray[np.int64]]]:
    stamps = zip(labels.stamp_set, labels.stamp_id, strict=True)
    for name, ones in groupby(stamps, key=lambda stamp: stamp[0]):
        rows = np.array([row for _, row in ones])
        if rows.max() >= len(sets[name]):
            raise LabelError(
                f"A label is of stamp {rows.max()}, and {name} has {len(sets[name])}.",
                "The labels are of another stamp set of that name.",
            )
        yield name, rows


def run_finetuning(params: Params, labels: Snapshot, classes: Sequence[str]) -> None:
    """Train as `params` say, going on where a killed run stopped, and write checkpoint, metrics and loss curve."""
    start, wanted = Encoder.load(Path(params.encoder)), params.finetune
    known = labels.sorted()
    pictures, digests = labelled_pictures(known, Path(params.stamps), start.rendering)
    with training_run("finetune", wanted, [start.digest, known.digest, *digests]) as run:
        train_encoder(
            start,
            pictures,
            known.label,
            classes,
            FINETUNED,
            seed=wanted.seed,
            steps=wanted.steps or None,
            resume=run.resume,
            progress=run.progress,
            logger=run.logger,
        )
        curve = run.curves({LOSS: "train"})
        write_csv(FINETUNE_CURVE, ("step", "split", "loss"), curve)
        last = {"train_loss": float(curve[-1][2])} if curve else {}
        write_json(FINETUNE_METRICS, {"labels": len(known), "classes": len(classes), **last})


def main() -> None:
    """Train the encoder that params.yaml names on the labels that it names."""
    params = load_params()
    run_finetuning(params, *read_labels(RELEASE / params.labels))


if __name__ == "__main__":
    main()
