"""Whether Label Studio serves the ranking: when it would not, what can be mended, and what to tell the team.

Label Studio (community edition 1.23) serves by score only with uncertainty sampling, only among predictions of exactly
the project's version, and only while the project has one member at most. Otherwise it draws at random.
"""

from dataclasses import dataclass

import structlog

from backend_ml.label_studio.client import SAMPLING, LabelStudio
from backend_ml.label_studio.connection import LabelStudioError, condition
from backend_ml.label_studio.predictions import project_members
from backend_ml.queue import push
from backend_ml.store import versions
from backend_ml.store.campaigns import note
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign

log = structlog.get_logger(__name__)

FEWEST = 20  # ranked tasks that a small team labels before the next look


@dataclass(frozen=True)
class ServedOrder:
    """What decides the order in which Label Studio serves a project's tasks.

    Attributes
    ----------
    sampling, model_version : str
        The project's.
    overlap : int
        Labels that Label Studio collects of each task.
    members : int or None
        Rows of the project's members, if known; its own pages make none.
    ranked : int
        Waiting tasks with a prediction of the version that should be served.
    unscored : int
        Those of them whose prediction has no score.
    """

    sampling: str
    model_version: str
    overlap: int
    members: int | None
    ranked: int
    unscored: int


@dataclass(frozen=True)
class Fault:
    """A reason why the ranking is not served, and how it is mended: "set", "push" or "" for not at all.

    `about` names what is wrong: "sampling", "ranking", "version", "scores", "overlap" or "members".
    """

    about: str
    message: str
    mended_by: str = ""


def look(label_studio: LabelStudio, campaign: Campaign, version: str) -> ServedOrder:
    """Read what decides the order: four small requests.

    Raises
    ------
    LabelStudioError
        If Label Studio cannot be reached.
    """
    project = label_studio.call("GET", f"api/projects/{campaign.project_id}/")
    waiting = [
        condition("total_annotations", "less", "Number", campaign.overlap),
        condition("predictions_model_versions", "contains", "List", [version]),
    ]
    ranked = label_studio.count_tasks(campaign.project_id, waiting)
    # the score that Label Studio shows is of the version it serves
    served = ranked and project["model_version"] == version
    no_score = condition("predictions_score", "empty", "Number", True)
    return ServedOrder(
        project["sampling"],
        project["model_version"] or "",
        project["maximum_annotations"],
        project_members(label_studio.database_url, campaign.project_id),
        ranked,
        label_studio.count_tasks(campaign.project_id, [*waiting, no_score]) if served else 0,
    )


def faults(seen: ServedOrder, campaign: Campaign, version: str, waiting: int) -> list[Fault]:
    """Every reason why tasks are served at random or out of order.

    Parameters
    ----------
    version : str
        The version whose predictions carry the ranking.
    waiting : int
        Number of tasks that wait for a label.
    """
    found = []
    if seen.sampling != SAMPLING:
        found.append(Fault("sampling", f"The project's task sampling is {seen.sampling!r}, not {SAMPLING!r}.", "set"))
    if seen.ranked < min(waiting, FEWEST):
        found.append(
            Fault("ranking", f"Only {seen.ranked} of {waiting} waiting tasks have a place in the ranking.", "push")
        )
    elif seen.model_version != version:
        found.append(
            Fault("version", f"The project orders by model version {seen.model_version!r}, not {version!r}.", "set")
        )
    if seen.unscored:
        found.append(Fault("scores", f"{seen.unscored} predictions have no score.", "push"))
    if seen.overlap != campaign.overlap:
        found.append(
            Fault(
                "overlap",
                f"The project collects {seen.overlap} annotations a task, the campaign {campaign.overlap}:"
                " set it back in the project's quality settings.",
            )
        )
    if seen.members is not None and seen.members > 1:
        found.append(
            Fault(
                "members",
                f"The project has {seen.members} members, and Label Studio then draws tasks at random: remove them from"
                " the project, or order a Data Manager tab by prediction score and label the tasks as displayed.",
            )
        )
    return found


def keep(database: Database, label_studio: LabelStudio, campaign: Campaign, *, wait: bool = True) -> bool:
    """Mend what keeps the ranking from being served, and note on the campaign what cannot be; whether to push.

    Nothing is pushed meanwhile: the version set here would be older than the pushed one.

    Parameters
    ----------
    wait : bool
        Whether to wait for a push that is under way; without, all is left as it will be after that.

    Raises
    ------
    DatabaseError
        If its server cannot be reached.
    LabelStudioError
        If Label Studio cannot be reached.
    """
    with database.sole("try_lock_queue", wait=wait, campaign=campaign.id) as mine:
        return mine and _keep(database, label_studio, campaign, wait=wait)


def _keep(database: Database, label_studio: LabelStudio, campaign: Campaign, *, wait: bool) -> bool:
    with database.transaction() as connection:
        version = versions.active_version(connection, campaign)
        waiting = len(push.waiting_tasks(connection, campaign))
    if version is None:
        return False
    seen = look(label_studio, campaign, version.version)
    found = faults(seen, campaign, version.version, waiting)
    to_set = any(fault.mended_by == "set" for fault in found)
    mended = not to_set or _set_right(database, label_studio, campaign, seen, version.version, wait=wait)
    left = [fault.message for fault in found if not fault.mended_by or (fault.mended_by == "set" and not mended)]
    with database.transaction() as connection:
        note(connection, campaign.id, "serving", " ".join(left) or None)
    if found:
        log.info("serving", campaign=campaign.name, faults=[fault.message for fault in found], mended=mended)
    return any(fault.mended_by == "push" for fault in found)


def _set_right(
    database: Database, label_studio: LabelStudio, campaign: Campaign, seen: ServedOrder, version: str, *, wait: bool
) -> bool:
    """Set sampling, and the version if it has predictions to order by, as they should be; whether that was taken.

    Without `wait`, while somebody else changes the project, it is as if it were: the next look sees whether it is.
    """
    wanted = {"sampling": SAMPLING} | ({"model_version": version} if seen.ranked else {})
    try:
        with database.sole("try_lock_connection", wait=wait, campaign=campaign.id) as mine:
            if mine:
                label_studio.update_project(campaign.project_id, **wanted)
    except LabelStudioError as error:
        if error.status is None:
            raise
        return False
    return True
