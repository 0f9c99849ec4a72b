"""Encoders in the store: copied there when a campaign begins, so that a host without the training folders has them."""

import shutil
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from backend_ml.buckets import bring, share
from lvm_training.errors import CheckpointError
from lvm_training.files import alone, json_object
from lvm_training.paths import CARD, KIND

# torch takes seconds to import, and who asks where an encoder lies needs none of it
if TYPE_CHECKING:
    from lvm_training.backbones.card import BackboneCard
    from lvm_training.model.encoder import Card, Encoder


def encoders_folder(store: Path) -> Path:
    """Where the store keeps encoders."""
    return store / "encoders"


def encoder_folder(store: Path, digest: str) -> Path:
    """Where the store keeps an encoder's checkpoint; of a store in a bucket it is fetched, if it is there.

    Raises
    ------
    BucketError
        If it is not here, and the bucket cannot be asked.
    """
    return bring(encoders_folder(store) / digest)


def keep_checkpoint(folder: Path, kept: Path) -> None:
    """Copy a checkpoint's folder into the store as `kept`, whole or not at all; one that is there stays.

    Raises
    ------
    BucketError
        If the store is in a bucket, which does not take it.
    CheckpointError
        If it cannot be copied, as where the disk is full.
    """
    if kept.is_dir():
        return
    with alone(kept.with_name(f".{kept.name}.lock")):
        if kept.is_dir():  # of whoever was waited for
            return
        # other hosts have it before anything on this one can name it
        share(kept, folder)
        part = kept.with_name(f"{kept.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        try:
            shutil.copytree(folder, part)
        except OSError as error:
            shutil.rmtree(part, ignore_errors=True)  # of a full disk it would take the rest
            why = error.args[0][0][2] if isinstance(error, shutil.Error) else error
            raise CheckpointError(
                f"{folder} could not be copied to {kept}: {why}.",
                f"Look for free space in {kept.parent}, and for the right to write there.",
            ) from error
        part.rename(kept)


def stored_card(store: Path, digest: str) -> "Card | BackboneCard | None":
    """The card of an encoder's checkpoint in the store; None if it is not there."""
    from lvm_training.model.encoder import folder_card

    return folder_card(encoder_folder(store, digest))


def is_ours(store: Path, digest: str) -> bool:
    """Whether an encoder can be trained further, which another's cannot; one whose card is gone is taken for ours."""
    return KIND not in json_object(encoder_folder(store, digest) / CARD)


def working_encoder(store: Path, digest: str) -> "Encoder":
    """As `stored_encoder`, on the GPU where there is one, for long work; nobody else holds it."""
    from lvm_training.model.ranks import fastest_device

    return _read(store, digest).to(fastest_device())


@lru_cache(maxsize=4)
def stored_encoder(store: Path, digest: str) -> "Encoder":
    """The encoder of that digest from the store.

    Raises
    ------
    CheckpointError
        If it is not there, or not whole.
    QueryError
        If the folder holds another one.
    """
    return _read(store, digest)


def _read(store: Path, digest: str) -> "Encoder":
    from lvm_training.index.queries import matching_encoder

    folder = encoder_folder(store, digest)
    if not folder.is_dir():
        raise CheckpointError(
            f"The store has no encoder {digest}, so nothing new can be embedded.",
            f"Copy the folder of its checkpoint (model.safetensors, card.json) to {folder}.",
        )
    return matching_encoder(folder, digest)
