"""Label events: webhooks wait in the inbox, a worker turns them into events."""

import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal

import structlog
from psycopg.types.json import Jsonb

from backend_ml.label_studio.regions.choices import CONTROLS, chosen, question_name
from backend_ml.label_studio.wire import Annotation, Deleted, Webhook
from backend_ml.labels import set_aside
from backend_ml.store.campaigns import all_campaigns, no_campaign
from backend_ml.store.database import Connection, query
from backend_ml.store.records import Campaign, UnknownCampaignError
from lvm_training.errors import GalaxyLoopError

EventSource = Literal["webhook", "reconcile", "explore"]
Control = Callable[[Campaign], str]
"""Names the one control tag whose choices are a campaign's labels; "" where those of any are."""
log = structlog.get_logger(__name__)

CHANGES = {"ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_CREATED"}
DELETIONS = {"ANNOTATION_DELETED", "ANNOTATIONS_DELETED"}
INGEST: dict[str, Any] = {
    "queue": "default",
    "task": "campaign:ingest",
    "lock": "events",
    "queueing_lock": "ingest",
    "priority": 1,
}
"""The job that takes the inbox in; one waits at most, and before jobs that take longer."""


class WebhookError(GalaxyLoopError):
    """A webhook that cannot be kept."""

    code = "malformed"


def receive(connection: Connection, body: dict[str, Any]) -> Webhook:
    """Put a webhook into the inbox as it came and have a worker look there, in one statement: Label Studio waits.

    What it says of annotations and tasks is read when it is ingested.

    Raises
    ------
    pydantic.ValidationError
        If it is no webhook of Label Studio's.
    UnknownCampaignError
        If its project has no campaign.
    WebhookError
        If it holds what PostgreSQL cannot store: NaN, infinities, the character U+0000, half of a surrogate pair. A
        transaction around it can only be rolled back then.
    """
    webhook = Webhook.model_validate(body)
    project = webhook.project.id if webhook.project else None
    try:
        kept = query(connection, "put_inbox", project=project, action=webhook.action, body=Jsonb(body), **INGEST)
    except Exception as error:
        if connection.closed or set_aside.will_pass(error):
            raise
        why = f"The body cannot be stored. {set_aside.reason(error)}"
        raise WebhookError(why, "Send JSON of finite numbers and whole characters.") from error
    if not kept:
        raise no_campaign(project)
    return webhook


def _any(campaign: Campaign) -> str:
    return ""


def ingest(connection: Connection, *, limit: int = 500, control: Control = _any) -> set[int]:
    """Turn waiting webhooks into label events; the ids of the campaigns whose labels changed.

    A webhook of which anything cannot be read keeps its row with the reason in `error`; the rest goes on.
    """
    changed: set[int] = set()
    of_project = {campaign.project: campaign for campaign in all_campaigns(connection)}
    for row in query(connection, "take_inbox", limit=limit):
        campaign, reasons = of_project.get(row["project_id"]), list[str]()
        act = partial(_take_in, connection, campaign, row["body"], reasons, control)
        new, why = set_aside.attempted(connection, act)
        if new and campaign is not None:
            changed.add(campaign.id)
        error = why or " ".join(reasons)[: set_aside.LONGEST] or None
        if error:
            log.warning("webhook set aside", inbox=row["id"], error=error)
        query(connection, "finish_inbox", id=row["id"], error=error)
    return changed


def _take_in(
    connection: Connection, campaign: Campaign | None, body: str, reasons: list[str], control: Control
) -> bool:
    """Append what a webhook says; whether any label changed. Why parts of it cannot be read is put into `reasons`."""
    if campaign is None:
        raise UnknownCampaignError("Its project belongs to no campaign any more.")
    webhook = Webhook.model_validate(json.loads(body))
    outcomes = [set_aside.attempted(connection, act) for act in _acts(connection, campaign, webhook, control)]
    reasons += [why for _, why in outcomes if why is not None]
    return any(new for new, _ in outcomes)


def _acts(connection: Connection, campaign: Campaign, webhook: Webhook, control: Control) -> list[Callable[[], bool]]:
    """What a webhook asks to be done, each to be tried on its own; each says whether a label changed."""
    if webhook.action in CHANGES:
        return [partial(_record, connection, campaign, body, control) for body in webhook.changed()]
    if webhook.action in DELETIONS:
        return [partial(_tell, connection, campaign, "annotation", body) for body in webhook.deleted()]
    if webhook.action == "TASKS_DELETED":
        return [partial(_tell, connection, campaign, "task", body) for body in webhook.deleted_tasks()]
    return [lambda: webhook.action == "START_TRAINING"]


def _record(connection: Connection, campaign: Campaign, body: Any, control: Control) -> bool:
    return record(connection, campaign, Annotation.model_validate(body), "webhook", control=control(campaign))


def _tell(connection: Connection, campaign: Campaign, what: str, body: Any) -> bool:
    """Keep what is said to be deleted until Label Studio confirms it; no label changes by that."""
    query(connection, "put_told_deleted", campaign=campaign.id, what=what, id=Deleted.model_validate(body).id)
    return False


def record(
    connection: Connection, campaign: Campaign, annotation: Annotation, source: EventSource, *, control: str = ""
) -> bool:
    """Append an annotation's present state; False if that state is known already.

    A state that comes from the search page is noted as the page's, also where a webhook told of it first.

    Parameters
    ----------
    control : str
        The one control tag whose choices are labels; "" takes those of any.
    """
    state = {"campaign": campaign.id, "annotation": annotation.id, "happened_at": annotation.updated_at}
    inserted = query(
        connection,
        "put_annotation_event",
        **state,
        action="skipped" if annotation.was_cancelled else "labelled",
        task=annotation.task,
        label=None if annotation.was_cancelled else _label(campaign, annotation, control),
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


def _label(campaign: Campaign, annotation: Annotation, control: str) -> str | None:
    question = question_name(campaign.label_config) if campaign.label_config else control
    if campaign.label_config or control:
        # what other questions of such a project offer may read the same
        return chosen([region for region in annotation.result if region.get("from_name") == question], question)
    known = (*campaign.classes, *campaign.renamed)
    return chosen(annotation.result, CONTROLS.get(campaign.kind, ""), known)


def record_deletions(
    connection: Connection, campaign: Campaign, annotations: Iterable[int], source: EventSource
) -> bool:
    """Append deletions, final unless Label Studio lists the annotation (`told.restore`); False if all were known."""
    inserted = []
    for annotation in annotations:
        set_aside.clear(connection, campaign, annotation)
        inserted += query(connection, "put_deletion", campaign=campaign.id, annotation=annotation, source=source)
    return bool(inserted)


def known_annotations(connection: Connection, campaign: Campaign) -> dict[int, int]:
    """The task of each annotation that exists as far as the events say."""
    rows = query(connection, "known_annotations", campaign=campaign.id)
    return {row["annotation_id"]: row["task_id"] for row in rows}
