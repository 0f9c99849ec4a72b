"""What webhooks missed: Label Studio delivers each at most once, so the annotations themselves are read too."""

from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog
from pydantic import ValidationError

from backend_ml.campaign.defer import defer_learning
from backend_ml.kinds.installed import control_of, kind_of, offered
from backend_ml.kinds.kind import KindError, blamed
from backend_ml.label_studio.annotations import ListedAnnotation
from backend_ml.label_studio.client import LabelStudio
from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.label_studio.regions.choices import CONTROLS, LabelConfigError
from backend_ml.label_studio.renaming import former_choices
from backend_ml.labels import events, set_aside, told
from backend_ml.store.campaigns import log_change, note
from backend_ml.store.database import Connection, Database, query
from backend_ml.store.records import Campaign

log = structlog.get_logger(__name__)

OVERLAP = timedelta(minutes=2)  # clocks of the two hosts may differ


def reconcile(
    database: Database, label_studio: LabelStudio, campaign: Campaign, *, again: bool = False, ask: bool = False
) -> bool:
    """Append the label events that Label Studio knows and the campaign does not; whether any label counts anew.

    An annotation that cannot be read is set aside with the reason; with `again` those that are aside already are read
    anew. What webhooks said that could not be read is settled by this: Label Studio's own word is here. With `ask`, the
    transactions that change labels ask a worker to learn: whatever breaks off the rest loses nothing.

    One process at a time does it for a campaign. An annotation known before the listing and absent from it is taken as
    deleted.
    """
    with database.sole("try_lock_reconciliation", campaign=campaign.id):
        return _reconcile(database, label_studio, campaign, again=again, ask=ask)


def _reconcile(database: Database, label_studio: LabelStudio, campaign: Campaign, *, again: bool, ask: bool) -> bool:
    started = datetime.now(UTC)
    since = campaign.reconciled_at - OVERLAP if campaign.reconciled_at else None
    # first, since who may not read the project is told of every annotation that there is none
    project = label_studio.project(campaign.project_id)
    confirmed = _confirm(database, label_studio, campaign, started, ask=ask)
    with database.transaction() as connection:
        known = events.known_annotations(connection, campaign)
        aside = set_aside.annotations(connection, campaign)
        failed = [row["id"] for row in query(connection, "failed_inbox", project=campaign.project)]
        said = told.Told.read(connection, campaign, since)
    changed = list(label_studio.annotations_since(campaign.project_id, since))
    if again:
        changed += label_studio.annotations_of(campaign.project_id, sorted(set(aside.values())))
    held, gone = known | aside, set[int]()
    # reading every id costs milliseconds a task, the count of them one request
    if project.annotations != len(held.keys() | {annotation.id for annotation in changed}):
        gone, missed = _compared(label_studio, campaign, held, {annotation.id for annotation in changed})
        changed += missed
    late = said.unlisted(annotation.id for annotation in changed)
    checked = [*changed, *label_studio.annotations_of(campaign.project_id, sorted(late))]
    with database.transaction() as connection:
        set_aside.lock(connection, campaign)
        grown = check_label_config(connection, campaign, project.label_config)
        restored = told.restore(connection, campaign, said, {annotation.id for annotation in changed})
        refuted = told.refute(connection, campaign, said, _times(checked))
        added = [_record(connection, campaign, annotation) for annotation in changed]
        if aside.keys() & {annotation.id for annotation in changed}:
            _set_odd_aside(connection, campaign)
        removed = events.record_deletions(connection, campaign, known.keys() & gone, "reconcile")
        for annotation in aside.keys() & gone:
            set_aside.clear(connection, campaign, annotation)
        query(connection, "settle_inbox", ids=failed)
        query(connection, "reconciled", campaign=campaign.id, at=started)
        changed_labels = any(added) or removed or restored or refuted or grown
        if ask and changed_labels:
            defer_learning(connection, campaign, asked=False)
    if any(added) or removed:
        log.info("webhooks missed", campaign=campaign.name, added=sum(added), removed=removed)
    return changed_labels or confirmed


def _compared(
    label_studio: LabelStudio, campaign: Campaign, held: Mapping[int, int], listed: Set[int]
) -> tuple[set[int], list[ListedAnnotation]]:
    """Which of the annotations that are held are gone, and what Label Studio has that is neither held nor listed.

    Parameters
    ----------
    held : mapping
        The task of each.
    """
    there = label_studio.annotation_tasks(campaign.project_id)
    missing = held.keys() - there.keys()
    sought = label_studio.annotation_tasks(campaign.project_id, {held[annotation] for annotation in missing})
    unknown = {task for annotation, task in there.items() if annotation not in held and annotation not in listed}
    return missing - sought.keys(), list(label_studio.annotations_of(campaign.project_id, sorted(unknown)))


