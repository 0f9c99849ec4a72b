"""Where another's encoder comes from, and how its folder is made: one card and one file of weights, both checked."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

from lvm_training.backbones.backbone import Backbone, Channels, Preprocessing, encoder_digest
from lvm_training.backbones.card import FILES, BackboneCard, is_detector
from lvm_training.backbones.checks import check_backbone
from lvm_training.backbones.hub import CONFIG, WEIGHTS, fetch
from lvm_training.backbones.onnx_file import OnnxBackbone, opened, read_shape
from lvm_training.backbones.timm_model import TimmBackbone, built, described, fill, read_weights
from lvm_training.errors import CheckpointError, problems
from lvm_training.files import json_object, write_atomically
from lvm_training.paths import CARD
from lvm_training.progress import Steps
from lvm_training.stamps.rendering import Rendering

TIMM, HUB, ONNX = "timm:", "hf_hub:", ".onnx"
SIZE = 224  # pixels, where nobody says otherwise
LARGEST = 1024
NETWORKS = "galaxyloop.networks"  # entry points that read what lies above this package


@dataclass(frozen=True)
class Wanted:
    """An encoder that is asked for, and what it does not say of itself.

    Attributes
    ----------
    source : str
        "timm:NAME", "hf_hub:OWNER/NAME", a folder with config.json and weights as the hub has them, that of a
        detector, or an ONNX file.
    size : int, optional
        Side of its pictures, pixels; what it says itself by default.
    field : float, optional
        Side of the stamp's middle that they show, arcsec; as our own encoders by default.
    mean, std : tuple of float, optional
        Of its channels; what it says itself by default, for an ONNX file 0 and 1.
    channels : {"rgb", "bgr", "grey"}, optional
        Their order.
    weights : Path, optional
        The weights of "timm:NAME", which are fetched from the hub otherwise.
    random : bool
        Whether "timm:NAME" shall have weights drawn at random, for comparison.
    """

    source: str
    size: int | None = None
    field: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: Channels | None = None
    weights: Path | None = None
    random: bool = False

    @property
    def words(self) -> str:
        """Where it comes from, for people."""
        return f"{self.source}, random weights" if self.random else self.source

    @property
    def is_plain(self) -> bool:
        """Whether nothing is said of it but where it is."""
        return self == Wanted(self.source)

    def check_card_says_the_rest(self) -> None:
        """Of a folder whose card says all of it but the field of view.

        Raises
        ------
        CheckpointError
            If more is asked of it.
        """
        if self != Wanted(self.source, field=self.field):
            raise CheckpointError(
                f"{self.source} says all of itself in its {CARD}.", "Leave out all options but --name and --field."
            )


def load_backbone(folder: Path, card: BackboneCard) -> Backbone:
    """The network in a folder.

    Raises
    ------
    CheckpointError
        If the weights are not those of the card, or cannot be read.
    """
    path = folder / FILES[card.kind]
    hint = "Add the encoder again: `galaxyloop encoder add`."
    try:
        digest = _file_digest(path)
    except OSError as error:
        raise CheckpointError(f"There is no complete encoder in {folder}: {error}.", hint) from error
    if digest != card.weights:
        raise CheckpointError(f"{path} holds other weights than its card describes.", hint)
    found = _network(card, path)
    if encoder_digest(found, card.rendering) != card.encoder:
        raise CheckpointError(f"{folder / CARD} was changed: it is of another encoder than it says.", hint)
    return found


def write_backbone(wanted: Wanted, folder: Path, downloads: Path, steps: Steps) -> BackboneCard:
    """Make the folder of an encoder, and look at what it gives.

    Parameters
    ----------
    folder : Path
        Filled with a card and the weights.
    downloads : Path
        Where files of the hub are kept until they are all there.
    steps : callable
        Shows long work.

    Raises
    ------
    CheckpointError
        If it cannot be had, read, or used. The folder is then not whole.
    """
    if wanted.size is not None:
        _check_size(wanted.size)
    folder.mkdir(parents=True, exist_ok=True)
    if is_detector(Path(wanted.source)):
        card = _detector(wanted, folder)
    else:
        card = _onnx(wanted, folder) if wanted.source.endswith(ONNX) else _timm(wanted, folder, downloads, steps)
    backbone = _network(card, folder / FILES[card.kind])
    with steps(f"Looking through {card.architecture}"):
        width = check_backbone(backbone, card.rendering.size)
    card = card.model_copy(update={"width": width, "encoder": encoder_digest(backbone, card.rendering)})
    write_atomically(folder / CARD, lambda partial: partial.write_text(card.model_dump_json(indent=2) + "\n"))
    return card


def _network(card: BackboneCard, weights: Path) -> Backbone:
    if card.kind == "timm":
        return TimmBackbone.load(card, weights)
    if card.kind == "onnx":
        return OnnxBackbone(card, opened(weights))
    for reader in entry_points(group=NETWORKS, name=card.kind):
        network: Backbone = reader.load()(card, weights)
        return network
    raise CheckpointError(
        f"Nothing that is installed reads {card.architecture}.", "Install Galaxy Loop again: `make setup`."
    )


def _detector(wanted: Wanted, folder: Path) -> BackboneCard:
    """Of a detector's folder, whose weights are copied."""
    source = Path(wanted.source)
    wanted.check_card_says_the_rest()
    said = json_object(source / CARD)
    design = said["design"]
    try:
        rendering = Rendering.model_validate(said.get("rendering"))
        shutil.copyfile(source / FILES["detector"], folder / FILES["detector"])
    except (ValidationError, OSError) as error:
        raise CheckpointError(
            f"There is no complete detector in {source}.", "models/detector-nano is released with Galaxy Loop."
        ) from error
    preset = design.get("preset")
    return BackboneCard(
        kind="detector",
        architecture=f"mask-rcnn-{preset.get('name') if isinstance(preset, dict) else 'resnet50'}",
        arguments={"design": design},
        width=0,
        preprocessing=Preprocessing(mean=(0.0,), std=(1.0,)),
        rendering=rendering if wanted.field is None else rendering.model_copy(update={"field": wanted.field}),
        weights=_file_digest(folder / FILES["detector"]),
        source=wanted.words,
    )


