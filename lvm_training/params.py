"""The parameters of the pipeline: the active profile of `params.yaml`, checked."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lvm_training.errors import GalaxyLoopError, problems
from lvm_training.paths import LVM_FOLDER, STAMPS

Task = Literal["classification", "restoration", "reconstruction"]
TASKS: tuple[Task, ...] = get_args(Task)


class ParamsError(GalaxyLoopError):
    """A parameter file that is missing, or a parameter that is missing, misspelt or out of range."""

    code = "bad_params"


class Section(BaseModel):
    """A section of a profile; unknown names are errors, so that a misspelt one is not ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SimulateParams(Section):
    """`n` galaxies drawn from `seed`."""

    n: int = Field(ge=1)
    seed: int = Field(ge=0)


class PretrainParams(Section):
    """How the LVM is pretrained.

    Attributes
    ----------
    preset : str
        Size of the model, a key of `lvm_training.model.lvm.PRESETS`.
    init : str
        Folder of the checkpoint to start from; empty for random weights.
    source : {"stamps", "endless"}
        The pipeline's stamp set, or stamps simulated on the fly.
    field : float
        Side of the centre crop the model sees, arcsec.
    steps, batch : int
        Optimiser steps, and stamps in each.
    learning_rate, weight_decay : float
        AdamW's peak learning rate, reached after `warmup` steps and followed by a cosine to 0, and its weight decay.
    masked_share : float
        Share of each batch's pictures that are masked; the others are only degraded.
    mask_ratio : float
        Share of a masked picture that is hidden, in square blocks of `mask_patch` pixels.
    visible_weight : float
        Weight in the loss of a visible pixel; a hidden one has 1.
    catalogue : tuple of str
        Catalogue columns that the features of unmasked pictures must give, linearly; empty for none.
    catalogue_weight : float
        Weight of that term beside the restoration.
    invariance_weight : float
        Weight of the term that makes two views of a stamp have like features (`training.Invariance`); 0 for none.
    epoch_steps : int
        Longest epoch, in steps; a killed run goes on from the end of its last epoch.
    workers : int
        Processes that read stamps; 0 reads in the training process.
    """

    preset: str
    init: str = ""
    source: Literal["stamps", "endless"] = "stamps"
    field: float = Field(gt=0)
    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    warmup: int = Field(ge=0)
    weight_decay: float = Field(ge=0)
    masked_share: float = Field(ge=0, le=1)
    mask_ratio: float = Field(ge=0, lt=1)
    mask_patch: int = Field(ge=1)
    visible_weight: float = Field(ge=0)
    catalogue: tuple[str, ...]
    catalogue_weight: float = Field(ge=0)
    invariance_weight: float = Field(default=0.0, ge=0)
    epoch_steps: int = Field(ge=1)
    workers: int = Field(ge=0)
    seed: int = Field(ge=0)


class MultitaskParams(Section):
    """How the LVM is trained on its three tasks together.

    Attributes
    ----------
    steps, batch : int
        Optimiser steps, and stamps in each.
    learning_rate, warmup, weight_decay
        As in `PretrainParams`.
    shares : {"shortfall", "equal"}
        How batches are divided among the tasks: by what each lacks to its goal, or equally.
    goals : dict
        What counts as reached, of every task: `classification` and `reconstruction` as explained variance,
        `restoration` as gain of PSNR, dB.
    floor : float
        Least share of a task.
    mask_ratio, mask_patch
        As in `PretrainParams`.
    epoch_steps : int
        Steps between two measurements of the shares; a killed run goes on from the last one.
    validation : int
        Held-out stamps per task.
    workers : int
        Processes that draw stamps; 0 draws in the training process.
    """

    steps: int = Field(ge=1)
    batch: int = Field(ge=3)
    learning_rate: float = Field(gt=0)
    warmup: int = Field(ge=0)
    weight_decay: float = Field(ge=0)
    shares: Literal["shortfall", "equal"]
    goals: dict[Task, Annotated[float, Field(gt=0)]]
    floor: float = Field(ge=0, le=1 / 3)
    mask_ratio: float = Field(gt=0, lt=1)
    mask_patch: int = Field(ge=1)
    epoch_steps: int = Field(ge=1)
    validation: int = Field(ge=2)
    workers: int = Field(ge=0)
    seed: int = Field(ge=0)

    @field_validator("goals")
    @classmethod
    def _whole(cls, goals: dict[Task, float]) -> dict[Task, float]:
        missing = [task for task in TASKS if task not in goals]
        if missing:
            raise ValueError(f"there is no goal of {', '.join(missing)}")
        return goals


