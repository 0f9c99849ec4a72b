"""A head of parameters in a folder, beside a card that says what it was made with."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from lvm_training.backbones.backbone import encoder_digest
from lvm_training.errors import CheckpointError, problems
from lvm_training.files import write_together
from lvm_training.model.encoder import WEIGHTS, Encoder
from lvm_training.parameters.head import ParameterHead
from lvm_training.paths import CARD


class ParametersCard(BaseModel):
    """What a head of parameters says of itself.

    Attributes
    ----------
    parameters : tuple of str
        What it measures.
    encoder : str
        Of the checkpoint whose features it reads (`Card.encoder`), in whatever precision they are computed.
    data, code : str
        Digest of the stamp set that it learned from; Git revision, or "unknown".
    stamps : int
        How many it learned from.
    params, metrics : dict
        How it was made, and what was measured on stamps that it did not see.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    parameters: tuple[str, ...]
    encoder: str
    data: str
    code: str
    stamps: int
    params: dict[str, Any]
    metrics: dict[str, float]


def save_parameters(folder: Path, head: ParameterHead, card: ParametersCard) -> None:
    """Write a head and its card into a folder, both or neither."""
    text = (card.model_dump_json(indent=2) + "\n").encode()
    write_together(
        {
            folder / WEIGHTS: lambda partial: partial.write_bytes(head.save()),
            folder / CARD: lambda partial: partial.write_bytes(text),
        }
    )


def load_parameters(folder: Path) -> tuple[ParameterHead, ParametersCard]:
    """The head and the card in a folder.

    Raises
    ------
    CheckpointError
        If a file is missing, truncated, or no such head.
    """
    hint = "Name a folder with a head of parameters; the released one is models/parameters-nano in the repository."
    try:
        card = ParametersCard.model_validate_json((folder / CARD).read_bytes())
        return ParameterHead.load((folder / WEIGHTS).read_bytes()), card
    except OSError as error:
        raise CheckpointError(f"There is no complete head of parameters in {folder}: {error}.", hint) from error
    except ValidationError as error:
        raise CheckpointError(
            f"{folder} holds no head of parameters; {CARD} has {problems(error)[0]}.", hint
        ) from error


def check_encoder(card: ParametersCard, encoder: Encoder) -> None:
    """Raise a CheckpointError unless a head reads the features of an encoder."""
    # single precision names the weights; half precision rounds their features by less than an error
    if encoder_digest(encoder.backbone, encoder.rendering) != card.encoder:
        raise CheckpointError(
            f"The head reads features of the encoder {card.encoder}, not of this one.",
            "Name the encoder that it was made with: models/lvm-nano-2 for the released head.",
        )
