"""Baselines that evaluation and benchmarks start from."""

import torch
from safetensors.torch import load_file, save_file

from lvm_training.files import write_atomically, write_json
from lvm_training.model.resnet_pretraining import pretrain_resnet
from lvm_training.params import load_params
from lvm_training.stages.paths import NANO_BUILD
from lvm_training.stamps.rendering import Rendering
from lvm_training.training_run import training_run


def pretrained_resnet(architecture: str, rendering: Rendering, steps: int) -> dict[str, torch.Tensor]:
    """State of a ResNet that has read as many simulated stamps as `steps` batches of profile `nano` hold.

    It is kept in build/nano/, with its last loss and score beside it; a killed training goes on.
    """
    path = NANO_BUILD / f"{architecture}-{steps}.safetensors"
    if not path.is_file():
        params = load_params(profile="nano").multitask.model_copy(update={"steps": steps})
        with training_run(architecture, params, [rendering.model_dump_json()]) as run:
            state, metrics = pretrain_resnet(architecture, rendering, params, run.resume, progress=run.progress)
            write_atomically(path, lambda partial: save_file(state, partial))
            write_json(path.with_suffix(".json"), metrics)
    return load_file(path)
