"""What a preset amounts to: parameters, token grids and floating-point operations, counted without its weights."""

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lvm_training.model.lvm import LVM, Preset


class StageDescription(BaseModel):
    """One encoder stage.

    Attributes
    ----------
    channels : int
        Length of a token.
    grid : int
        Tokens along one side of the stage's map.
    blocks, heads : int
        Transformer blocks, and attention heads in each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: int
    grid: int
    blocks: int
    heads: int


class Description(BaseModel):
    """A preset in figures.

    Attributes
    ----------
    preset : str
        Its name.
    parameters : int
        Of the whole model: encoder, decoder and the token of a masked patch.
    encoder_parameters, decoder_parameters : int
        Of the two alone.
    input_shape : tuple of int
        A rendered picture: 3, S, S.
    feature_width : int
        Length of a feature vector.
    stages : tuple of StageDescription
        The encoder's, finest first.
    flops : int
        Floating-point operations of one stamp's feature vector.
    flops_restoration : int
        The same of one stamp's restored picture, which needs the encoder and the decoder.

    Notes
    -----
    A multiply-add counts as 2 operations. Matrix products, attention and convolutions are counted; norms, activations,
    interpolation and the like, which cost little beside them, are not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str
    parameters: int
    encoder_parameters: int
    decoder_parameters: int
    input_shape: tuple[int, int, int]
    feature_width: int
    stages: tuple[StageDescription, ...]
    flops: int
    flops_restoration: int


def describe_model(preset: Preset) -> Description:
    """A preset in figures, counted on its model with tensors that have shapes and no memory."""
    with torch.device("meta"):
        lvm = LVM(preset).eval()
        picture = torch.empty(1, 3, preset.size, preset.size)
    with torch.inference_mode(), FlopCounterMode(display=False) as encoding:
        lvm.features(picture)
    with torch.inference_mode(), FlopCounterMode(display=False) as restoration:
        lvm(picture)
    return Description(
        preset=preset.name,
        parameters=_parameters(lvm),
        encoder_parameters=_parameters(lvm.encoder),
        decoder_parameters=_parameters(lvm.decoder),
        input_shape=(3, preset.size, preset.size),
        feature_width=preset.width,
        stages=tuple(
            StageDescription(
                channels=preset.embed * 2**level, grid=preset.grid // 2**level, blocks=blocks, heads=preset.heads[level]
            )
            for level, blocks in enumerate(preset.depths)
        ),
        flops=encoding.get_total_flops(),
        flops_restoration=restoration.get_total_flops(),
    )


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
