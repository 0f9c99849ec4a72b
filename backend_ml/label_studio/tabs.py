"""The tabs of a campaign in Label Studio's data manager: what to label next, what is labelled, what needs a look."""

from collections.abc import Mapping, Sequence
from typing import Any

from backend_ml.label_studio.client import LabelStudio
from backend_ml.label_studio.connection import condition
from backend_ml.label_studio.labelling import HIDDEN

QUEUE, LABELLED, SEVERAL, AUDIT = "Queue", "Labelled", "Several labels", "Audit slice"


def add_tabs(label_studio: LabelStudio, project: int, *, audit: bool, overlap: int) -> None:
    """Make the tabs of a project that has tasks, the queue first; columns of HTML or JSON are hidden in all.

    Parameters
    ----------
    audit : bool
        Whether there is an audit slice.
    overlap : int
        Labels that each task waits for; where it is one, no task has several.

    Raises
    ------
    LabelStudioError
        If Label Studio refuses.
    """
    columns = label_studio.call("GET", "api/dm/columns/", project=project)["columns"]
    waiting = condition("completed_at", "empty", "Datetime", True)
    done = condition("total_annotations", "greater", "Number", 0)
    tabs = [(QUEUE, [waiting], "tasks:predictions_score"), (LABELLED, [done], "-tasks:updated_at")]
    # the page knows no filter by a list of tasks, so that those in dispute alone cannot have a tab
    several = condition("total_annotations", "greater", "Number", 1)
    tabs += [(SEVERAL, [several], "-tasks:updated_at")] if overlap > 1 else []
    tabs += [(AUDIT, [condition("data.audit", "equal", "String", "audit")], "tasks:id")] if audit else []
    for title, conditions, order in tabs:
        data = {
            "title": title,
            "type": "list",
            "target": "tasks",
            "filters": {"conjunction": "and", "items": conditions},
            "ordering": [order],
            "hiddenColumns": {place: _hidden(columns, place) for place in ("explore", "labeling")},
        }
        label_studio.call("POST", "api/dm/views/", {"project": project, "data": data})


def _hidden(columns: Sequence[Mapping[str, Any]], place: str) -> list[str]:
    """Columns to hide in a list, or beside an open task: what Label Studio hides itself, and what nobody can read."""
    hidden = []
    for column in columns:
        ours, shown = column.get("parent") == "data", (column.get("visibility_defaults") or {}).get(place)
        if shown is False or (ours and column["id"] in HIDDEN):
            hidden.append(f"tasks:data.{column['id']}" if ours else f"tasks:{column['id']}")
    return hidden
