"""The large vision model: a Swin encoder-decoder that restores masked and degraded pictures of galaxies."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self

import torch
import torch.nn.functional as F
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from timm.models.swin_transformer import SwinTransformer, SwinTransformerStage
from torch import nn

from lvm_training.model.masking import hidden_pixels
from lvm_training.params import ParamsError


class Preset(BaseModel):
    """The numbers that make one size of the model.

    Attributes
    ----------
    name : str
        What `params.yaml` and the checkpoint card call it.
    size : int
        Side of the pictures it reads, pixels.
    patch : int
        Side of a patch, pixels; patches are the finest tokens.
    embed : int
        Channels of the first stage; each later stage has twice as many on a grid half as fine.
    depths, heads : tuple of int
        Transformer blocks and attention heads per encoder stage, finest first; a decoder stage has as many heads as the
        encoder stage of its grid.
    decoder_depths : tuple of int
        Blocks per decoder stage, from the coarsest; one stage fewer than the encoder has.
    window : int
        Side of an attention window, tokens; a stage whose grid is no larger attends to all of it, without shifts.
    drop_path : float
        Stochastic depth of the last encoder block, rising linearly from 0; a decoder stage has the rates of the encoder
        stage of its grid.
    stem : bool
        Whether patches come from overlapping 3x3 convolutions (`ConvStem`) instead of one linear map each.

    Raises
    ------
    ValidationError
        If stages differ in number, a stem's patch is no power of two, channels do not divide into heads, or the picture
        not into patches and stages.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    size: PositiveInt
    patch: PositiveInt
    embed: PositiveInt
    depths: tuple[PositiveInt, ...]
    heads: tuple[PositiveInt, ...]
    decoder_depths: tuple[PositiveInt, ...]
    window: PositiveInt
    drop_path: float = Field(ge=0, lt=1)
    stem: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not len(self.depths) == len(self.heads) == len(self.decoder_depths) + 1:
            raise ValueError("`depths` and `heads` need one number per stage, `decoder_depths` one fewer")
        if any(self.embed * 2**level % heads for level, heads in enumerate(self.heads)):
            raise ValueError("the channels of a stage must divide into its heads")
        if self.size % (self.patch * 2 ** (len(self.depths) - 1)):
            raise ValueError("the picture must divide into patches, and these in two at each further stage")
        if self.stem and (self.patch < 2 or self.patch & (self.patch - 1)):
            raise ValueError("a stem halves the picture step by step: `patch` must be 2, 4, 8 ...")
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what presets made before do not have, where it says nothing new: digests are made of this."""
        written: dict[str, Any] = serialise(self)
        return {name: value for name, value in written.items() if name != "stem" or self.stem}

    @property
    def grid(self) -> int:
        """Patches along one side of a picture."""
        return self.size // self.patch

    @property
    def width(self) -> int:
        """Length of a feature vector: channels of the last stage."""
        return int(self.embed * 2 ** (len(self.depths) - 1))


NANO = Preset(
    name="nano",
    size=64,
    patch=4,
    embed=48,
    depths=(2, 2, 2, 2),
    heads=(3, 6, 12, 24),
    decoder_depths=(2, 2, 2),
    window=8,
    drop_path=0.0,
)
# Windows of 6 tile the grids of 24 and 12 patches without padding
NANO_96 = NANO.model_copy(update={"name": "nano-96", "size": 96, "window": 6})
# Swin-T's channels and heads (Liu et al. 2021, section 3.3), fewer blocks. The coarsest decoder stage is one window, so
# it needs no second block with shifted ones.
SMALL = Preset(
    name="small",
    size=128,
    patch=4,
    embed=96,
    depths=(2, 2, 4, 2),
    heads=(3, 6, 12, 24),
    decoder_depths=(1, 2, 2),
    window=8,
    drop_path=0.1,
)
# The configuration Fu et al. 2024 published as code (training.yaml of their repository)
PAPER = Preset(
    name="paper",
    size=128,
    patch=4,
    embed=96,
    depths=(8, 8, 8, 8),
    heads=(8, 8, 8, 8),
    decoder_depths=(8, 8, 8),
    window=8,
    drop_path=0.1,
)
PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in (NANO, NANO_96, SMALL, PAPER)})


def find_preset(name: str) -> Preset:
    """The preset of that name.

    Raises
    ------
    ParamsError
        If there is none.
    """
    if name not in PRESETS:
        raise ParamsError(f"There is no preset {name!r}.", f"Presets are: {', '.join(PRESETS)}.")
    return PRESETS[name]


class ConvStem(nn.Sequential):
    """Patches from overlapping convolutions, (B, 3, S, S) to (B, embed, S / patch, S / patch).

    Xiao et al. 2021 ("Early convolutions help transformers see better", NeurIPS): 3x3 convolutions of stride 2 with
    growing channels, then a 1x1 one; norms are over groups, since pictures of a batch may be masked or whole.
    """

    def __init__(self, patch: int, embed: int) -> None:
        steps = patch.bit_length() - 1
        layers: list[nn.Module] = []
        channels = 3
        for step in range(steps):
            wider = embed // 2 ** (steps - 1 - step)
            layers += [nn.Conv2d(channels, wider, 3, 2, 1, bias=False), nn.GroupNorm(1, wider), nn.GELU()]
            channels = wider
        super().__init__(*layers, nn.Conv2d(channels, embed, 1))


class DualUpSample(nn.Module):
    """Up-sampling by a sub-pixel branch and a bilinear branch, which together leave no checkerboard.

    (B, H, W, channels) becomes (B, f H, f W, out) for a factor f. Fan et al. 2022, "SUNet: Swin Transformer UNet for
    image denoising", section III-C. SUNet's trailing 1x1 convolutions and its concatenation are one linear map; it is
    written here as one, on the coarse grid where it commutes with the interpolation.
    """

    def __init__(self, channels: int, out: int, factor: int) -> None:
        super().__init__()
        fine = channels // 2 if factor == 2 else channels
        self.shuffled = nn.Sequential(
            nn.Conv2d(channels, fine * factor**2, 1, bias=False),
            nn.PReLU(),
            nn.PixelShuffle(factor),
            nn.Conv2d(fine, out, 1, bias=False),
        )
        self.interpolated = nn.Sequential(
            nn.Conv2d(channels, channels, 1),
            nn.PReLU(),
            nn.Conv2d(channels, out, 1),
            nn.Upsample(scale_factor=factor, mode="bilinear", align_corners=False),
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (B, H, W, C) on the finer grid."""
        maps = tokens.permute(0, 3, 1, 2)
        finer: torch.Tensor = self.shuffled(maps) + self.interpolated(maps)
        return finer.permute(0, 2, 3, 1)