def _onnx(wanted: Wanted, folder: Path) -> BackboneCard:
    """Of an ONNX file, which is copied."""
    path = Path(wanted.source)
    if wanted.weights is not None or wanted.random:
        raise CheckpointError(f"{path.name} has its weights inside.", "Leave out --weights and --random-weights.")
    channels, side = read_shape(opened(path), path.name)
    if None not in (side, wanted.size) and side != wanted.size:
        raise CheckpointError(f"{path.name} reads pictures of {side} pixels, not {wanted.size}.", "Leave out --size.")
    about = {"mean": (0.0,), "std": (1.0,), "input_size": (channels, *(side or SIZE,) * 2)}
    shutil.copyfile(path, folder / FILES["onnx"])
    return _card("onnx", path.stem, {}, about, wanted, folder)


def _timm(wanted: Wanted, folder: Path, downloads: Path, steps: Steps) -> BackboneCard:
    """Of a network of timm, whose weights are written without those of a classifier."""
    name, arguments, about, weights = _located(wanted, downloads, steps)
    said = _input_size(about)[-1]
    if wanted.size not in (None, said) and about.get("fixed_input_size"):
        if weights is not None:
            raise CheckpointError(f"{name} reads pictures of {said} pixels, not {wanted.size}.", "Leave out --size.")
        arguments = {**arguments, "img_size": wanted.size}
    count = _preprocessing(about, wanted).count
    if count != 3:
        arguments = {**arguments, "in_chans": count}
    network = built(name, arguments)
    if weights is not None:
        fill(network, read_weights(weights), weights.name)
    _save(network, folder / FILES["timm"])
    return _card("timm", name, arguments, about, wanted, folder)


def _located(
    wanted: Wanted, downloads: Path, steps: Steps
) -> tuple[str, dict[str, Any], Mapping[str, Any], Path | None]:
    """timm's name, what it is built with, what is said of its input, and its weights; None for random ones."""
    source = wanted.source
    if source.startswith(TIMM):
        name = source.removeprefix(TIMM)
        about = described(name)
        if wanted.random or wanted.weights is not None:
            return name, {}, about, None if wanted.random else wanted.weights
        model = about.get("hf_hub_id")
        if not model:
            raise CheckpointError(f"timm knows no weights of {name}.", "Give a file of them with --weights.")
        source = f"{HUB}{model}"
    if wanted.random or wanted.weights is not None:
        raise CheckpointError(
            f"{source} has weights of its own.", "Leave out --weights and --random-weights, or name timm:NAME."
        )
    if source.startswith(HUB):
        model = source.removeprefix(HUB)
        place = downloads / hashlib.sha256(model.encode()).hexdigest()[:12]
        fetch(model, place, steps)
        return _of_folder(place, source)
    return _of_folder(Path(source), source)


