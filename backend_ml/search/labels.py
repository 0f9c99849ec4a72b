"""Yes, no or unsure: kept as label events, and written to Label Studio where the stamp has a task there."""

from typing import Any

from backend_ml.campaign import defer
from backend_ml.kinds.installed import kind_of
from backend_ml.label_studio.client import LabelStudio
from backend_ml.label_studio.regions.choices import choice_region, find_choices
from backend_ml.labels import events
from backend_ml.settings import Settings
from backend_ml.sign_in.person import Person
from backend_ml.store.database import Connection, Database, query
from backend_ml.store.records import Campaign
from lvm_training.errors import GalaxyLoopError
from lvm_training.heads.preference import YES


class NothingToUndoError(GalaxyLoopError):
    """Nothing of this person's own to take back."""

    code = "nothing_to_undo"


class PersonLabels:
    """One person's labels in one search.

    Parameters
    ----------
    database : Database
        Keeps every label.
    settings : Settings
        Where Label Studio is.
    search : Campaign
        An open search.
    person : Person
        Whose labels these are; nobody else's are touched.
    """

    def __init__(self, database: Database, settings: Settings, search: Campaign, person: Person) -> None:
        self._database, self._settings, self._search, self._person = database, settings, search, person

    def put(self, stamp_id: int, label: str) -> None:
        """Label a stamp; what the person said of it before no longer counts.

        Raises
        ------
        LabelStudioError
            If the stamp has a task and Label Studio does not take the label; nothing is kept then.
        """
        task = self._task(stamp_id)
        if task is None or not self._person.token:
            with self._database.transaction() as connection:
                put_label(connection, self._search, self._person, stamp_id, label)
                self._learn(connection)
            return
        control = find_choices(kind_of(self._search).label_config())
        result = [{k: v for k, v in choice_region(control, label, 1.0).items() if k != "score"}]
        given = [row["annotation_id"] for row in self._own(stamp_id) if row["annotation_id"] is not None]
        with self._label_studio() as label_studio:
            if given:
                annotation = label_studio.update_annotation(given[0], result)
            else:
                annotation = label_studio.annotate(task, result)
        with self._database.transaction() as connection:
            events.record(connection, self._search, annotation, "explore")
            self._learn(connection)

    def withdraw(self, stamp_id: int) -> None:
        """Take back whatever the person said of a stamp.

        Raises
        ------
        NothingToUndoError
            If they said nothing of it; what others said stays.
        """
        own = self._own(stamp_id)
        if not own:
            raise NothingToUndoError(
                f"You have not labelled stamp {stamp_id}.", "Only your own labels can be taken back."
            )
        for row in own:
            self._take_back(stamp_id, row["annotation_id"])

    def undo(self) -> int:
        """Take back the person's latest label on this page; the stamp it was for.

        Raises
        ------
        NothingToUndoError
            If they have given none, or taken all back.
        """
        latest = next((row for row in self._own() if row["here"]), None)
        if latest is None:
            raise NothingToUndoError("There is no label of yours to take back.", "Those of others stay.")
        stamp_id = int(latest["stamp_id"])
        self._take_back(stamp_id, latest["annotation_id"])
        return stamp_id

    def _take_back(self, stamp_id: int, annotation: int | None) -> None:
        if annotation is not None:
            with self._label_studio() as label_studio:
                label_studio.delete_annotation(annotation)
        with self._database.transaction() as connection:
            if annotation is not None:
                events.record_deletions(connection, self._search, [annotation], "explore")
            else:
                put_label(connection, self._search, self._person, stamp_id, None)
            self._learn(connection)

    def _own(self, stamp_id: int | None = None) -> list[dict[str, Any]]:
        """The person's labels that count, the latest first."""
        who = {"person": self._person.name, "annotator": self._person.annotator}
        rows = self._database.rows("own_labels", campaign=self._search.id, stamp_set=self._search.stamp_set, **who)
        return [row for row in rows if stamp_id is None or row["stamp_id"] == stamp_id]

    def _task(self, stamp_id: int) -> int | None:
        if self._search.project is None:
            return None
        values = {"campaign": self._search.id, "stamp_set": self._search.stamp_set, "stamp_id": stamp_id}
        return next((int(row["task_id"]) for row in self._database.rows("task_of_stamp", **values)), None)

    def _label_studio(self) -> LabelStudio:
        return self._person.label_studio(self._settings)

    def _learn(self, connection: Connection) -> None:
        # the page fits a head of its own for each round; only a queue in Label Studio waits for one
        if self._search.project is not None:
            seconds = self._settings.refit_debounce
            defer.defer_learning(connection, self._search, asked=False, seconds=seconds)


def begin_with(database: Database, search: Campaign, person: Person, stamps: list[int]) -> None:
    """Label the stamps that a search begins with as wanted."""
    with database.transaction() as connection:
        for stamp_id in stamps:
            put_label(connection, search, person, stamp_id, YES)


def put_label(connection: Connection, search: Campaign, person: Person, stamp_id: int, label: str | None) -> None:
    """Keep what a person says of a stamp on the page; None takes it back."""
    values = {"stamp_set": search.stamp_set, "stamp_id": stamp_id, "label": label}
    who = {"annotator": person.annotator, "person": person.name}
    action = "labelled" if label else "withdrawn"
    query(connection, "put_label", campaign=search.id, action=action, **values, **who)
