"""Networks trained whole that evaluation, replays and benchmarks compare with; what takes minutes is kept."""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from lvm_training.evaluation.probes import FitPredict, Rows, remembered
from lvm_training.files import write_atomically, write_json
from lvm_training.model.lvm import LVM
from lvm_training.model.training_run import RESUME, training_run
from lvm_training.params import load_params
from lvm_training.paths import NANO_BUILD
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.symmetries import SYMMETRIES
from lvm_training.supervised.picture_classifier import PictureClassifier
from lvm_training.supervised.resnet import pretrain_resnet
from lvm_training.supervised.training import fit_lvm, fit_resnet18

Weights = Mapping[str, torch.Tensor]
TrainOn = Callable[[torch.Tensor, list[str], list[str]], PictureClassifier]  # pictures, their labels, the classes


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


def whole_resnet18(
    images: torch.Tensor, *, seed: int, start: Weights | None = None, views: int = SYMMETRIES
) -> FitPredict:
    """ResNet18 trained on any rows of `images` (N, 3, S, S), from scratch or from a timm ResNet18's state.

    Its answers are the mean over eight `views`, or of one alone: the training is the same.
    """
    fit = partial(fit_resnet18, seed=seed, encoder_state=start)
    return _kept("resnet18", fit, images, seed, start or {}, views)


def whole_lvm(images: torch.Tensor, lvm: LVM, *, seed: int) -> FitPredict:
    """The LVM trained whole on any rows of `images` (N, 3, S, S)."""
    return _kept("lvm", partial(fit_lvm, lvm=lvm, seed=seed), images, seed, lvm.state_dict())


def _kept(
    name: str, train_on: TrainOn, images: torch.Tensor, seed: int, start: Weights, views: int = SYMMETRIES
) -> FitPredict:
    """Answers of networks, kept in build/resume/ by what they depend on."""

    def both(rows: Rows, known: list[str], wanted: Rows) -> NDArray[np.float64]:
        model = train_on(images[torch.from_numpy(rows)], known, sorted(set(known)))
        asked = images[torch.from_numpy(wanted)]
        # a training takes minutes, so what one view says is kept beside what eight say
        return np.stack([model.predict(asked), model.predict(asked, views=1)])

    digest = hashlib.sha256(str(seed).encode())
    for tensor in (images, *start.values()):
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    kept = remembered(both, RESUME / f"{name}-{digest.hexdigest()[:12]}-views")

    def fit_predict(rows: Rows, known: list[str], wanted: Rows) -> NDArray[np.float64]:
        eight, one = kept(rows, known, wanted)
        return np.asarray(one if views == 1 else eight)

    return fit_predict