class EvaluateParams(Section):
    """What the encoder is measured with.

    Attributes
    ----------
    neighbours : int
        Votes of the nearest-neighbour probe.
    sizes : tuple of int
        Numbers of labels of the few-shot curve, multiples of the number of classes.
    draws : int
        Draws of labels for each size.
    whole_draws : int
        Draws for which the LVM and a ResNet18 are trained whole as well; 0 leaves them out, since each training takes
        minutes.
    resnet_pretraining : int
        Steps for which another ResNet18 reads the truth of simulated stamps first; 0 leaves that one out.
    simulated : int
        Simulated stamps that teach a head the classes, without a label.
    pictures : int
        Most real pictures of a class that it is judged on, where there are real sets at hand.
    stamps, tuning, examples : int
        Stamps that restoration is measured on, that the classical methods are tuned on, and that are shown.
    """

    neighbours: int = Field(ge=1)
    sizes: tuple[int, ...]
    draws: int = Field(ge=1)
    whole_draws: int = Field(ge=0)
    resnet_pretraining: int = Field(default=0, ge=0)
    simulated: int = Field(ge=120)
    pictures: int = Field(ge=2)
    stamps: int = Field(ge=1)
    tuning: int = Field(ge=1)
    examples: int = Field(ge=1)
    seed: int = Field(ge=0)


class EmbedParams(Section):
    """`batch` stamps go through the encoder at a time, each under `views` of the square's symmetries."""

    batch: int = Field(ge=1)
    views: int = Field(default=8, ge=1, le=8)


class TrainParams(Section):
    """`seed` splits the labels for cross-validation."""

    seed: int = Field(ge=0)


class ParametersParams(Section):
    """`seed` draws what the head of parameters is bootstrapped from."""

    seed: int = Field(ge=0)


class LensesParams(Section):
    """Simulated lenses and look-alikes.

    Attributes
    ----------
    train, validation, test : int
        Stamps of each split.
    lens_share : float
        Share of lenses in each.
    einstein_radius : tuple of float
        Smallest and largest, arcsec.
    signal_to_noise : tuple of float
        Smallest and largest of all images of a source together.
    look_alikes : mapping of str to float
        Shares of the kinds of look-alikes (`lookalikes.LOOK_ALIKES`).
    """

    train: int = Field(ge=1)
    validation: int = Field(ge=1)
    test: int = Field(ge=1)
    lens_share: float = Field(ge=0, le=1)
    einstein_radius: tuple[float, float]
    signal_to_noise: tuple[float, float]
    look_alikes: dict[str, float]
    seed: int = Field(ge=0)


class DetectorParams(Section):
    """How a detector is made and measured.

    Attributes
    ----------
    backbone : {"lvm", "resnet50"}
        What reads the pictures.
    start : {"pretrained", "scratch"}
        Its first weights: those of `multitask`, or random ones.
    channels : int
        Width of feature pyramid and heads.
    size : int, optional
        Side of the pictures, pixels; without it the LVM's own.
    images : int
        Stamps to train on, the first of the training split.
    endless : bool
        Whether as many stamps are drawn anew for each epoch instead.
    realism : float
        Share of those that are shown as other surveys and viewers would show them.
    steps, batch : int
        Optimiser steps at most, and stamps in each.
    learning_rate, warmup, weight_decay
        As in `PretrainParams`.
    epoch_steps : int
        Steps between two measurements on held-out stamps; a killed run goes on from the last one.
    held_out : int
        Stamps of the validation split that are measured.
    patience : int
        Measurements without a better one after which training ends; the best weights are kept. 0 trains to the last
        step.
    pool : int
        Stamps, one in a hundred a lens, that purity is measured in; 0 leaves it out.
    examples : int
        Stamps of each kind that are shown.
    seed : int
        What first weights, order, symmetries and samples are drawn from.
    """

    backbone: Literal["lvm", "resnet50"]
    start: Literal["pretrained", "scratch"]
    channels: int = Field(ge=8)
    size: int | None = Field(default=None, ge=32, multiple_of=32)
    images: int = Field(ge=1)
    endless: bool = False
    realism: float = Field(default=0.0, ge=0, le=1)
    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    warmup: int = Field(ge=0)
    weight_decay: float = Field(ge=0)
    epoch_steps: int = Field(ge=1)
    held_out: int = Field(default=64, ge=1)
    patience: int = Field(default=0, ge=0)
    pool: int = Field(ge=0)
    examples: int = Field(ge=1)
    seed: int = Field(ge=0)


