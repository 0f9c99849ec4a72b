"""Stage `train_morphology`: features and labels become build/heads/morphology.safetensors."""

from pathlib import Path

from lvm_training.files import write_atomically
from lvm_training.galaxies.catalogue import MORPHOLOGIES
from lvm_training.heads.training import train_head
from lvm_training.params import load_params
from lvm_training.paths import FEATURE_FILE, HEAD, RELEASE, STAMP_SET
from lvm_training.pool.features import Features
from lvm_training.tables.frozen_labels import FrozenLabels
from lvm_training.tables.snapshot import Snapshot, read_snapshot


def read_labels(path: Path) -> tuple[Snapshot, tuple[str, ...]]:
    """What a file says of which stamps, and the classes: those of the campaign whose labels were frozen, or ours.

    Raises
    ------
    LabelError
        As `FrozenLabels.read` and `read_snapshot`.
    """
    if path.suffix == ".parquet":
        frozen = FrozenLabels.read(path)
        return frozen.snapshot, frozen.classes
    return read_snapshot(path), MORPHOLOGIES


def main() -> None:
    """Train the morphology head on the labels that params.yaml names."""
    params, features = load_params(), {STAMP_SET: Features.open(FEATURE_FILE)}
    labels, classes = read_labels(RELEASE / params.labels)
    head = train_head(features, labels, classes=classes, seed=params.train.seed)
    write_atomically(HEAD, lambda partial: partial.write_bytes(head.save()))


if __name__ == "__main__":
    main()
