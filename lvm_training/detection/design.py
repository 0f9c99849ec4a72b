"""The numbers that make a detector."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from lvm_training.model.lvm import Preset

STRIDES = (4, 8, 16, 32)


class DetectorDesign(BaseModel):
    """The numbers that make a detector.

    Attributes
    ----------
    backbone : {"lvm", "resnet50"}
        What reads the pictures; everything behind it is the same.
    preset : Preset, optional
        Size of the LVM, with patches of 4 pixels and four stages; none for a ResNet50.
    size : int
        Side of the pictures, pixels; a multiple of 32.
    classes : tuple of str
        What is detected.
    channels : int
        Width of the feature pyramid and of the heads.
    anchors : tuple of tuple of float
        Sizes of the anchors on strides 4, 8, 16 and 32 in units of `size`, each with aspect ratios 1:2, 1:1 and 2:1. On
        64 pixels: 6 and 9, 12 and 18, 24 and 36, 48 and 60.
    candidates : int
        Proposals per stride before non-maximum suppression.
    training_proposals, proposals : int
        Proposals per picture behind it, in training and in prediction.
    anchor_sample, proposal_sample : int
        Anchors and proposals per picture that the losses are computed on.
    mask_layers : int
        3x3 convolutions of the mask head.
    detections : int
        Most objects per picture.

    Raises
    ------
    ValidationError
        If backbone, preset and size do not fit one another, or classes are missing or doubled.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: Literal["lvm", "resnet50"]
    preset: Preset | None = None
    size: PositiveInt = Field(multiple_of=32)
    classes: tuple[str, ...] = Field(min_length=1)
    channels: PositiveInt = 64
    anchors: tuple[tuple[float, ...], ...] = ((3 / 32, 9 / 64), (3 / 16, 9 / 32), (3 / 8, 9 / 16), (3 / 4, 15 / 16))
    candidates: PositiveInt = 200
    training_proposals: PositiveInt = 100
    proposals: PositiveInt = 50
    anchor_sample: PositiveInt = 32
    proposal_sample: PositiveInt = 32
    mask_layers: PositiveInt = 2
    detections: PositiveInt = 20

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.backbone == "lvm") != (self.preset is not None):
            raise ValueError("an LVM needs a preset, and a ResNet50 has none")
        if self.preset is not None:
            strides = tuple(self.preset.patch * 2**level for level in range(len(self.preset.depths)))
            if (self.preset.size, strides) != (self.size, STRIDES):
                raise ValueError(f"the preset must read {self.size} pixels in patches of 4 and have four stages")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("a class has two places")
        if len(self.anchors) != len(STRIDES) or len(set(map(len, self.anchors))) != 1 or not self.anchors[0]:
            raise ValueError("`anchors` need as many sizes on each of the four strides")
        return self
