"""Encoders that people added to the store, by name, and what may be written where an encoder is asked for."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import RootModel, ValidationError
from pydantic.dataclasses import dataclass

from backend_ml.store.encoders import encoder_folder, encoders_folder, keep_checkpoint, stored_card
from lvm_training.errors import CheckpointError
from lvm_training.files import alone, write_atomically
from lvm_training.paths import CARD
from lvm_training.progress import Steps

# torch takes seconds to import, and who asks for a name needs none of it
if TYPE_CHECKING:
    from lvm_training.backbones.card import BackboneCard
    from lvm_training.backbones.sources import Wanted
    from lvm_training.model.encoder import Card

NAMES, LOCK, DOWNLOADS, ADDING = "names.json", "add.lock", "downloads", ".adding-"
CONFIG = "config.json"
REMOTE = ("timm:", "hf_hub:")
ONNX = ".onnx"
DIGEST = re.compile(r"[0-9a-f]{12}")
WIDEST = 3600.0  # arcsec: wider than any stamp
NAME = re.compile(r"\w[\w.+-]{0,79}")


@dataclass(frozen=True)
class Named:
    """An encoder of the store that has a name.

    Attributes
    ----------
    encoder : str
        Its digest.
    source : str
        Where it came from.
    plain : bool
        Whether nothing else was said of it, so that who names the source means this one.
    """

    encoder: str
    source: str
    plain: bool


class Listed(NamedTuple):
    """An encoder of the store: its digest, the names people gave it, where it came from, and its card."""

    encoder: str
    names: list[str]
    source: str
    card: "Card | BackboneCard"


def named(store: Path) -> Mapping[str, Named]:
    """The encoders that have names, in the order in which they were added.

    Raises
    ------
    CheckpointError
        If the file of names cannot be read.
    """
    path = encoders_folder(store) / NAMES
    if not path.is_file():
        return {}
    try:
        return _Names.model_validate_json(path.read_bytes()).root
    except (OSError, ValidationError) as error:
        raise CheckpointError(
            f"{path} cannot be read.", "Delete it: encoders are then found by their digests."
        ) from error


def listed(store: Path) -> list[Listed]:
    """All encoders of the store: those with names first, then those that campaigns brought."""
    known = named(store)
    kept = (path.name for path in sorted(encoders_folder(store).glob("*")) if DIGEST.fullmatch(path.name))
    rows = []
    for encoder in dict.fromkeys([*(one.encoder for one in known.values()), *kept]):
        card = stored_card(store, encoder)
        if card is not None:
            names = [name for name, one in known.items() if one.encoder == encoder]
            source = known[names[0]].source if names else ""
            rows.append(Listed(encoder, names, source, card))
    return rows


def add(store: Path, wanted: "Wanted", name: str | None, steps: Steps) -> str:
    """Keep an encoder in the store under a name; its digest. Whoever adds the same again changes nothing.

    Parameters
    ----------
    wanted : Wanted
        Where it is, ours or another's.
    name : str, optional
        By default the last part of where it is.
    steps : callable
        Shows long work.

    Raises
    ------
    CheckpointError
        If it cannot be had, read or used, or the name is taken.
    """
    from lvm_training.model.encoder import Encoder

    called = name or _called(wanted.source)
    _check_name(called)
    if wanted.field is not None and not 0 < wanted.field < WIDEST:
        raise CheckpointError(f"No picture shows {wanted.field:g} arcsec.", f"--field is from 0 to {WIDEST:g}.")
    folder = encoders_folder(store)
    with alone(folder / LOCK):
        for left_by_a_kill in folder.glob(f"{ADDING}*"):
            shutil.rmtree(left_by_a_kill)
        before = named(store).get(called)
        # before anything is fetched
        if before is not None and before.source != wanted.words:
            raise _taken(called, before)
        with TemporaryDirectory(dir=folder, prefix=ADDING) as work:
            made = _made(wanted, store, Path(work) / "encoder", steps)
            encoder = Encoder.load(made).digest
            if before is not None and before.encoder != encoder:
                raise _taken(called, before)
            keep_checkpoint(made, encoder_folder(store, encoder))
        names = {**named(store), called: Named(encoder, wanted.words, wanted.is_plain)}
        write_atomically(folder / NAMES, lambda partial: partial.write_bytes(_Names(names).model_dump_json().encode()))
    return encoder


def chosen_folder(store: Path, said: str, steps: Steps) -> Path:
    """The folder of the encoder that somebody asks for; one that is not in the store yet is added to it.

    Parameters
    ----------
    said : str
        A name, a digest, a folder of ours, or a source as `Wanted` takes it.

    Raises
    ------
    CheckpointError
        If there is none of that name, or as `add`.
    """
    known = named(store)
    if said in known:
        return encoder_folder(store, known[said].encoder)
    if DIGEST.fullmatch(said) and encoder_folder(store, said).is_dir():
        return encoder_folder(store, said)
    detector = _is_detector(Path(said))
    if not detector and (Path(said) / CARD).is_file():
        return Path(said)
    source = detector or said.startswith(REMOTE) or Path(said).suffix == ONNX or (Path(said) / CONFIG).is_file()
    if not source:
        names = f" The store has: {', '.join(known)}." if known else ""
        raise CheckpointError(
            f"There is no encoder {said!r}.{names}",
            "Give a name of `galaxyloop encoder list`, a digest, the folder of a checkpoint or of a detector, an ONNX"
            " file, timm:NAME or hf_hub:OWNER/NAME.",
        )
    # what is on the hub under a name may change; what was fetched once stays, and needs no network
    there = [one.encoder for one in known.values() if said.startswith(REMOTE) and one.plain and one.source == said]
    if there:
        return encoder_folder(store, there[0])
    from lvm_training.backbones.sources import Wanted

    return encoder_folder(store, add(store, Wanted(said), _free(_called(said), said, known), steps))


def unseen_field(card: "Card | BackboneCard") -> str:
    """A line on an encoder of ours that was not trained on the field that it reads; "" where nobody noted on which."""
    from lvm_training.model.encoder import Card

    fields = card.params.get("fields") if isinstance(card, Card) else None
    if not fields or min(fields) <= card.rendering.field <= max(fields):
        return ""
    return (
        f"trained on {min(fields):g} to {max(fields):g} arcsec, not on {card.rendering.field:g}:"
        " compare it (`galaxyloop encoder compare`)"
    )


class _Names(RootModel[dict[str, Named]]):
    """What the file of names holds."""


def _made(wanted: "Wanted", store: Path, made: Path, steps: Steps) -> Path:
    """The folder of an encoder: its own, or `made`."""
    from lvm_training.backbones.sources import write_backbone

    folder = Path(wanted.source)
    if (folder / CARD).is_file() and not _is_detector(folder):
        wanted.check_card_says_the_rest()
        return folder if wanted.field is None else _reframed(folder, wanted.field, made)
    downloads = encoders_folder(store) / DOWNLOADS
    write_backbone(wanted, made, downloads, steps)
    shutil.rmtree(downloads, ignore_errors=True)
    return made


def _is_detector(folder: Path) -> bool:
    """Whether a folder is a detector's; what has no card is told from it without torch."""
    if not (folder / CARD).is_file():
        return False
    from lvm_training.backbones.card import is_detector

    return is_detector(folder)


