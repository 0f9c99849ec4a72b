"""Label events: webhooks wait in the inbox, a worker turns them into events, the current label is a view."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

import structlog
from psycopg.types.json import Jsonb
from pydantic import ValidationError

from backend_ml.database import Connection, query
from backend_ml.kinds.installed import offered
from backend_ml.kinds.kind import KindError
from backend_ml.records import Campaign, UnknownCampaignError
from backend_ml.regions import LabelConfigError, chosen
from backend_ml.wire import Annotation, Webhook

Source = Literal["webhook", "reconcile", "explore"]
log = structlog.get_logger(__name__)

CHANGES = {"ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_CREATED"}
DELETIONS = {"ANNOTATION_DELETED", "ANNOTATIONS_DELETED"}


def campaigns(connection: Connection) -> list[Campaign]:
    """All campaigns, oldest first."""
    return [Campaign.from_row(row) for row in query(connection, "campaigns")]


def campaign_of_id(connection: Connection, campaign_id: int) -> Campaign | None:
    """The campaign of an id, open or closed, if there is one."""
    return next((Campaign.from_row(row) for row in query(connection, "campaign_of_id", campaign=campaign_id)), None)


def campaign_of_project(connection: Connection, project: int | None) -> Campaign:
    """The campaign of a Label Studio project.

    Raises
    ------
    UnknownCampaignError
        If there is none.
    """
    for campaign in campaigns(connection):
        if project is not None and campaign.project == project:
            return campaign
    raise UnknownCampaignError(
        f"Project {project} belongs to no campaign here.", "Create one with `galaxyloop campaign create`."
    )


def receive(connection: Connection, body: dict[str, Any]) -> Webhook:
    """Put a webhook into the inbox as it came.

    Raises
    ------
    pydantic.ValidationError
        If it is no webhook of Label Studio's.
    UnknownCampaignError
        If its project has no campaign.
    """
    webhook = Webhook.model_validate(body)
    project = campaign_of_project(connection, webhook.project.id if webhook.project else None).project_id
    query(connection, "put_inbox", project=project, action=webhook.action, body=Jsonb(body))
    return webhook


def ingest(connection: Connection, *, limit: int = 500) -> set[int]:
    """Turn waiting webhooks into label events; the ids of the campaigns whose labels changed.

    A webhook that cannot be read keeps its row with the reason in `error`; the others go on.
    """
    changed: set[int] = set()
    for row in query(connection, "take_inbox", limit=limit):
        error = None
        try:
            with connection.transaction():
                campaign = campaign_of_project(connection, row["project_id"])
                if _apply(connection, campaign, Webhook.model_validate(row["body"])):
                    changed.add(campaign.id)
        except (ValidationError, UnknownCampaignError) as problem:
            error = str(problem)
            log.warning("webhook unreadable", inbox=row["id"], error=error)
        query(connection, "finish_inbox", id=row["id"], error=error)
    return changed


def _apply(connection: Connection, campaign: Campaign, webhook: Webhook) -> bool:
    """Append what a webhook says; whether any label changed."""
    if webhook.action in CHANGES:
        new = [record(connection, campaign, annotation, "webhook") for annotation in webhook.changed()]
        return any(new)
    if webhook.action in DELETIONS:
        gone = [annotation.id for annotation in webhook.annotations] + [a.id for a in webhook.changed()]
        return record_deletions(connection, campaign, gone, "webhook")
    if webhook.action == "TASKS_DELETED":
        query(connection, "delete_tasks", campaign=campaign.id, tasks=[task.id for task in webhook.tasks])
        return True
    return webhook.action == "START_TRAINING"


def record(connection: Connection, campaign: Campaign, annotation: Annotation, source: Source) -> bool:
    """Append an annotation's present state; False if that state is known already.

    A state that comes from the search page is noted as the page's, also where a webhook told of it first.
    """
    state = {"campaign": campaign.id, "annotation": annotation.id, "happened_at": annotation.updated_at}
    inserted = query(
        connection,
        "put_annotation_event",
        **state,
        action="skipped" if annotation.was_cancelled else "labelled",
        task=annotation.task,
        label=None if annotation.was_cancelled else chosen(annotation.result),
        annotator=annotation.completed_by,
        result=Jsonb(annotation.result),
        parent_prediction=annotation.parent_prediction,
        lead_time=annotation.lead_time,
        source=source,
    )
    if source == "explore" and not inserted:
        # the webhook's copy came first; whoever answered on the page must find the answer there to take it back
        query(connection, "note_given_on_page", **state)
    return bool(inserted)


def record_deletions(connection: Connection, campaign: Campaign, annotations: Iterable[int], source: Source) -> bool:
    """Append deletions, which are final whatever arrives later; False if all were known already."""
    inserted = [
        query(connection, "put_deletion", campaign=campaign.id, annotation=annotation, source=source)
        for annotation in annotations
    ]
    return any(inserted)


def check_label_config(connection: Connection, campaign: Campaign, label_config: str) -> None:
    """Note on the campaign what its head cannot answer in the project's present label config."""
    notice = None
    try:
        missing = sorted(set(campaign.classes) - set(offered(campaign, label_config)))
        if missing:
            notice = f"The label config no longer offers {', '.join(missing)}; these are predicted but not shown."
    except (LabelConfigError, KindError) as error:
        notice = str(error)
    if notice != campaign.notice:
        query(connection, "note_campaign", campaign=campaign.id, notice=notice)


def known_annotations(connection: Connection, campaign: Campaign) -> dict[int, datetime]:
    """The annotations that exist as far as the events say, with the time of their newest state."""
    rows = query(connection, "known_annotations", campaign=campaign.id)
    return {row["annotation_id"]: row["happened_at"] for row in rows}