class DecoderStage(nn.Module):
    """One step up: join the encoder's map of the same grid, attend, and up-sample unless this is the last stage.

    Parameters
    ----------
    preset : Preset
        The size of the model.
    level : int
        The encoder stage whose channels C, grid H = W, heads and stochastic depth this one has; 0 is the finest.
    depth : int
        Transformer blocks.
    last : bool
        Whether no finer stage follows.
    """

    def __init__(self, preset: Preset, level: int, depth: int, *, last: bool) -> None:
        super().__init__()
        channels, grid = preset.embed * 2**level, preset.grid // 2**level
        self.join = nn.Linear(2 * channels, channels)
        self.attend = SwinTransformerStage(
            dim=channels,
            out_dim=channels,
            input_resolution=(grid, grid),
            depth=depth,
            downsample=False,
            num_heads=preset.heads[level],
            window_size=preset.window,
            drop_path=_drop_path(preset, level, depth),
        )
        self.up = nn.Identity() if last else DualUpSample(channels, channels // 2, 2)

    def forward(self, tokens: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """`tokens` and `skip`, both (B, H, W, C), to (B, 2H, 2W, C / 2), or to (B, H, W, C) in the last stage."""
        up: torch.Tensor = self.up(self.attend(self.join(torch.cat([tokens, skip], dim=-1))))
        return up


def _drop_path(preset: Preset, level: int, depth: int) -> list[float]:
    """Rates of a decoder stage's blocks: SUNet repeats those of the encoder stage, here for any number of blocks."""
    first = sum(preset.depths[:level])
    places = torch.linspace(first, first + preset.depths[level] - 1, depth, device="cpu")
    rates: list[float] = (places * preset.drop_path / max(1, sum(preset.depths) - 1)).tolist()
    return rates


class Decoder(nn.Module):
    """From the maps of all encoder stages back to a picture: the mirror image of the encoder, after SUNet.

    The picture is the last up-sampling's: SUNet's 3x3 output convolution is unused in the published forward pass.

    Parameters
    ----------
    preset : Preset
        The size of the model.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        levels = range(len(preset.depths) - 2, -1, -1)
        self.first = DualUpSample(preset.width, preset.width // 2, 2)
        self.stages = nn.ModuleList(
            DecoderStage(preset, level, depth, last=level == 0)
            for level, depth in zip(levels, preset.decoder_depths, strict=True)
        )
        self.norm = nn.LayerNorm(preset.embed)
        self.picture = DualUpSample(preset.embed, 3, preset.patch)

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Pictures (B, 3, S, S) from stage maps (B, S / patch / 2^i, S / patch / 2^i, embed 2^i), finest first."""
        return self.drawn(self.tokens(maps))

    def tokens(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """The decoder's own map (B, S / patch, S / patch, embed), of which pictures are drawn."""
        tokens = self.first(maps[-1])
        for stage, skip in zip(self.stages, reversed(maps[:-1]), strict=True):
            tokens = stage(tokens, skip)
        normed: torch.Tensor = self.norm(tokens)
        return normed

    def drawn(self, tokens: torch.Tensor) -> torch.Tensor:
        """Pictures (B, 3, S, S) of what `tokens` gives."""
        picture: torch.Tensor = self.picture(tokens)
        return picture.permute(0, 3, 1, 2)


class LVM(nn.Module):
    """Swin encoder and decoder with skips, pretrained by filling in masked patches.

    Architecture of Fu et al. 2024 (arXiv:2405.10890) after SUNet, with the usual 1 / sqrt(d) attention and without
    SUNet's 3x3 stem and unused heads; masked patches become one learned token as in SimMIM (Xie et al. 2022, section
    3.2).

    Parameters
    ----------
    preset : Preset
        The size of the model.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.preset = preset
        self.encoder = SwinTransformer(
            img_size=preset.size,
            patch_size=preset.patch,
            num_classes=0,
            embed_dim=preset.embed,
            depths=preset.depths,
            num_heads=preset.heads,
            window_size=preset.window,
            drop_path_rate=preset.drop_path,
        )
        if preset.stem:
            self.encoder.patch_embed.proj = ConvStem(preset.patch, preset.embed)
        self.mask_token = nn.Parameter(torch.zeros(preset.embed))
        self.decoder = Decoder(preset)
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.decoder.apply(_initialise)

    # what an encoder needs of a network: `backbones.backbone.Backbone`
    mixed = True

    @property
    def name(self) -> str:
        """Its preset's name."""
        return self.preset.name

    @property
    def size(self) -> int:
        """Side of the pictures it reads, pixels."""
        return self.preset.size

    @property
    def width(self) -> int:
        """Length of a feature vector."""
        return self.preset.width

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.mask_token.device

    def made_with(self) -> object:
        """What features depend on beside the weights: the preset."""
        return self.preset.model_dump()

    def weights(self) -> Mapping[str, torch.Tensor]:
        """The encoder's tensors, the only ones that features depend on."""
        return self.encoder.state_dict()

    def resized(self, size: int) -> "LVM":
        """The same weights for pictures of another side, pixels; this very model if it is its own.

        Where windows grow with the grid, their position tables are stretched (bicubic, as Liu et al. 2021 fine-tune
        Swin at other sizes), so that a token attends to the same part of an enlarged picture as before.

        Raises
        ------
        ValidationError
            If the picture does not divide into patches and stages.
        """
        if size == self.preset.size:
            return self
        numbers = self.preset.model_dump() | {"size": size, "name": f"{self.preset.name}-{size}"}
        # weights of its own are drawn only to be replaced
        with torch.random.fork_rng(devices=[]):
            other = LVM(Preset.model_validate(numbers))
        own = other.state_dict()
        other.load_state_dict({name: _stretched(table, own[name].shape) for name, table in self.state_dict().items()})
        return other.train(self.training)

    def forward(self, images: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Restored pictures (B, 3, S, S).

        Parameters
        ----------
        images : Tensor (B, 3, S, S)
            Rendered pictures, R, G, B in [0, 1].
        mask : Tensor (B, S / patch, S / patch) of bool, optional
            True where a patch is hidden from the encoder.
        """
        return self.restore(images, mask)[0]

    def restore(self, images: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Restored pictures (B, 3, S, S) as `forward` gives them, and feature vectors (B, width) of the same pass."""
        maps = self.maps(images, mask)
        return self.decoder(maps), self.pooled(maps)

    def encode(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The maps of all stages of pictures as in `forward`: (B, embed 2^i, S / patch / 2^i, S / patch / 2^i)."""
        return [tokens.permute(0, 3, 1, 2) for tokens in self.maps(images)]

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Feature vectors (B, width) of pictures as in `forward`: global mean of the last stage behind its norm."""
        return self.pooled(self.maps(images))

    def pooled(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Feature vectors (B, width) of stage maps: global mean of the last one behind the norm."""
        vectors: torch.Tensor = self.encoder.norm(maps[-1]).mean(dim=(1, 2))
        return vectors

    def maps(self, images: torch.Tensor, mask: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Tokens of all stages for the decoder, finest first: (B, S / patch / 2^i, S / patch / 2^i, embed 2^i)."""
        # centred pictures: an empty sky is about -1, a bright centre about 1
        images = images * 2 - 1
        if mask is not None and self.preset.stem:
            # a patch sees over the edge into its hidden neighbours
            images = images.masked_fill(hidden_pixels(mask, self.preset.patch), 0)
        tokens = self.encoder.patch_embed(images)
        if mask is not None:
            tokens = torch.where(mask[..., None], self.mask_token.to(tokens.dtype), tokens)
        maps = []
        for stage in self.encoder.layers:
            tokens = stage(tokens)
            maps.append(tokens)
        return maps


def _stretched(table: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """A position table ((2w - 1)^2, heads) of windows of another side; any other tensor as it is."""
    if table.shape == shape:
        return table
    old, new = (math.isqrt(length) for length in (len(table), shape[0]))
    planes = table.T.reshape(1, -1, old, old)
    return F.interpolate(planes, (new, new), mode="bicubic", align_corners=False)[0].flatten(1).T.contiguous()


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
