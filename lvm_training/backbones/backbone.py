"""The seam of encoders: what they need of a network, how pictures become its input, and what names its features."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, Self, get_args

import torch
from pydantic import BaseModel, ConfigDict, model_validator

from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.symmetries import SYMMETRIES

Channels = Literal["rgb", "bgr", "grey"]
CHANNELS: tuple[Channels, ...] = get_args(Channels)


class Backbone(Protocol):
    """A network that makes feature vectors of pictures: `model.lvm.LVM`, a timm model, an ONNX file."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def size(self) -> int:
        """Side of the pictures it reads, pixels."""

    @property
    def width(self) -> int:
        """Length of a feature vector."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    @property
    def mixed(self) -> bool:
        """Whether it computes in bfloat16 where it is asked to."""

    def made_with(self) -> object:
        """All that its features depend on beside `weights`, as a JSON value."""

    def weights(self) -> Mapping[str, torch.Tensor]:
        """The tensors that its features depend on, by name; none where `made_with` names them."""

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Feature vectors (B, width) of rendered pictures (B, 3, S, S), R, G, B in [0, 1]."""

    def to(self, device: torch.device) -> Self:
        """The same network, computing elsewhere."""

    def eval(self) -> Self:
        """The same network, ready to answer."""


class Preprocessing(BaseModel):
    """How a rendered picture becomes what a network reads: its channels, then (x - mean) / std.

    Attributes
    ----------
    mean, std : tuple of float
        Of each channel of pictures in [0, 1], or one for all. A network that reads 0 to 255 has mean 0 and std 1 / 255.
    channels : {"rgb", "bgr", "grey"}
        Their order; grey is one channel, the mean of the three.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: Channels = "rgb"

    @model_validator(mode="after")
    def _usable(self) -> Self:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.count) or not all(map(math.isfinite, values)):
                raise ValueError(f"`{name}` needs one finite number, or one for each of {self.count} channels")
        if min(self.std) <= 0:
            raise ValueError("`std` must be above 0")
        return self

    @property
    def count(self) -> int:
        """How many channels the network reads."""
        return 1 if self.channels == "grey" else 3

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """The network's input (B, `count`, S, S) of pictures (B, 3, S, S)."""
        if self.channels == "grey":
            images = images.mean(dim=1, keepdim=True)
        elif self.channels == "bgr":
            images = images.flip(1)
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (images - mean) / std


def encoder_digest(
    backbone: Backbone, rendering: Rendering, views: int = SYMMETRIES, precision: str = "float32"
) -> str:
    """12 hex digits naming what features depend on: network, weights, rendering, views and precision."""
    return named_digest(backbone.made_with(), rendering, backbone.weights(), views, precision)


def named_digest(
    made_with: object,
    rendering: Rendering,
    weights: Mapping[str, torch.Tensor],
    views: int = SYMMETRIES,
    precision: str = "float32",
) -> str:
    """As `encoder_digest`, of the parts of a backbone."""
    # float32 goes unnamed, as it did when there was nothing else: features made then keep their name
    rounded = [] if precision == "float32" else [precision]
    return weights_digest([made_with, rendering.model_dump(), views, *rounded], weights)


def weights_digest(made_with: Sequence[Any], weights: Mapping[str, torch.Tensor]) -> str:
    """12 hex digits of float32 weights, and of what else they are named by."""
    state = hashlib.sha256(json.dumps(made_with).encode())
    for name, tensor in sorted(weights.items()):
        state.update(name.encode())
        state.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return state.hexdigest()[:12]
