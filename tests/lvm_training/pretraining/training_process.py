"""A training to be run in processes of its own, see `tests.forked`.

Every process appends its steps to `steps-<rank>.jsonl` and leaves its last weights in `weights-<rank>.safetensors`.
"""

import json
import os
import resource
import signal
from pathlib import Path

import torch
from pydantic import BaseModel
from safetensors.torch import save_file

from lvm_training.errors import CheckpointError
from lvm_training.model.fitting import fit, measure
from lvm_training.model.lvm import LVM, Preset
from lvm_training.params import PretrainParams
from lvm_training.pretraining.data import Batch, PretrainingData
from lvm_training.pretraining.training import Pretraining
from lvm_training.stamps.rendering import Rendering


class Setup(BaseModel):
    """What a process trains, where it writes, and at which step the first one kills itself or finds the disk full.

    A process that torchrun starts anew is not killed again.
    """

    stamps: list[Path]
    preset: Preset
    rendering: Rendering
    params: PretrainParams
    folder: Path
    kill_at: int = 0
    full_at: int = 0

    @property
    def rank(self) -> int:
        return int(os.environ.get("RANK", "0"))

    @property
    def steps(self) -> Path:
        return self.folder / f"steps-{self.rank}.jsonl"


class Recorded(Pretraining):
    """Writes down each step's loss and stamps; the last column of the catalogue must tell the stamps apart."""

    def __init__(self, lvm: LVM, setup: Setup) -> None:
        super().__init__(lvm, setup.params)
        self._steps = setup.steps

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        line = {
            "step": self.global_step,
            "loss": float(loss.detach()),
            "restarts": int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")),
            "stamps": Batch(*batch).catalogue[:, -1].tolist(),
        }
        with self._steps.open("a") as stream:
            stream.write(json.dumps(line) + "\n")
        return loss


def run(setup: Setup) -> LVM:
    """Train, unless the setup says that it ends before."""

    def report(done: int, total: int) -> None:
        if done == setup.kill_at and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        if done == setup.full_at:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))

    torch.manual_seed(setup.params.seed)
    lvm = LVM(setup.preset)
    data = PretrainingData(setup.stamps, setup.rendering, setup.params, setup.preset.patch)
    module = Recorded(lvm, setup)
    # as an adaptation does: a second trainer in the same processes
    measure(module, data)
    fit(module, data, setup.params.steps, setup.folder / "resume", progress=report)
    save_file(lvm.state_dict(), setup.folder / f"weights-{setup.rank}.safetensors")
    return lvm


def run_apart(setup: Setup) -> None:
    """Train as a process of its own does; what stops it is kept in `error.txt`."""
    torch.set_num_threads(1)
    try:
        run(setup)
    except CheckpointError as error:
        (setup.folder / "error.txt").write_text(str(error))
        raise
