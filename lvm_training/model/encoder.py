"""Checkpoints: weights as safetensors beside a JSON card, and the frozen encoder read back from them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from lvm_training.backbones.backbone import Backbone, encoder_digest, named_digest, weights_digest
from lvm_training.backbones.card import BackboneCard, read_card
from lvm_training.backbones.sources import load_backbone
from lvm_training.errors import CheckpointError, problems
from lvm_training.files import write_together
from lvm_training.model.lvm import LVM, NANO, Preset, find_preset
from lvm_training.model.precision import Precision, computing, fast_precision
from lvm_training.model.ranks import fastest_device
from lvm_training.params import ParamsError
from lvm_training.paths import CARD, RELEASED_LVM
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.symmetries import SYMMETRIES, symmetry

WEIGHTS = "model.safetensors"
HEADER = 256  # bytes that a tensor takes beside its own, or a file of them, at most
PART_OF_WEIGHTS = "model-{number:05d}-of-{parts:05d}.safetensors"  # Hugging Face's names
RELEASED = (
    f"Check the path: the released checkpoint is {RELEASED_LVM} in the repository. `dvc repro` makes the "
    "pipeline's again, `galaxyloop pretrain` an adapted one."
)

AnyCard = TypeVar("AnyCard", bound=BaseModel)


class Card(BaseModel):
    """What a checkpoint says about itself.

    Attributes
    ----------
    preset : Preset
        The numbers the model was built from.
    rendering : Rendering
        How the pictures it was trained on were made.
    encoder : str
        12 hex digits of the encoder's weights as loaded, preset and rendering.
    data : str
        Digest of the stamp set it was trained on.
    code : str
        Git revision, or "unknown".
    params, metrics : dict
        The training parameters, and what was measured.
    parent : str
        `encoder` of the checkpoint whose weights training began with; empty for first weights drawn at random.
    weights : str
        12 hex digits of all weights as loaded, the decoder's among them; empty on cards made before.
    precision : str
        What it was trained in, "bf16" or "float32"; empty on cards made before.
    stamps : int
        How many it was trained on, each repetition counted; 0 where nobody counted.
    """

    # JSON has no number for NaN; as null it would not be read back
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    preset: Preset
    rendering: Rendering
    encoder: str
    data: str
    code: str
    params: dict[str, Any]
    metrics: dict[str, float]
    parent: str = ""
    weights: str = ""
    precision: str = ""
    stamps: int = 0

    @property
    def network(self) -> str:
        """What people call the network: its size."""
        return self.preset.name

    @property
    def width(self) -> int:
        """Length of a feature vector."""
        return self.preset.width


def save_checkpoint(
    folder: Path,
    lvm: LVM,
    rendering: Rendering,
    *,
    data: str,
    code: str,
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
    half: bool = False,
    parent: str = "",
    precision: str = "",
    stamps: int = 0,
    largest: int | None = None,
) -> Card:
    """Write `model.safetensors` and `card.json` into `folder`, both or neither, and return the card.

    Parameters
    ----------
    folder : Path
        Made if it is not there; an earlier checkpoint in it is replaced.
    lvm : LVM
        The model.
    rendering : Rendering
        How the pictures it was trained on were made.
    data, code, params, metrics, parent, precision, stamps
        As in `Card`.
    half : bool
        Whether to store float16, which is half as large. The card then names the rounded weights, which are those that
        `load_checkpoint` gives.
    largest : int, optional
        Bytes that no file may exceed: the weights are then in parts, which `load_checkpoint` reads as well.

    Raises
    ------
    CheckpointError
        If a weight is not finite in the stored type, or the files cannot be written. An earlier checkpoint is then
        still there.
    """
    weights = _stored_weights(lvm, half=half)
    card = Card(
        preset=lvm.preset,
        rendering=rendering,
        encoder=named_digest(lvm.made_with(), rendering, _of_encoder(weights)),
        weights=weights_digest([], weights),
        data=data,
        code=code,
        params=dict(params),
        metrics=dict(metrics),
        parent=parent,
        precision=precision,
        stamps=stamps,
    )
    files = _files_of(weights, largest)
    write_checkpoint(folder, {**files, CARD: (card.model_dump_json(indent=2) + "\n").encode()})
    for path in _weight_files(folder):
        if path.name not in files:
            path.unlink()
    return card


def _files_of(weights: dict[str, torch.Tensor], largest: int | None) -> dict[str, bytes]:
    """The weights as one file, or as files of up to `largest` bytes."""
    whole = save(weights)
    if largest is None or len(whole) <= largest:
        return {WEIGHTS: whole}
    parts: list[dict[str, torch.Tensor]] = []
    room: list[int] = []
    # the largest first, each into the first part with room for it, so that parts are few
    for name in sorted(weights, key=lambda name: (-weights[name].nbytes, name)):
        size = weights[name].nbytes + HEADER
        place = next((place for place, left in enumerate(room) if left >= size), len(parts))
        if place == len(parts):
            parts.append({})
            room.append(largest - HEADER)
        parts[place][name] = weights[name]
        room[place] -= size
    return {PART_OF_WEIGHTS.format(number=number, parts=len(parts)): save(part) for number, part in enumerate(parts, 1)}


def _weight_files(folder: Path) -> list[Path]:
    """Files of weights in a folder, whichever way they were written."""
    return sorted(path for path in folder.glob("model*.safetensors") if path.is_file())


def _read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights from one file or from all their parts."""
    files = [path for path in _weight_files(folder) if path.name != WEIGHTS]
    if not files or (folder / WEIGHTS).exists():
        return load_file(folder / WEIGHTS)
    expected = [PART_OF_WEIGHTS.format(number=number, parts=len(files)) for number in range(1, len(files) + 1)]
    if [path.name for path in files] != expected:
        raise FileNotFoundError(f"of the parts of its weights, only {', '.join(path.name for path in files)} are there")
    return {name: tensor for path in files for name, tensor in load_file(path).items()}


