"""Checkpoints: weights as safetensors beside a JSON card, and the frozen encoder read back from them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lvm_training.errors import CheckpointError
from lvm_training.files import write_atomically
from lvm_training.model.lvm import LVM, Preset
from lvm_training.stamps.rendering import Rendering

WEIGHTS = "model.safetensors"
CARD = "card.json"


class Card(BaseModel):
    """What a checkpoint says about itself.

    Attributes
    ----------
    preset : Preset
        The numbers the model was built from.
    rendering : Rendering
        How the pictures it was trained on were made.
    encoder : str
        12 hex digits of the encoder's weights, preset and rendering.
    data : str
        Digest of the stamp set it was trained on.
    code : str
        Git revision, or "unknown".
    params, metrics : dict
        The training parameters, and what was measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Preset
    rendering: Rendering
    encoder: str
    data: str
    code: str
    params: dict[str, Any]
    metrics: dict[str, float]


def save_checkpoint(
    folder: Path,
    lvm: LVM,
    rendering: Rendering,
    *,
    data: str,
    code: str,
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
) -> Card:
    """Write `model.safetensors` and `card.json` into `folder`, each whole or not at all, and return the card."""
    card = Card(
        preset=lvm.preset,
        rendering=rendering,
        encoder=encoder_digest(lvm, rendering),
        data=data,
        code=code,
        params=dict(params),
        metrics=dict(metrics),
    )
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in lvm.state_dict().items()}
    write_atomically(folder / WEIGHTS, lambda partial: save_file(weights, partial))
    write_atomically(folder / CARD, lambda partial: partial.write_text(card.model_dump_json(indent=2) + "\n"))
    return card


def load_checkpoint(folder: Path) -> tuple[LVM, Card]:
    """The model and card of a checkpoint, in evaluation mode on the CPU.

    Raises
    ------
    CheckpointError
        If a file is missing, truncated, of another preset than its card says, or not the card's own weights.
    """
    hint = "Make it again with `dvc repro pretrain`."
    try:
        card = Card.model_validate_json((folder / CARD).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS)
    except FileNotFoundError as error:
        raise CheckpointError(f"There is no complete checkpoint in {folder}: {error}.", hint) from error
    except ValidationError as error:
        raise CheckpointError(f"{folder / CARD} is not a checkpoint's card: {error}.", hint) from error
    except SafetensorError as error:
        raise CheckpointError(f"{folder / WEIGHTS} is truncated or no safetensors file: {error}.", hint) from error
    lvm = LVM(card.preset)
    try:
        lvm.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"The weights in {folder} are not of preset {card.preset.name!r}.", hint) from error
    if encoder_digest(lvm, card.rendering) != card.encoder:
        raise CheckpointError(f"{folder / WEIGHTS} holds other weights than its card describes.", hint)
    return lvm.eval(), card


def encoder_digest(lvm: LVM, rendering: Rendering) -> str:
    """12 hex digits naming what features depend on: the encoder's weights, the preset and the rendering."""
    state = hashlib.sha256(json.dumps([lvm.preset.model_dump(), rendering.model_dump()]).encode())
    for name, tensor in sorted(lvm.encoder.state_dict().items()):
        state.update(name.encode())
        state.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return state.hexdigest()[:12]


class Encoder:
    """A frozen encoder: pictures to feature vectors.

    Parameters
    ----------
    lvm : LVM
        The model; it is put into evaluation mode.
    rendering : Rendering
        How its pictures are made; their size must be the preset's.

    Raises
    ------
    CheckpointError
        If the rendering's size is not the preset's.
    """

    def __init__(self, lvm: LVM, rendering: Rendering) -> None:
        if rendering.size != lvm.preset.size:
            raise CheckpointError(
                f"Preset {lvm.preset.name!r} reads pictures of {lvm.preset.size} pixels, not {rendering.size}.",
                "Render with `rendering.sized(preset.size)`.",
            )
        self.lvm = lvm.eval()
        self.rendering = rendering
        self.digest = encoder_digest(lvm, rendering)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The encoder of a checkpoint.

        Raises
        ------
        CheckpointError
            As `load_checkpoint`.
        """
        lvm, card = load_checkpoint(folder)
        return cls(lvm, card.rendering)

    @property
    def preset(self) -> str:
        """Name of the model's size."""
        return self.lvm.preset.name

    @property
    def width(self) -> int:
        """Length of a feature vector."""
        return self.lvm.preset.width

    @torch.inference_mode()
    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Feature vectors (B, width) float32 of rendered pictures (B, 3, S, S)."""
        device = self.lvm.mask_token.device
        return self.lvm.features(images.to(device)).float().cpu()
