"""Rows of the campaign database as typed values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from lvm_training.errors import GalaxyLoopError
from lvm_training.stamps.rendering import Rendering


class UnknownCampaignError(GalaxyLoopError):
    """No campaign has that name or project."""

    code = "unknown_project"


@dataclass(frozen=True)
class Campaign:
    """A labelling campaign: one Label Studio project over one stamp set.

    Attributes
    ----------
    head : str
        Kind of head, the first part of its model versions.
    classes : tuple of str
        What the head learns to tell apart, in order.
    encoder : str
        Digest of the frozen encoder.
    audit_fraction : float
        Share of the tasks labelled blind and never trained on.
    notice : str or None
        What the team should know, such as a label config the head cannot answer.
    """

    id: int
    name: str
    project_id: int
    head: str
    classes: tuple[str, ...]
    stamp_set: str
    encoder: str
    rendering: Rendering
    policy: str
    audit_fraction: float
    seed: int
    state: str
    notice: str | None
    reconciled_at: datetime | None
    created_at: datetime

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """A campaign from a row of its table."""
        checked = {"classes": tuple(row["classes"]), "rendering": Rendering.model_validate(row["rendering"])}
        return cls(**{**row, **checked})


@dataclass(frozen=True)
class ModelVersion:
    """An immutable head of a campaign; `weights` is None for a cold start, which ranks without a head."""

    version: str
    parent: str | None
    weights: bytes | None
    encoder: str
    seed: int
    last_event: int
    labels: int
    audit_labels: int
    metrics: dict[str, Any]
    revision: str
    created_at: datetime

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """A version from a row of its table."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class QueueTask:
    """A task waiting for a label, and the stamp it shows."""

    task_id: int
    stamp_set: str
    stamp_id: int
    audit: bool
