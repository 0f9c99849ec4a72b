"""Stage `pretrain`: unlabelled stamps become the LVM in build/pretrained/."""

from pathlib import Path

import lightning

from lvm_training.files import write_csv, write_json
from lvm_training.model.encoder import save_checkpoint, starting_point
from lvm_training.model.ranks import leads, meet
from lvm_training.model.training_run import training_run
from lvm_training.params import PretrainParams, load_params
from lvm_training.paths import PRETRAIN_CURVE, PRETRAIN_METRICS, PRETRAINED, STAMP_FILE
from lvm_training.pretraining.data import PretrainingData
from lvm_training.pretraining.simulated_data import SimulatedPretraining
from lvm_training.pretraining.training import pretrain
from lvm_training.revision import training_revision
from lvm_training.scenes.scenes import ENDLESS
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet

LOSSES = {"train/loss": "train", "validation/loss": "validation"}


def run_pretraining(params: PretrainParams, folder: Path, *, metrics: Path, curve: Path) -> None:
    """Pretrain as `params` say, going on where a killed run stopped, and write checkpoint, metrics and loss curve.

    Raises
    ------
    ParamsError
        If there is no such preset, or `init` is of another one.
    """
    init = Path(params.init) if params.init else None
    lvm, rendering, parent = starting_point(init, params.preset, field=params.field, seed=params.seed)
    data, digest = _stamps(params, rendering, lvm.preset.patch)
    with training_run("pretrain", params, [digest, parent]) as run:
        measured = pretrain(lvm.train(), data, params, run.resume, logger=run.logger, progress=run.progress)
        if leads():
            save_checkpoint(
                folder,
                lvm,
                rendering,
                data=digest,
                code=training_revision(),
                params=params.model_dump(),
                metrics=measured,
                parent=parent,
            )
            write_json(metrics, measured)
            write_csv(curve, ("step", "split", "loss"), run.curves(LOSSES))
        meet()


def _stamps(params: PretrainParams, rendering: Rendering, patch: int) -> tuple[lightning.LightningDataModule, str]:
    if params.source == "endless":
        return SimulatedPretraining(rendering, params, patch), ENDLESS
    with StampSet(STAMP_FILE) as stamps:
        digest = stamps.digest
    return PretrainingData(STAMP_FILE, rendering, params, patch), digest


def main() -> None:
    """Pretrain the active profile's model."""
    run_pretraining(load_params().pretrain, PRETRAINED, metrics=PRETRAIN_METRICS, curve=PRETRAIN_CURVE)


if __name__ == "__main__":
    main()
