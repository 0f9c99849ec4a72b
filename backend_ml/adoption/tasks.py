"""Tasks by which a project and its campaign differ: the stamp that each new one names, or where its picture is."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from backend_ml.adoption.addresses import Address, AddressError, find_address, picture_text
from backend_ml.label_studio.client import CHUNK, LabelStudio
from backend_ml.queue.tasks import named_stamp
from backend_ml.store.database import Connection, Database, query
from backend_ml.store.records import Campaign
from backend_ml.store.stamps import StampSets, UnknownStampError
from lvm_training.errors import StampError

Stamp = tuple[str, int]
AUDIT = "audit"


@dataclass(frozen=True)
class UnknownTask:
    """A task that a campaign does not know; of `stamp`, `address` and `reason` one is there.

    Attributes
    ----------
    id : int
    stamp : tuple or None
        The registered stamp that its data name.
    address : Address or None
        Where its picture is.
    picture : str
        What its data say of where that is.
    reason : str
        Why it can be none of the campaign's.
    audit : bool
        Whether its data say that it is of the audit slice.
    untouched : bool
        Whether it has neither annotation nor prediction: only such a task can be labelled blind.
    """

    id: int
    stamp: Stamp | None = None
    address: Address | None = None
    picture: str = ""
    reason: str = ""
    audit: bool = False
    untouched: bool = False


@dataclass(frozen=True)
class KnownTask:
    """A task that a campaign knows, and where its picture was, if that was fetched."""

    picture: str | None
    deleted: bool

    def differs(self, picture: object) -> str:
        """Why a task that has its number by now is another one; "" if it is the same.

        The labels of a task are of the picture that it showed: whoever made it show another one would change these.
        """
        if self.deleted:
            return "its number was that of a task which was deleted; import it anew"
        if self.picture not in (None, picture):
            return "it shows another picture than it did, and its labels are of that one; import the new one as a task"
        return ""


@dataclass(frozen=True)
class Difference:
    """The tasks by which a project differs from what its campaign knows.

    Attributes
    ----------
    unknown : list of UnknownTask
        Those that the campaign does not know, by id.
    changed : list of UnknownTask
        Those that show another picture by now, by id.
    gone : set of int
        Those that it knows and the project does not have.
    """

    unknown: list[UnknownTask]
    changed: list[UnknownTask]
    gone: set[int]


def known_tasks(database: Database, campaign: Campaign | None) -> dict[int, KnownTask]:
    """The tasks that a campaign knows."""
    rows = [] if campaign is None else database.rows("known_tasks", campaign=campaign.id)
    return {row["task_id"]: KnownTask(row["picture"], row["deleted"]) for row in rows}


def differing_tasks(
    database: Database,
    label_studio: LabelStudio,
    project: int,
    campaign: Campaign | None,
    image: str,
    allowed: Collection[str] = (),
) -> Difference:
    """The tasks of a project that its campaign does not know, that are others by now, and that are no longer there.

    Parameters
    ----------
    image : str
        Key of a task's data that says where the picture is.
    allowed : collection of str
        Hosts that pictures may be fetched from, beside Label Studio's own.

    Raises
    ------
    LabelStudioError
        If Label Studio cannot be reached.
    """
    known = known_tasks(database, campaign)
    found, changed, there = list[UnknownTask](), list[UnknownTask](), set[int]()
    for task in _listed(label_studio, project):
        there.add(task["id"])
        before = known.get(task["id"])
        if before is None:
            found.append(_unknown(task, database.stamp_sets, label_studio.url, image, allowed))
        elif why := before.differs(task["data"].get(image)):
            (found if before.deleted else changed).append(UnknownTask(task["id"], reason=why))
    missing = {number for number, one in known.items() if not one.deleted and number not in there}
    # where one is deleted while pages are turned, another moves to a page that was read already
    return Difference(found, changed, missing - label_studio.existing_tasks(project, missing))


def _listed(label_studio: LabelStudio, project: int) -> Iterator[dict[str, Any]]:
    # as they are stored: addresses of storages are resolved when a picture is asked for
    return label_studio.data_manager(project, [], CHUNK, resolve_uri="false")


def _unknown(
    task: dict[str, Any], sets: StampSets, label_studio: str, image: str, allowed: Collection[str]
) -> UnknownTask:
    number, data = task["id"], task["data"]
    untouched = not (task["total_annotations"] or task["cancelled_annotations"] or task["total_predictions"])
    stamp = named_stamp(data)
    if stamp is not None and _is_there(sets, stamp):
        return UnknownTask(number, stamp, audit=data.get(AUDIT) == AUDIT)
    try:
        text = picture_text(data, image)
        address = find_address(text, label_studio, allowed, number)
    except AddressError as error:
        return UnknownTask(number, reason=error.message)
    return UnknownTask(number, address=address, picture=text, untouched=untouched)


def _is_there(sets: StampSets, stamp: Stamp) -> bool:
    try:
        sets.holding(*stamp)
    except (UnknownStampError, StampError):
        return False
    return True


def remember(
    connection: Connection,
    campaign: Campaign,
    tasks: Sequence[UnknownTask],
    rows: dict[int, Stamp],
    audit: Collection[int],
) -> None:
    """Note which stamp each task shows: the one that it names, or the one made of its picture."""
    for task in tasks:
        values: dict[str, Any] = {"campaign": campaign.id, "task": task.id}
        if task.stamp is not None:
            name, row = task.stamp
            blind = task.audit or task.id in audit
            query(connection, "put_task", **values, stamp_set=name, stamp_id=row, audit=blind)
        elif task.id in rows:
            name, row = rows[task.id]
            values |= {"stamp_set": name, "stamp_id": row, "picture": task.picture}
            query(connection, "put_adopted_task", **values, audit=task.id in audit)


def reasons(failures: dict[int, str]) -> list[str]:
    """Why tasks are left out: each reason with how many tasks have it, and the first of them; the most common first."""
    counts = Counter(failures.values())
    first = {why: task for task, why in sorted(failures.items(), reverse=True)}
    return [f"{count} tasks, first {first[why]}: {why}" for why, count in counts.most_common()]
