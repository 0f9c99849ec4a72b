"""Stage `train_morphology`: features and labels become build/heads/morphology.safetensors."""

from lvm_training.files import write_atomically
from lvm_training.galaxies.catalogue import MORPHOLOGIES
from lvm_training.heads.snapshot import read_snapshot
from lvm_training.heads.training import train_head
from lvm_training.params import load_params
from lvm_training.paths import FEATURE_FILE, HEAD, LABELS, STAMP_SET
from lvm_training.pool.features import Features


def main() -> None:
    """Train the morphology head on the release's label snapshot."""
    features = {STAMP_SET: Features.open(FEATURE_FILE)}
    head = train_head(features, read_snapshot(LABELS), classes=MORPHOLOGIES, seed=load_params().train.seed)
    write_atomically(HEAD, lambda partial: partial.write_bytes(head.save()))


if __name__ == "__main__":
    main()