class EncoderFinetuneParams(Section):
    """How an encoder is trained on what people said of stamps.

    Attributes
    ----------
    steps : int
        Optimiser steps; 0 for as many as the labels need.
    seed : int
        What order and symmetries are drawn from.
    """

    steps: int = Field(ge=0)
    seed: int = Field(ge=0)


class FinetuneParams(Section):
    """How a detector goes on learning from people's labels.

    Attributes
    ----------
    steps, batch : int
        Optimiser steps, and pictures in each.
    learning_rate, warmup, weight_decay
        As in `PretrainParams`.
    epoch_steps : int
        Steps after which a killed run goes on.
    replay : float
        Simulated pictures per labelled one, that it forgets nothing; 0 for none.
    fewest_replayed, most_replayed : int
        Limits of their number, unless `replay` is 0.
    seed : int
        What simulated pictures, order, symmetries and samples are drawn from.
    """

    steps: int = Field(default=100, ge=1)
    batch: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=1e-4, gt=0)
    warmup: int = Field(default=10, ge=0)
    weight_decay: float = Field(default=0.05, ge=0)
    epoch_steps: int = Field(default=25, ge=1)
    replay: float = Field(default=1.0, ge=0)
    fewest_replayed: int = Field(default=64, ge=0)
    most_replayed: int = Field(default=512, ge=0)
    seed: int = Field(default=1, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.fewest_replayed > self.most_replayed:
            raise ValueError("`fewest_replayed` is above `most_replayed`")
        return self

    def replayed(self, labelled: int) -> int:
        """Simulated pictures beside that many labelled ones."""
        wanted = max(self.fewest_replayed, min(self.most_replayed, round(self.replay * labelled)))
        return wanted if self.replay else 0


class Params(Section):
    """One profile, and what is learned, whichever the profile.

    Attributes
    ----------
    labels : str
        The file in data/release that heads and encoder are trained on.
    encoder : str
        Folder of the checkpoint that `finetune` starts from.
    stamps : str
        Folder of the stamp sets that the labels are of, each a file of its name.
    """

    profile: str
    labels: str = "labels.csv"
    encoder: str = str(LVM_FOLDER)
    stamps: str = str(STAMPS)
    simulate: SimulateParams
    pretrain: PretrainParams
    multitask: MultitaskParams
    evaluate: EvaluateParams
    embed: EmbedParams
    train: TrainParams
    parameters: ParametersParams
    finetune: EncoderFinetuneParams
    lenses: LensesParams
    detector: DetectorParams


def load_params(path: Path = Path("params.yaml"), *, profile: str | None = None) -> Params:
    """A profile of a parameter file: the active one unless another is named.

    Raises
    ------
    ParamsError
        If the file is missing or not YAML, names a profile it does not have, or breaks the profile's schema.
    """
    document = _read_yaml(path)
    profile = document.get("profile") if profile is None else profile
    if not isinstance(profile, str) or not isinstance(document.get(profile), dict):
        profiles = ", ".join(name for name, section in document.items() if isinstance(section, dict))
        raise ParamsError(f"{path.name} has no profile {profile!r}.", f"Set `profile` to one of: {profiles or 'none'}.")
    try:
        shared = {name: document[name] for name in ("labels", "encoder", "stamps") if name in document}
        return Params(profile=profile, **shared, **document[profile])
    except (ValidationError, TypeError) as error:
        details = "; ".join(problems(error)) if isinstance(error, ValidationError) else str(error)
        raise ParamsError(
            f"Profile {profile!r} of {path.name} cannot be used: {details}.", "Correct it and run `dvc repro` again."
        ) from error


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ParamsError(f"There is no parameter file at {path}.", "Run from the repository root.") from error
    except OSError as error:
        raise ParamsError(f"{path} cannot be read: {error}.", "Name a YAML file, as params.yaml is.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path.name} is not YAML: {error}.", "Correct it and run `dvc repro` again.") from error
    if not isinstance(document, dict):
        raise ParamsError(f"{path.name} is not a mapping.", "It needs `profile` and one section per profile.")
    return document