def _stored_weights(lvm: LVM, *, half: bool) -> dict[str, torch.Tensor]:
    """The tensors to write, by name."""
    kind = torch.float16 if half else torch.float32
    weights = {name: tensor.detach().cpu().to(kind).contiguous() for name, tensor in lvm.state_dict().items()}
    broken = [name for name, tensor in weights.items() if not tensor.isfinite().all()]
    if broken:
        raise CheckpointError(
            f"{len(broken)} of {len(weights)} weight tensors are not finite in {str(kind).removeprefix('torch.')}, "
            f"first {broken[0]}.",
            "Train again with a lower learning rate, or store float32 if float16 is too narrow.",
        )
    return weights


def write_checkpoint(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files of a checkpoint or none.

    Raises
    ------
    CheckpointError
        If they cannot be written. Earlier files are then still there.
    """

    def writing(content: bytes) -> Callable[[Path], object]:
        return lambda partial: partial.write_bytes(content)

    try:
        write_together({folder / name: writing(content) for name, content in files.items()})
    except OSError as error:
        size = sum(map(len, files.values())) / 1e6
        raise CheckpointError(
            f"The checkpoint could not be written: {error}.",
            f"Saving needs {size:.1f} MB of free space in {folder}, and the right to write there.",
        ) from error


def read_checkpoint(folder: Path, kind: type[AnyCard], what: str, hint: str) -> tuple[AnyCard, dict[str, torch.Tensor]]:
    """The card and the weights in a folder, which still have to fit one another.

    Parameters
    ----------
    kind : type
        The card's model.
    what, hint : str
        What errors call it, and what they say is to be done.

    Raises
    ------
    CheckpointError
        If a file is missing, truncated, or not what its name says.
    """
    try:
        return kind.model_validate_json((folder / CARD).read_bytes()), _read_weights(folder)
    except OSError as error:
        raise CheckpointError(f"There is no complete {what} in {folder}: {error}.", hint) from error
    except ValidationError as error:
        raise CheckpointError(f"{folder} holds no {what}; its {CARD} has {problems(error)[0]}.", hint) from error
    except SafetensorError as error:
        raise CheckpointError(f"{folder / WEIGHTS} is truncated or no safetensors file: {error}.", hint) from error


def load_checkpoint(folder: Path) -> tuple[LVM, Card]:
    """The model, float32 in evaluation mode on the CPU, and card of a checkpoint.

    Raises
    ------
    CheckpointError
        If a file is missing, truncated, of another preset than its card says, or if weights, preset and rendering are
        not those the card names.
    """
    other = read_card(folder)
    if other is not None:
        raise CheckpointError(
            f"{other.architecture} in {folder} is no model of ours: it gives features, and cannot be trained or draw.",
            f"Name a checkpoint of ours, such as {RELEASED_LVM}.",
        )
    card, weights = read_checkpoint(folder, Card, "LVM checkpoint", RELEASED)
    try:
        lvm = LVM(card.preset)
        lvm.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"The weights in {folder} are not of preset {card.preset.name!r}.", RELEASED) from error
    if encoder_digest(lvm, card.rendering) != card.encoder or card.weights not in (
        "",
        weights_digest([], lvm.state_dict()),
    ):
        raise CheckpointError(f"{folder / WEIGHTS} holds other weights than its card describes.", RELEASED)
    return lvm.eval(), card


def _of_encoder(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Those of a checkpoint's weights that features depend on, named as `LVM.weights` names them."""
    part = "encoder."
    return {name.removeprefix(part): tensor for name, tensor in weights.items() if name.startswith(part)}


def folder_card(folder: Path) -> Card | BackboneCard | None:
    """The card of a checkpoint, ours or another's, without its weights; None where there is none.

    Raises
    ------
    CheckpointError
        If it says things that no card says.
    """
    other, path = read_card(folder), folder / CARD
    if other is not None or not path.is_file():
        return other
    try:
        return Card.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise CheckpointError(f"{folder} holds no encoder; its {CARD} has {problems(error)[0]}.", RELEASED) from error


def load_network(folder: Path) -> tuple[Backbone, Card | BackboneCard]:
    """The network of a checkpoint, ours or another's, on the CPU, and its card.

    Raises
    ------
    CheckpointError
        As `load_checkpoint`.
    """
    other = read_card(folder)
    return load_checkpoint(folder) if other is None else (load_backbone(folder, other), other)


def starting_point(init: Path | None, preset: str | None, *, field: float, seed: int) -> tuple[LVM, Rendering, str]:
    """The model a training begins with, its rendering, and the encoder it comes from (empty for random weights).

    Parameters
    ----------
    init : Path, optional
        Folder of a checkpoint, which also gives the rendering; without one, random weights.
    preset : str, optional
        Size of the model: that of `init`, or nano.
    field, seed : float, int
        Arcsec across a picture, and what weights are drawn from, where there is no checkpoint.

    Raises
    ------
    CheckpointError
        As `load_checkpoint`.
    ParamsError
        If there is no such preset, or `init` is of another one.
    """
    if init is None:
        chosen = find_preset(preset or NANO.name)
        torch.manual_seed(seed)
        return LVM(chosen), Rendering(size=chosen.size, field=field), ""
    lvm, card = load_checkpoint(init)
    if preset not in (None, lvm.preset.name):
        raise ParamsError(f"{init} is of preset {lvm.preset.name!r}, not {preset!r}.", "Change one of the two.")
    return lvm, card.rendering, card.encoder


class Encoder:
    """A frozen encoder: pictures to feature vectors.

    Parameters
    ----------
    backbone : Backbone
        The network, ours or another's; it is put into evaluation mode.
    rendering : Rendering
        How its pictures are made; their size must be the network's.
    views : int
        How many of the square's eight symmetries a picture's features are the mean over. With all of them a galaxy has
        the same features however it lies, which few labels profit from; 1 is eight times as fast.
    precision : {"float32", "bf16"}
        What it computes in. The digest names it, so that features of the two are not mixed; either runs on any
        processor, though bf16 slowly on a CPU without AMX.

    Raises
    ------
    CheckpointError
        If the rendering's size is not the network's.
    ParamsError
        If there are not 1 to 8 views.
    """

    def __init__(
        self, backbone: Backbone, rendering: Rendering, views: int = SYMMETRIES, precision: Precision = "float32"
    ) -> None:
        if not 1 <= views <= SYMMETRIES:
            raise ParamsError(f"Features are the mean over 1 to {SYMMETRIES} views, not {views}.", "Ask for 8, or 1.")
        if rendering.size != backbone.size:
            raise CheckpointError(
                f"{backbone.name} reads pictures of {backbone.size} pixels, not {rendering.size}.",
                f"Render with `rendering.sized({backbone.size})`.",
            )
        self.backbone = backbone.eval()
        self.rendering, self.views, self.precision = rendering, views, precision
        self.digest = encoder_digest(backbone, rendering, views, precision)

    @classmethod
    def load(cls, folder: Path, views: int = SYMMETRIES) -> Self:
        """The encoder of a checkpoint, ours or another's, on the GPU where there is one, in what is fast there.

        A campaign that began on another kind of processor goes on as it began: `queries.matching_encoder`.

        Raises
        ------
        CheckpointError
            As `load_checkpoint`.
        """
        backbone, card = load_network(folder)
        backbone = backbone.to(fastest_device())
        return cls(backbone, card.rendering, views, fast_precision(backbone.device) if backbone.mixed else "float32")

    @property
    def lvm(self) -> LVM:
        """The network, where it is ours: what is trained further, or draws pictures.

        Raises
        ------
        CheckpointError
            If it is another's.
        """
        if isinstance(self.backbone, LVM):
            return self.backbone
        raise CheckpointError(
            f"{self.preset} is no model of ours: it gives features, and cannot be trained or draw.",
            f"Take a checkpoint of ours, such as {RELEASED_LVM}.",
        )

    @property
    def preset(self) -> str:
        """Name of the network: of ours, its size."""
        return self.backbone.name

    @property
    def width(self) -> int:
        """Length of a feature vector."""
        return self.backbone.width

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.backbone.device

    def with_views(self, views: int) -> "Encoder":
        """The same network, looking at fewer of the symmetries, or at more; another encoder by its digest."""
        return Encoder(self.backbone, self.rendering, views, self.precision)

    def to(self, device: torch.device) -> Self:
        """The same encoder, computing elsewhere."""
        self.backbone = self.backbone.to(device)
        return self

    @torch.inference_mode()
    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Feature vectors (B, width) float32 of rendered pictures (B, 3, S, S)."""
        images = images.to(self.device)
        with computing(images.device, self.precision):
            total = sum(self.backbone.features(symmetry(images, kind)).float() for kind in range(self.views))
        return (torch.as_tensor(total) / self.views).cpu()
