"""What a folder in the store says of an encoder that is not ours; the weights lie beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lvm_training.backbones.backbone import Preprocessing
from lvm_training.errors import CheckpointError, problems
from lvm_training.files import json_object
from lvm_training.paths import CARD, KIND
from lvm_training.stamps.rendering import Rendering

FILES = {"timm": "model.safetensors", "onnx": "model.onnx", "detector": "model.safetensors"}


class BackboneCard(BaseModel):
    """What an encoder that is not ours is made of.

    Attributes
    ----------
    kind : {"timm", "onnx", "detector"}
        What reads its weights.
    architecture : str
        timm's name of the network, that of the ONNX file, or what a detector is on.
    arguments : dict
        What timm builds it with beside the name; a detector's design.
    width : int
        Length of a feature vector.
    preprocessing : Preprocessing
        What happens to a rendered picture before the network reads it.
    rendering : Rendering
        How pictures are made, their size and framing among it.
    weights : str
        SHA-256 of the file of the weights.
    encoder : str
        12 hex digits as of `encoder_digest`, of eight views in float32.
    source : str
        Where it came from, for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["timm", "onnx", "detector"]
    architecture: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    width: int
    preprocessing: Preprocessing
    rendering: Rendering
    weights: str
    encoder: str = ""
    source: str

    @property
    def network(self) -> str:
        """What people call the network."""
        return self.architecture

    @property
    def made_with(self) -> dict[str, Any]:
        """What features depend on beside the rendering."""
        return self.model_dump(mode="json", include={"kind", "architecture", "arguments", "preprocessing", "weights"})


class CardedBackbone:
    """What a backbone that is not ours says of itself: what its card does.

    Attributes
    ----------
    card : BackboneCard
    """

    card: BackboneCard

    @property
    def name(self) -> str:
        """What the card calls the network."""
        return self.card.architecture

    @property
    def size(self) -> int:
        """Side of the pictures, pixels."""
        return self.card.rendering.size

    @property
    def width(self) -> int:
        """Length of a feature vector."""
        return self.card.width

    def made_with(self) -> object:
        """What features depend on, the weights' file by its digest."""
        return self.card.made_with

    def weights(self) -> Mapping[str, torch.Tensor]:
        """None: the card names their file."""
        return {}


def is_detector(folder: Path) -> bool:
    """Whether a folder is a detector's (`detection.checkpoint`), which tells a design of itself."""
    return isinstance(json_object(folder / CARD).get("design"), dict)


def read_card(folder: Path) -> BackboneCard | None:
    """The card in a folder; None where none is, or one of ours.

    Raises
    ------
    CheckpointError
        If the card says things that no card says.
    """
    said = json_object(folder / CARD)
    if KIND not in said:
        return None
    try:
        return BackboneCard.model_validate(said)
    except ValidationError as error:
        raise CheckpointError(
            f"{folder} holds no encoder; its {CARD} has {problems(error)[0]}.",
            "Add it again: `galaxyloop encoder add`.",
        ) from error
