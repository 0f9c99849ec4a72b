"""Stage `multitask`: the pretrained LVM learns three tasks on endless simulated stamps and becomes build/lvm/."""

from pathlib import Path

from lvm_training.files import write_csv, write_json
from lvm_training.model.encoder import load_checkpoint, save_checkpoint
from lvm_training.model.ranks import leads, meet
from lvm_training.model.training_run import training_run
from lvm_training.params import TASKS, MultitaskParams, load_params
from lvm_training.paths import LVM_FOLDER, MULTITASK_METRICS, MULTITASK_SCORES, MULTITASK_SHARES, PRETRAINED
from lvm_training.pretraining.multitask import train_tasks
from lvm_training.pretraining.multitask_data import MultitaskData
from lvm_training.revision import training_revision
from lvm_training.scenes.scenes import ENDLESS


def run_multitask(
    params: MultitaskParams, start: Path, folder: Path, *, metrics: Path, shares: Path, scores: Path, half: bool = False
) -> None:
    """Train the checkpoint in `start` as `params` say, going on where a killed run stopped; write all that it makes.

    `half` stores the weights as float16.
    """
    lvm, card = load_checkpoint(start)
    data = MultitaskData(card.rendering, params, lvm.preset.patch)
    with training_run("multitask", params, [card.encoder]) as run:
        measured = train_tasks(lvm.train(), data, params, run.resume, logger=run.logger, progress=run.progress)
        if leads():
            save_checkpoint(
                folder,
                lvm,
                card.rendering,
                data=ENDLESS,
                code=training_revision(),
                params=params.model_dump(),
                metrics=measured,
                parent=card.encoder,
                half=half,
            )
            write_json(metrics, measured)
            for path, kind in ((shares, "share"), (scores, "score")):
                write_csv(path, ("step", "task", kind), run.curves({f"{kind}/{task}": task for task in TASKS}))
        meet()


def main() -> None:
    """Train the active profile's model on its tasks."""
    run_multitask(
        load_params().multitask,
        PRETRAINED,
        LVM_FOLDER,
        metrics=MULTITASK_METRICS,
        shares=MULTITASK_SHARES,
        scores=MULTITASK_SCORES,
    )


if __name__ == "__main__":
    main()