def _of_folder(folder: Path, source: str) -> tuple[str, dict[str, Any], Mapping[str, Any], Path]:
    """As `_located`, of a folder as the hub lays them out."""
    hint = "An encoder is a folder of ours or of the hub's, an ONNX file, timm:NAME or hf_hub:OWNER/NAME."
    try:
        said = json.loads((folder / CONFIG).read_bytes())
    except OSError as error:
        raise CheckpointError(f"There is no encoder at {source}: {error}.", hint) from error
    except ValueError as error:
        raise CheckpointError(f"{CONFIG} of {source} is no JSON: {error}.", hint) from error
    name = said.get("architecture") if isinstance(said, dict) else None
    if not isinstance(name, str):
        kind = said.get("model_type", "nothing") if isinstance(said, dict) else "nothing"
        raise CheckpointError(
            f"{CONFIG} of {source} names no network of timm (its model_type is {kind!r}).",
            "Other libraries' models can be exported to ONNX.",
        )
    weights = next((folder / one for one in WEIGHTS if (folder / one).is_file()), None)
    if weights is None:
        raise CheckpointError(f"{source} has none of {', '.join(WEIGHTS)}.", hint)
    about, arguments = (_object(said, part, source) for part in ("pretrained_cfg", "model_args"))
    return name, arguments, {**described(name), **(about or said)}, weights


def _object(said: Mapping[str, Any], part: str, source: str) -> dict[str, Any]:
    """A part of `config.json`, empty where it is not there."""
    found = said.get(part) or {}
    if not isinstance(found, dict):
        raise CheckpointError(f"{CONFIG} of {source}: `{part}` is no object.", "Get it as timm wrote it.")
    return found


def _input_size(about: Mapping[str, Any]) -> tuple[int, ...]:
    size = about.get("input_size") or (3, SIZE, SIZE)
    if not isinstance(size, list | tuple) or len(size) != 3 or not all(isinstance(one, int) for one in size):
        raise CheckpointError(f"An `input_size` of {size} is none.", "Write channels, height and width.")
    if size[0] not in (1, 3):
        raise CheckpointError(
            f"It reads {size[0]} channels; pictures have 3, or 1 in grey.", "Choose an encoder of pictures."
        )
    return tuple(size)


def _check_size(size: int) -> None:
    if not 16 <= size <= LARGEST:
        raise CheckpointError(f"Pictures of {size} pixels cannot be.", f"Choose from 16 to {LARGEST}.")


def _preprocessing(about: Mapping[str, Any], wanted: Wanted) -> Preprocessing:
    count = _input_size(about)[0]
    channels = wanted.channels or ("grey" if count == 1 else "rgb")
    numbers = {}
    for name, given in (("mean", wanted.mean), ("std", wanted.std)):
        said = given if given is not None else about.get(name) or (0.5,)
        values = tuple(said) if isinstance(said, list | tuple) else (said,)
        # the mean of the channels' means is that of the grey picture
        grey = channels == "grey" and given is None and all(isinstance(one, int | float) for one in values)
        numbers[name] = (sum(values) / len(values),) if grey else values
    try:
        return Preprocessing(mean=numbers["mean"], std=numbers["std"], channels=channels)
    except ValidationError as error:
        raise CheckpointError(
            f"Its pictures cannot be prepared so: {problems(error)[0]}.", "See --mean, --std."
        ) from error


def _card(
    kind: Any, name: str, arguments: dict[str, Any], about: Mapping[str, Any], wanted: Wanted, folder: Path
) -> BackboneCard:
    """A card whose width and digest are still to be found."""
    preprocessing = _preprocessing(about, wanted)
    if kind == "onnx" and preprocessing.count != about["input_size"][0]:
        raise CheckpointError(
            f"{name} reads {about['input_size'][0]} channels, and {preprocessing.channels} pictures have"
            f" {preprocessing.count}.",
            "Leave out --channels.",
        )
    size = wanted.size or _input_size(about)[-1]
    _check_size(size)
    rendering = Rendering(size=size)
    if wanted.field is not None:
        rendering = rendering.model_copy(update={"field": wanted.field})
    return BackboneCard(
        kind=kind,
        architecture=name,
        arguments=arguments,
        width=0,
        preprocessing=preprocessing,
        rendering=rendering,
        weights=_file_digest(folder / FILES[kind]),
        source=wanted.words,
    )


def _save(network: nn.Module, path: Path) -> None:
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in network.state_dict().items()}
    try:
        save_file(tensors, path)
    except OSError as error:
        size = sum(tensor.nbytes for tensor in tensors.values()) / 1e6
        raise CheckpointError(
            f"The weights could not be written to {path}: {error}.", f"They need {size:.1f} MB of free space."
        ) from error


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