def _confirm(database: Database, label_studio: LabelStudio, campaign: Campaign, asked: datetime, *, ask: bool) -> bool:
    """Ask Label Studio for what webhooks said was deleted; whether a label is gone by that. As `reconcile`."""
    with database.transaction() as connection:
        said = told.told(connection, campaign)
    there = label_studio.annotation_tasks(campaign.project_id, set(said.annotations.values()))
    gone = said.confirmed(there.keys(), label_studio.existing_tasks(campaign.project_id, said.tasks))
    with database.transaction() as connection:
        set_aside.lock(connection, campaign)
        settled = told.settle(connection, campaign, gone, asked)
        if ask and settled:
            defer_learning(connection, campaign, asked=False)
    return settled


def _times(annotations: Iterable[ListedAnnotation]) -> dict[int, datetime]:
    """When each was last changed, as far as it can be read."""
    times = {}
    for annotation in annotations:
        with suppress(LabelStudioError, ValidationError):
            times[annotation.id] = annotation.read().updated_at
    return times


def _record(connection: Connection, campaign: Campaign, annotation: ListedAnnotation) -> bool:
    """Append an annotation's state, or set it aside; whether the state is new."""
    new, why = set_aside.attempted(
        connection,
        lambda: events.record(connection, campaign, annotation.read(), "reconcile", control=control_of(campaign)),
    )
    if why is None:
        set_aside.clear(connection, campaign, annotation.id)
    else:
        set_aside.put(connection, campaign, annotation.id, annotation.task, why)
        log.warning("annotation set aside", campaign=campaign.name, annotation=annotation.id, reason=why)
    return new


def _set_odd_aside(connection: Connection, campaign: Campaign) -> None:
    """Set aside what can be recorded and not learned, as learning does: no learning may follow."""
    # of a kind that cannot read anything the label config's check tells
    with suppress(KindError):
        kind = kind_of(campaign)
        with blamed(kind, "reading labels"):
            set_aside.put_all(connection, campaign, kind.read(connection, campaign).odd)


def check_label_config(connection: Connection, campaign: Campaign, label_config: str) -> bool:
    """Take in the classes that somebody added in the project's labelling settings; whether there are any.

    What the campaign and the label config still do not share is noted.
    """
    text, taken = None, False
    try:
        present = offered(campaign, label_config)
        missing = [name for name in campaign.classes if name not in present]
        renaming = _is_renaming(campaign, label_config, missing)
        new = [] if renaming else [name for name in present if name not in campaign.classes]
        why_not = _hindrance(campaign, new) if new else None
        if new and why_not is None:
            taken = _take_in(connection, campaign, new)
        if missing:
            text = f"The label config no longer offers {', '.join(missing)}; these are predicted but not shown. " + (
                # its owner's, of which nothing is changed here
                "Offer them again in the project's labelling settings."
                if campaign.label_config
                else f"If a class has another name now, say so: `galaxyloop campaign rename-class '{campaign.name}' OLD"
                " NEW`."
            )
        if why_not is not None:
            said = (
                f"The label config offers {', '.join(new)}: such labels are kept, and exported, but not learned from."
            )
            text = f"{text or ''} {said} {why_not}".strip()
    except (LabelConfigError, KindError) as error:
        text = str(error)
    note(connection, campaign.id, "label config", text)
    return taken


def _is_renaming(campaign: Campaign, label_config: str, missing: Sequence[str]) -> bool:
    """Whether a class is hidden as by `rename_class`, which tells Label Studio first: a new one is its new name."""
    if campaign.label_config or not missing:
        return False
    try:
        return bool(former_choices(label_config, *_control(campaign)) & set(missing))
    except LabelConfigError:  # of a kind that asks for numbers or stars
        return False


def _control(campaign: Campaign) -> tuple[str, tuple[str, ...]]:
    """By what the control tag of a campaign's classes is found."""
    return CONTROLS.get(campaign.kind, ""), campaign.classes


def _hindrance(campaign: Campaign, new: Sequence[str]) -> str | None:
    """Why a campaign cannot have more classes."""
    former = [name for name in new if name in campaign.renamed]
    if former:
        return f"{former[0]} was a class before, and counts as {campaign.renamed[former[0]]} now."
    if not all(name.strip() and name.isprintable() for name in new):
        return "A class needs a name of printable characters."
    classes = (*campaign.classes, *new)
    try:
        # a config that somebody brought has keys of its own, so it matters only whether the kind takes other classes
        kind_of(campaign).label_config(classes[-2:] if campaign.label_config else classes)
    except LabelConfigError as error:
        return str(error)
    return None


def _take_in(connection: Connection, campaign: Campaign, new: Sequence[str]) -> bool:
    """Give a campaign more classes, unless somebody changed them meanwhile; labels of these count from now on."""
    known = list(campaign.classes)
    taken = bool(query(connection, "add_classes", campaign=campaign.id, known=known, new=list(new)))
    if taken:
        log_change(connection, campaign, "Label Studio", "added classes", classes=list(new))
        query(connection, "announce", campaign=str(campaign.id))
    return taken
