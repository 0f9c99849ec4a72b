"""Stage `release_nano`, frozen: models/lvm-nano/, the earlier released weights, from simulated stamps alone.

Pretraining and multi-task training of profile `nano`, whatever profile is active; a killed run goes on, and pretraining
that is done is done again only for other parameters.
"""

from pathlib import Path

from lvm_training.errors import CheckpointError
from lvm_training.model.encoder import load_checkpoint
from lvm_training.params import PretrainParams, load_params
from lvm_training.paths import EARLIER_LVM, NANO_BUILD
from lvm_training.stages.multitask import run_multitask
from lvm_training.stages.pretrain import run_pretraining

PROFILE = "nano"


def is_pretrained(folder: Path, params: PretrainParams) -> bool:
    """Whether a folder holds a whole checkpoint that was pretrained with these parameters."""
    try:
        return load_checkpoint(folder)[1].params == params.model_dump(mode="json")
    except CheckpointError:
        return False


def main() -> None:
    """Make the earlier released weights."""
    params = load_params(profile=PROFILE)
    pretrained = NANO_BUILD / "pretrained"
    if not is_pretrained(pretrained, params.pretrain):
        run_pretraining(
            params.pretrain, pretrained, metrics=NANO_BUILD / "pretrain.json", curve=NANO_BUILD / "pretrain.csv"
        )
    run_multitask(
        params.multitask,
        pretrained,
        EARLIER_LVM,
        metrics=NANO_BUILD / "multitask.json",
        shares=NANO_BUILD / "multitask_shares.csv",
        scores=NANO_BUILD / "multitask_scores.csv",
        half=True,
    )


if __name__ == "__main__":
    main()
