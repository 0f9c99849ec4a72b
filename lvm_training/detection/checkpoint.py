"""Detectors in files: weights as safetensors beside a JSON card, as `encoder` writes the LVM's."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import save

from lvm_training.detection.design import DetectorDesign
from lvm_training.detection.detector import Detector
from lvm_training.errors import CheckpointError
from lvm_training.model.encoder import WEIGHTS, read_checkpoint, write_checkpoint
from lvm_training.model.ranks import fastest_device
from lvm_training.objects.instances import Instances
from lvm_training.paths import CARD
from lvm_training.stamps.rendering import Rendering


class DetectorCard(BaseModel):
    """What a detector's file says about it.

    Attributes
    ----------
    design : DetectorDesign
        The numbers it was made from.
    rendering : Rendering
        How its pictures are made.
    detector : str
        12 hex digits of weights, design and rendering.
    encoder : str
        The encoder that training started from, as `encoder.Card` names it; empty for another start.
    data : str
        Digest of what it was trained on.
    code : str
        Git revision, or "unknown".
    params, metrics : dict
        The training parameters, and what was measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    design: DetectorDesign
    rendering: Rendering
    detector: str
    encoder: str
    data: str
    code: str
    params: dict[str, Any]
    metrics: dict[str, float]


def detector_digest(detector: Detector, rendering: Rendering) -> str:
    """12 hex digits naming what answers depend on: weights, design and rendering."""
    return _digest(detector, rendering, detector.network.state_dict())


def _digest(detector: Detector, rendering: Rendering, weights: Mapping[str, torch.Tensor]) -> str:
    """The digest of a detector that is loaded from these weights."""
    state = hashlib.sha256(json.dumps([detector.design.model_dump(), rendering.model_dump()]).encode())
    for name, tensor in sorted(weights.items()):
        state.update(name.encode())
        loaded = tensor.float() if tensor.is_floating_point() else tensor
        state.update(loaded.detach().cpu().contiguous().numpy().tobytes())
    return state.hexdigest()[:12]


def save_detector(
    folder: Path,
    detector: Detector,
    rendering: Rendering,
    *,
    encoder: str,
    data: str,
    code: str,
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
    half: bool = False,
) -> DetectorCard:
    """Write `model.safetensors` and `card.json` into `folder`, both or neither, and return the card.

    Parameters
    ----------
    rendering : Rendering
        How its pictures are made, of the design's size.
    encoder, data, code, params, metrics
        As in `DetectorCard`.
    half : bool
        Whether to store float16, which is half as large. The card then names the rounded weights, which are those that
        `load_detector` gives.

    Raises
    ------
    CheckpointError
        If the rendering is of another size, a weight is not finite in the stored type, or the files cannot be written.
        Earlier files are then still there.
    """
    if rendering.size != detector.design.size:
        raise CheckpointError(
            f"The detector reads pictures of {detector.design.size} pixels, not {rendering.size}.",
            "Render with `rendering.sized(design.size)`.",
        )
    weights = {name: _stored(tensor, half=half) for name, tensor in detector.network.state_dict().items()}
    broken = [name for name, tensor in weights.items() if not tensor.isfinite().all()]
    if broken:
        raise CheckpointError(
            f"{len(broken)} of {len(weights)} weight tensors are not finite, first {broken[0]}.",
            "Train again with a lower learning rate.",
        )
    card = DetectorCard(
        design=detector.design,
        rendering=rendering,
        detector=_digest(detector, rendering, weights),
        encoder=encoder,
        data=data,
        code=code,
        params=dict(params),
        metrics=dict(metrics),
    )
    write_checkpoint(folder, {WEIGHTS: save(weights), CARD: (card.model_dump_json(indent=2) + "\n").encode()})
    return card


def _stored(tensor: torch.Tensor, *, half: bool) -> torch.Tensor:
    """A tensor as it is written; counts, such as a batch norm's, stay whole numbers."""
    tensor = tensor.detach().cpu().contiguous()
    return tensor.half() if half and tensor.is_floating_point() else tensor


def load_detector(folder: Path) -> tuple[Detector, DetectorCard]:
    """The detector, in evaluation mode, on the GPU where there is one, and its card.

    Raises
    ------
    CheckpointError
        If a file is missing, truncated or no detector's, or if weights, design and rendering are not those the card
        names.
    """
    hint = "`models/detector-nano` is released with Galaxy Loop; `dvc repro train_detector` makes build/detector."
    card, weights = read_checkpoint(folder, DetectorCard, "detector", hint)
    detector = Detector.start(card.design, seed=0)
    try:
        detector.network.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"The weights in {folder} are not of the design on the card.", hint) from error
    if detector_digest(detector, card.rendering) != card.detector:
        raise CheckpointError(f"{folder / WEIGHTS} holds other weights than its card describes.", hint)
    return detector.eval().to(fastest_device()), card


class TrainedDetector:
    """A detector from a file: pictures of one rendering to their objects.

    Parameters
    ----------
    detector : Detector
        The network, `network`; whoever trains it copies it first.
    card : DetectorCard
        What its file says.
    """

    def __init__(self, detector: Detector, card: DetectorCard) -> None:
        self.network, self.card = detector, card

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The detector in a folder.

        Raises
        ------
        CheckpointError
            As `load_detector`.
        """
        return cls(*load_detector(folder))

    @property
    def digest(self) -> str:
        """12 hex digits of weights, design and rendering."""
        return self.card.detector

    @property
    def rendering(self) -> Rendering:
        """How its pictures are made."""
        return self.card.rendering

    @property
    def classes(self) -> tuple[str, ...]:
        """What it detects."""
        return self.network.classes

    @property
    def realism(self) -> float:
        """Share of the pictures it was trained on that were shown as other surveys would show them; 0 if unsaid."""
        return float(self.card.params.get("realism", 0.0))

    def predict(self, images: torch.Tensor) -> list[Instances]:
        """As `Detector.predict`."""
        return self.network.predict(images)
