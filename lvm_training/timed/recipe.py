"""What a training in given minutes is made of; each field can be varied in a sweep."""

import json
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from lvm_training.errors import problems
from lvm_training.model.lvm import Preset, find_preset
from lvm_training.params import ParamsError, Section
from lvm_training.stamps.rendering import Rendering

DEFAULT_BATCH = {"nano": 1024, "nano-96": 768, "small": 512, "paper": 192}


class TimedRecipe(Section):
    """One training.

    Attributes
    ----------
    name : str
        What a table calls it.
    preset : str
        Size of the model, a key of `lvm.PRESETS`.
    stem : bool
        Whether patches come from `lvm.ConvStem`.
    batch : int
        Simulated stamps in a step; 0 for what suits a GPU of 80 GB. Halved where memory does not suffice.
    learning_rate, weight_decay : float
        AdamW's peak learning rate, and its weight decay.
    warmup : float
        Share of the time in which the rate rises; then it falls as a cosine, to 0 at the end of the time.
    average : float
        Memory of the moving average of the weights, which is what is kept, as a share of the time; 0 for none.
    field : float
        Side of the pictures, arcsec.
    fields : tuple of float, optional
        Smallest and largest side, drawn for each batch; `field` without it.
    realism : float
        Share of the batches whose galaxies are those of `realistic.py` and whose pictures have what surveys leave on
        them (`survey_marks.py`).
    restored, masked : float
        Shares of the stamps that are restored and filled in; the others are only read.
    dense : float
        Weight of naming the parts pixel by pixel from the decoder.
    dense_tokens : float
        Weight of naming them from the last stage's tokens alone, which the decoder's skips cannot serve.
    contrast : float
        Weight of telling two drawings of one structure from drawings of others.
    contrasted : float
        Share of the stamps that are drawn as second drawings of others.
    real : float
        Weight of filling in real unlabelled pictures and of telling their views apart.
    real_share : float
        Real pictures in a step, over the simulated stamps.
    mask_ratio : float
        Share of a masked picture that is hidden.
    mask_patch : int
        Side of the hidden blocks, pixels.
    compiled : bool
        Whether `torch.compile` makes the step.
    init : str
        Folder of the checkpoint to start from; empty for random weights.
    seed : int
        What weights and stamps are drawn from.
    """

    name: str = "base"
    preset: str = "nano"
    stem: bool = False
    batch: int = Field(default=0, ge=0)
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    warmup: float = Field(default=0.04, ge=0, lt=1)
    average: float = Field(default=0.03, ge=0, lt=1)
    field: float = Field(default=25.0, gt=0)
    fields: tuple[float, float] | None = None
    realism: float = Field(default=0.0, ge=0, le=1)
    restored: float = Field(default=0.08, gt=0, lt=0.5)
    masked: float = Field(default=0.08, gt=0, lt=0.5)
    dense: float = Field(default=0.0, ge=0)
    dense_tokens: float = Field(default=0.0, ge=0)
    contrast: float = Field(default=0.0, ge=0)
    contrasted: float = Field(default=0.25, gt=0, le=0.4)
    real: float = Field(default=0.0, ge=0)
    real_share: float = Field(default=0.25, gt=0, le=1)
    mask_ratio: float = Field(default=0.5, gt=0, lt=1)
    mask_patch: int = Field(default=8, ge=1)
    compiled: bool = False
    init: str = ""
    seed: int = Field(default=1, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.fields is not None and not 0 < self.fields[0] <= self.fields[1]:
            raise ValueError("`fields` needs the smallest and the largest side, both above 0")
        return self

    @property
    def model(self) -> Preset:
        """The preset with or without a stem.

        Raises
        ------
        ParamsError
            If there is no such preset.
        """
        return find_preset(self.preset).model_copy(update={"stem": self.stem})

    @property
    def rendering(self) -> Rendering:
        """How pictures are made, at the fixed field."""
        return Rendering(size=self.model.size, field=self.field)

    @property
    def stamps(self) -> int:
        """Simulated stamps in a step."""
        return self.batch or DEFAULT_BATCH.get(self.preset, 256)


class Sweep(Section):
    """Several recipes, each trained for as long: `base` holds what they share, a variant what it changes."""

    seconds: float = Field(default=30.0, gt=0)
    base: dict[str, Any] = Field(default_factory=dict)
    variants: dict[str, dict[str, Any]]

    @property
    def recipes(self) -> list[TimedRecipe]:
        """The recipes in the order of the file."""
        return [TimedRecipe(**{**self.base, **changes, "name": name}) for name, changes in self.variants.items()]


def read_sweep(path: Path) -> Sweep:
    """A sweep from its JSON.

    Raises
    ------
    ParamsError
        If the file is missing, not JSON, or a recipe in it cannot be used.
    """
    hint = 'It reads {"seconds": 30, "base": {...}, "variants": {"name": {...}}}; --help lists what recipes hold.'
    try:
        sweep = Sweep.model_validate(json.loads(path.read_text(encoding="utf-8")))
        for recipe in sweep.recipes:
            find_preset(recipe.preset)
    except OSError as error:
        raise ParamsError(f"{path} cannot be read: {error}.", hint) from error
    except ValidationError as error:
        raise ParamsError(f"{path}: {'; '.join(problems(error))}.", hint) from error
    except ValueError as error:
        raise ParamsError(f"{path} is not JSON: {error}.", hint) from error
    return sweep
