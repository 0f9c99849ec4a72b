"""Stage `pretrain`: build/stamps/morphology.h5 becomes the LVM in build/lvm/."""

import csv
import hashlib
import json
import logging
import os
import shutil
from pathlib import Path

import torch
from dvclive.lightning import DVCLiveLogger
from rich.progress import Progress

from lvm_training.files import write_atomically
from lvm_training.model.encoder import save_checkpoint
from lvm_training.model.lvm import LVM, PRESETS
from lvm_training.model.pretraining import pretrain
from lvm_training.model.pretraining_data import PretrainingData
from lvm_training.params import ParamsError, PretrainParams, load_params
from lvm_training.revision import code_revision
from lvm_training.stages.paths import LVM_FOLDER, PRETRAIN_CURVE, PRETRAIN_METRICS, RESUME, STAMP_FILE
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet


def main() -> None:
    """Pretrain the active profile's model, going on where a killed run stopped."""
    params = load_params().pretrain
    if params.preset not in PRESETS:
        raise ParamsError(f"There is no preset {params.preset!r}.", f"Presets are: {', '.join(PRESETS)}.")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(params.seed)
    lvm = LVM(PRESETS[params.preset])
    rendering = Rendering(size=lvm.preset.size, field=params.field)
    with StampSet(STAMP_FILE) as stamps:
        data_digest = stamps.digest
    resume = RESUME / _run_name(params, data_digest)
    live = resume / "live"
    logger = DVCLiveLogger(dir=str(live), resume=live.exists(), save_dvc_exp=False, dvcyaml=None, report=None)
    data = PretrainingData(STAMP_FILE, rendering, params, lvm.preset.patch)
    with Progress() as bar:
        task = bar.add_task("steps", total=params.steps)
        metrics = pretrain(
            lvm, data, params, resume, logger=logger, progress=lambda done, _: bar.update(task, completed=done)
        )
    card = save_checkpoint(
        LVM_FOLDER,
        lvm,
        rendering,
        data=data_digest,
        code=code_revision(),
        params=params.model_dump(),
        metrics=metrics,
    )
    write_atomically(PRETRAIN_METRICS, lambda partial: partial.write_text(json.dumps(card.metrics, indent=2) + "\n"))
    write_atomically(PRETRAIN_CURVE, lambda partial: _write_curve(live / "plots" / "metrics", partial))
    shutil.rmtree(resume)


def _run_name(params: PretrainParams, data: str) -> str:
    """Names the resume folder: a run goes on only from one with the same parameters and stamps."""
    return "pretrain-" + hashlib.sha256((params.model_dump_json() + data).encode()).hexdigest()[:12]


def _write_curve(logged: Path, path: Path) -> None:
    """The losses DVCLive logged, as step, split and loss; a step repeated after a kill counts once."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("step", "split", "loss"))
        for split in ("train", "validation"):
            table = logged / split / "loss.tsv"
            if table.is_file():
                with table.open(newline="", encoding="utf-8") as rows:
                    losses = {int(row["step"]): row["loss"] for row in csv.DictReader(rows, delimiter="\t")}
                writer.writerows((step, split, loss) for step, loss in sorted(losses.items()))


if __name__ == "__main__":
    main()