def _reframed(folder: Path, field: float, made: Path) -> Path:
    """A copy of a checkpoint that reads the middle `field` arcsec of stamps: another encoder with the same weights."""
    from lvm_training.backbones.backbone import encoder_digest
    from lvm_training.model.encoder import Card, load_network

    network, card = load_network(folder)
    rendering = card.rendering.model_copy(update={"field": field})
    shutil.copytree(folder, made)
    known: dict[str, Any] = {"rendering": rendering, "encoder": encoder_digest(network, rendering)}
    # what was measured was measured with the other field
    known |= {"metrics": {}, "parent": card.encoder} if isinstance(card, Card) else {}
    framed = card.model_copy(update=known)
    write_atomically(made / CARD, lambda partial: partial.write_text(framed.model_dump_json(indent=2) + "\n"))
    return made


def _called(source: str) -> str:
    """The last part of where an encoder is, as a name."""
    part = source.rstrip("/").rpartition("/")[2].rpartition(":")[2].partition("@")[0].removesuffix(ONNX)
    return re.sub(r"[^\w.+-]", "-", part).strip(".+-") or "encoder"


def _free(name: str, source: str, known: Mapping[str, Named]) -> str:
    """A name that is not another source's."""
    numbered = (name if number == 1 else f"{name}-{number}" for number in range(1, len(known) + 2))
    return next(one for one in numbered if one not in known or (known[one].source == source and known[one].plain))


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name) or DIGEST.fullmatch(name):
        raise CheckpointError(
            f"{name!r} cannot be the name of an encoder.",
            "Use up to 80 letters, digits, and . _ + - between them; not twelve hex digits, which are a digest.",
        )


def _taken(name: str, by: Named) -> CheckpointError:
    return CheckpointError(
        f"The name {name!r} is taken: it is encoder {by.encoder}, of {by.source}.",
        "Add this one under another name: `galaxyloop encoder add` with --name.",
    )
