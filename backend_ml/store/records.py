"""Rows of the campaign database as typed values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from backend_ml.signing import Links
from lvm_training.errors import GalaxyLoopError
from lvm_training.stamps.rendering import Rendering

PICTURE_SIZE = 960
"""Side in pixels of the pictures of a new campaign's tasks: about as large as a page shows them."""
PICTURE_SIZES = (480, PICTURE_SIZE)
"""Those that campaigns have had."""


class UnknownCampaignError(GalaxyLoopError):
    """No campaign has that name or project."""

    code = "unknown_project"


class CampaignError(GalaxyLoopError):
    """A campaign that cannot be made or changed as asked."""

    code = "campaign"


@dataclass(frozen=True)
class Campaign:
    """A labelling campaign: one Label Studio project over one stamp set.

    One that began on the search page has no project until it is sent to Label Studio.

    Attributes
    ----------
    project : int or None
        Id of the Label Studio project.
    kind : str
        Name of the kind of campaign (`kinds.installed`), the first part of its model versions.
    classes : tuple of str
        What the head learns to tell apart, in order.
    encoder : str
        Digest of the encoder whose features it reads: that of the version that serves.
    policy : str
        What decides which label is worth most (`acquisition.policy`).
    audit_fraction : float
        Share of the tasks labelled blind and never trained on.
    overlap : int
        Labels, of different people, that each task waits for.
    consensus : str
        How several labels of a stamp become one (`labels.consensus`).
    simulated : mapping of str to str
        What the simulator draws of each class, by class, in the words of `simulated_classes.CONCEPTS`; empty where
        people alone teach.
    simulated_stamps : int
        How many simulated stamps teach.
    picture_size : int
        Side in pixels of its tasks' pictures. Label Studio draws a brush mask only on a picture of the mask's own size,
        so it stays what it was when the campaign began.
    state : str
        "open", "paused" (labels are kept, but nothing is learned, ranked or imported) or "closed".
    renamed : mapping of str to str
        What labels of former classes count as, by what people said.
    links_lapsed : bool
        Whether its pictures are shown to who is signed in alone.
    label_config : str
        Of a label config that somebody brought, the part that the campaign answers; "" for one of ours.
    adopted : bool
        Whether its project was there before the campaign.
    columns : tuple of str
        What its heads read beside the image: catalogue columns of its stamp sets, and vectors (`heads.beside`).
    link_series : int
        How many times its signed links were rotated.
    relinks : int
        How many of these times, or of imports that overlapped with one, Label Studio's texts do not follow yet.
    """

    id: int
    name: str
    project: int | None
    kind: str
    classes: tuple[str, ...]
    stamp_set: str
    encoder: str
    rendering: Rendering
    policy: str
    audit_fraction: float
    seed: int
    overlap: int
    consensus: str
    state: str
    reconciled_at: datetime | None
    created_at: datetime
    simulated: Mapping[str, str] = field(default_factory=dict, hash=False)
    simulated_stamps: int = 0
    picture_size: int = PICTURE_SIZE
    renamed: Mapping[str, str] = field(default_factory=dict, hash=False)
    links_lapsed: bool = False
    label_config: str = ""
    adopted: bool = False
    columns: tuple[str, ...] = ()
    link_series: int = 0
    relinks: int = 0

    @property
    def links(self) -> Links:
        """Its signed links that hold."""
        return Links(self.id, self.link_series)

    @property
    def is_closed(self) -> bool:
        """Whether it takes no more labels."""
        return self.state == "closed"

    @property
    def project_id(self) -> int:
        """Its Label Studio project.

        Raises
        ------
        UnknownCampaignError
            If it has none.
        """
        if self.project is None:
            raise UnknownCampaignError(
                f"{self.name!r} is a search that is not in Label Studio.", "Send it there from the search page."
            )
        return self.project

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """A campaign from a row of its table."""
        lists = {name: tuple(row[name]) for name in ("classes", "columns")}
        values = dict(row) | lists | {"rendering": Rendering.model_validate(row["rendering"])}
        return cls(project=values.pop("project_id"), **values)


@dataclass(frozen=True)
class ModelVersion:
    """An immutable model of a campaign.

    Attributes
    ----------
    weights : bytes or None
        A head on features.
    detector : str or None
        Digest of a detector in the store. Neither is there in a cold start, which ranks without a model.
    """

    version: str
    parent: str | None
    weights: bytes | None
    detector: str | None
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

    @property
    def answers(self) -> bool:
        """Whether there is a model to answer with."""
        return self.weights is not None or self.detector is not None


@dataclass(frozen=True)
class QueueTask:
    """A task waiting for a label, the stamp it shows, and the entropy, in nats, of the labels it has."""

    task_id: int
    stamp_set: str
    stamp_id: int
    audit: bool
    disagreement: float = 0.0
