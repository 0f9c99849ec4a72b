"""Kinds whose labels are what annotations state, region by region: frozen as that, and made again from it.

Some of them answer any label config that people write.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from backend_ml.kinds.kind import Kind, Labels, M, T
from backend_ml.labels.agreed import IMPORTED, Counted
from backend_ml.store.database import Connection, query
from backend_ml.store.records import Campaign, ModelVersion
from lvm_training.tables.frozen_labels import AUDIT, TRAINING, Answer, FrozenLabels


class ResultKind(Kind[T, M]):
    """A kind that says what rows of annotations come to; they are from the database, or were frozen.

    Attributes
    ----------
    rows : str
        The query that gives those that count.
    blind : str
        Its column that says which of them nothing is learned from.
    goes_on : bool
        Whether a fit goes on from the model that the campaign began with.
    """

    rows: ClassVar[str] = "object_labels"
    blind: ClassVar[str] = "audit"
    goes_on: ClassVar[bool] = False

    @abstractmethod
    def labels_of(self, rows: Sequence[Mapping[str, Any]], campaign: Campaign, first: ModelVersion | None) -> Labels[T]:
        """What rows of `rows` come to.

        Parameters
        ----------
        first : ModelVersion or None
            The version that the campaign began with, where a fit goes on from it.
        """

    def read(self, connection: Connection, campaign: Campaign) -> Labels[T]:
        """As `Kind.read`."""
        rows = query(connection, self.rows, campaign=campaign.id)
        begun = query(connection, "first_version", campaign=campaign.id) if self.goes_on else []
        first = ModelVersion.from_row(begun[0]) if begun else None
        last = query(connection, "last_event", campaign=campaign.id)[0]["id"]
        counted = Counted.of(rows, self.blind, results=True)
        return replace(self.labels_of(rows, campaign, first), last_event=last, first=first, counted=counted)

    def thaw(self, frozen: FrozenLabels, campaign: Campaign, first: ModelVersion | None) -> Labels[T]:
        """As `Kind.thaw`."""
        rows = [_row(one) for one in frozen.answers if one.split in (TRAINING, AUDIT)]
        return replace(self.labels_of(rows, campaign, first), first=first)


@dataclass(frozen=True)
class Taken:
    """What a kind answers of a label config that somebody wrote.

    Attributes
    ----------
    label_config : str
        That part of it (`records.Campaign`).
    names : tuple of str
        The control tags that are answered; questions first, and of these one that is always asked.
    field : str
        Where a task's data say what the picture is.
    unserved : tuple of str
        The other control tags, each with why no head answers it.
    remarks : tuple of str
        What to know of those that are answered.
    """

    label_config: str
    names: tuple[str, ...]
    field: str
    unserved: tuple[str, ...]
    remarks: tuple[str, ...]


class ConfigKind(ResultKind[T, M]):
    """A kind that answers label configs of people's own too."""

    @abstractmethod
    def taken(self, label_config: str, *, detector: bool, adopted: bool) -> Taken:
        """What of a label config that somebody wrote is answered, and why not the rest.

        Parameters
        ----------
        detector : bool
            Whether a detector of what is drawn is named.
        adopted : bool
            Whether it is of a project that was there before.

        Raises
        ------
        LabelConfigError
            If nothing of it can be.
        """

    @abstractmethod
    def serving(self, label_config: str, *, adopted: bool) -> Self:
        """This kind as it answers a label config that was taken, in place of its own."""


def _row(one: Answer) -> dict[str, Any]:
    """An answer as the query gave it. Starting labels have no annotation; the numbers of others tell nothing."""
    number = None if one.annotator == IMPORTED else 0
    kept = dict.fromkeys(("audit", "blind", "audited"), one.split == AUDIT)
    about = {"stamp_set": one.stamp_set, "stamp_id": one.stamp_id, "result": one.said, "annotator": None}
    return about | kept | {"annotation_id": number, "task_id": number}
