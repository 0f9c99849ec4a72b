"""The errors people see: what is wrong, and what to do about it."""

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


def problems(error: "ValidationError") -> list[str]:
    """Each thing that a schema found wrong, as `place: what`, without pydantic's own text around it."""
    found = [(".".join(map(str, item["loc"])), item["msg"]) for item in error.errors(include_url=False)]
    return [f"{place}: {what}" if place else what for place, what in found]


def is_full(error: OSError) -> bool:
    """Whether a disk is full, or what somebody may use of it is used."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def first_line(error: BaseException) -> str:
    """What another library's error begins with, without its full stop; its class where it says nothing."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")


class GalaxyLoopError(Exception):
    """Base of every error raised on purpose.

    Parameters
    ----------
    message : str
        What is wrong, in one sentence.
    hint : str
        What to do about it; printed after the message and sent as `hint` over HTTP.
    """

    code = "error"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class StampError(GalaxyLoopError):
    """Pixels that cannot be used as a stamp, or a stamp set that breaks the contract."""

    code = "bad_stamp"


class RenderingError(GalaxyLoopError):
    """Stamps and model disagree about how pixels become a picture."""

    code = "rendering_mismatch"


class CheckpointError(GalaxyLoopError):
    """A model file that is missing, truncated, or of another kind than asked for."""

    code = "bad_checkpoint"


class LabelError(GalaxyLoopError):
    """Labels that cannot be used: unknown classes, missing columns, too few of them."""

    code = "bad_labels"


class OutputError(GalaxyLoopError):
    """A file that would be overwritten, though no command of ours made it."""

    code = "in_the_way"


class SurveyError(GalaxyLoopError):
    """A survey's description that is wrong, or a cutout service that cannot be used."""

    code = "bad_survey"
