"""Kinds whose labels are what annotations state, region by region: frozen as that, and made again from it."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

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


def _row(one: Answer) -> dict[str, Any]:
    """An answer as the query gave it. Starting labels have no annotation; the numbers of others tell nothing."""
    number = None if one.annotator == IMPORTED else 0
    kept = dict.fromkeys(("audit", "blind", "audited"), one.split == AUDIT)
    about = {"stamp_set": one.stamp_set, "stamp_id": one.stamp_id, "result": one.said, "annotator": None}
    return about | kept | {"annotation_id": number, "task_id": number}
