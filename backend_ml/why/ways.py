"""Where the page of a galaxy leads: its task, the sky around it, and the galaxy that comes next."""

from pydantic import BaseModel

from backend_ml.kinds.models import Stamp
from backend_ml.label_studio import labelling
from backend_ml.queue import selections
from backend_ml.queue.push import waiting_tasks
from backend_ml.settings import Settings
from backend_ml.store.database import Connection
from backend_ml.store.records import Campaign
from backend_ml.store.stamps import StampSets
from backend_ml.why.neighbours import called


class Ways(BaseModel):
    """Addresses, each None where there is nothing to lead to.

    Attributes
    ----------
    task : str or None
        Its task in Label Studio.
    search : str or None
        The search page, of a search.
    viewer : str or None
        The Legacy Surveys viewer, where its position is known.
    next, next_name : str or None
        The page of the galaxy that comes after it, and what that is called.
    """

    task: str | None = None
    search: str | None = None
    viewer: str | None = None
    next: str | None = None
    next_name: str | None = None


def find_ways(
    connection: Connection, campaign: Campaign, stamp: Stamp, task: int | None, sets: StampSets, settings: Settings
) -> Ways:
    """Where the page of a stamp leads; `task` is the one that shows it."""
    stamps, row = sets.holding(*stamp), stamp[1]
    columns = {name: values[row] for name, values in labelling.catalogue_columns(stamps).items()}
    after = next_stamp(connection, campaign, stamp)
    label_studio = (settings.label_studio_public_url or settings.label_studio_url).rstrip("/")
    return Ways(
        task=None if task is None else f"{label_studio}/projects/{campaign.project}/data?task={task}",
        search=f"{settings.public_url.rstrip('/')}/explore/{campaign.id}" if campaign.kind == "interest" else None,
        viewer=labelling.legacy_url(columns),
        next=None if after is None else labelling.why_url(after, campaign.links, settings),
        next_name=None if after is None else called(sets, after),
    )


def next_stamp(connection: Connection, campaign: Campaign, stamp: Stamp) -> Stamp | None:
    """The stamp that comes after one: in the queue, where it has a task, or else in the newest round of a search.

    The first of them comes after one that waits for nothing, and after the last.
    """
    if campaign.project is None:
        made = selections.latest(connection, campaign, "round")
        order = (
            [] if made is None else [(one.stamp_set, one.stamp_id) for one in selections.stamps_of(connection, made.id)]
        )
    else:
        tasks = {task.task_id: (task.stamp_set, task.stamp_id) for task in waiting_tasks(connection, campaign)}
        order = [tasks[task] for task in selections.in_order(connection, campaign, tasks)]
    after = order[order.index(stamp) + 1 :] if stamp in order else []
    return next((one for one in [*after, *order] if one != stamp), None)
