"""A multi-task training to be run in processes of its own, see `tests.forked`.

Every process leaves its last weights and shares in `weights-<rank>.safetensors`, and its first batch's pictures.
"""

import os
from pathlib import Path

import torch
from safetensors.torch import save_file

from lvm_training.model.fitting import fit
from lvm_training.model.lvm import LVM, Preset
from lvm_training.params import MultitaskParams
from lvm_training.pretraining.multitask import MultiTask
from lvm_training.pretraining.multitask_data import MultitaskData, TaskBatch
from lvm_training.stamps.rendering import Rendering


class Recorded(MultiTask):
    """Keeps the first batch."""

    def training_step(self, batch: TaskBatch, batch_idx: int) -> torch.Tensor:
        if self.global_step == 0:
            self.first = TaskBatch(*batch).images.clone()
        return super().training_step(batch, batch_idx)


def main(params: MultitaskParams, preset: Preset, folder: Path) -> None:
    """Train."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lvm = LVM(preset)
    data = MultitaskData(Rendering(size=preset.size, field=10.0), params, preset.patch)
    module = Recorded(lvm, params, data.scale.names)
    fit(module, data, params.steps, folder / "resume")
    rank = os.environ.get("RANK", "0")
    save_file(
        {**lvm.state_dict(), "shares": module.shares, "first": module.first}, folder / f"weights-{rank}.safetensors"
    )
