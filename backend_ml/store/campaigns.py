"""Campaigns in the database: make the row of one, find them; what leaders changed of one, and its notices."""

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg.types.json import Jsonb

from backend_ml.store.database import Connection, Database, query
from backend_ml.store.records import PICTURE_SIZE, Campaign, CampaignError, UnknownCampaignError
from lvm_training.stamps.rendering import Rendering


def add_campaign(
    connection: Connection,
    *,
    name: str,
    kind: str,
    classes: Sequence[str],
    stamp_set: str,
    encoder: str,
    rendering: Rendering,
    policy: str,
    project: int | None = None,
    audit_fraction: float = 0.0,
    seed: int = 0,
    overlap: int = 1,
    consensus: str = "majority",
    simulated: Mapping[str, str] | None = None,
    simulated_stamps: int = 0,
    label_config: str = "",
    adopted: bool = False,
    columns: Sequence[str] = (),
) -> Campaign:
    """Make a campaign over a registered stamp set; its attributes are those of `records.Campaign`.

    A closed campaign of the same name gives it up, and is told apart by a number from then on.

    Raises
    ------
    psycopg.errors.UniqueViolation
        If its name is that of a campaign which is not closed, or its project is taken.
    """
    query(connection, "yield_name", name=name)
    row = query(
        connection,
        "put_campaign",
        name=name,
        project_id=project,
        kind=kind,
        classes=list(classes),
        stamp_set=stamp_set,
        encoder=encoder,
        rendering=Jsonb(rendering.model_dump()),
        policy=policy,
        audit_fraction=audit_fraction,
        seed=seed,
        overlap=overlap,
        consensus=consensus,
        simulated=Jsonb(dict(simulated or {})),
        simulated_stamps=simulated_stamps,
        picture_size=PICTURE_SIZE,
        label_config=label_config,
        adopted=adopted,
        columns=list(columns),
    )[0]
    return Campaign.from_row(row)


def all_campaigns(connection: Connection) -> list[Campaign]:
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
    for campaign in all_campaigns(connection):
        if project is not None and campaign.project == project:
            return campaign
    raise no_campaign(project)


def no_campaign(project: int | None) -> UnknownCampaignError:
    """The error of a Label Studio project that has no campaign."""
    return UnknownCampaignError(
        f"Project {project} belongs to no campaign here.",
        f"Make it one with `galaxyloop campaign adopt {project or '...'}`; `galaxyloop campaign create` makes another.",
    )


def check_open(campaign: Campaign) -> None:
    """Raise a CampaignError if a campaign is closed: nothing of it changes."""
    if campaign.is_closed:
        raise _closed(campaign)


def still_open(database: Database, campaign: Campaign) -> Campaign:
    """A campaign as it is now.

    Raises
    ------
    CampaignError
        If it was closed or taken back meanwhile.
    """
    found = open_campaign(database, campaign.id)
    if found is None:
        raise _closed(campaign)
    return found


def _closed(campaign: Campaign) -> CampaignError:
    return CampaignError(f"{campaign.name!r} is closed.", "Open it with `galaxyloop campaign reopen`.")


def open_campaign(database: Database, campaign_id: int) -> Campaign | None:
    """The campaign of that number until it is closed."""
    with database.transaction() as connection:
        campaign = campaign_of_id(connection, campaign_id)
    return campaign if campaign is not None and not campaign.is_closed else None


def log_change(connection: Connection, campaign: Campaign, person: str, what: str, **details: Any) -> None:
    """Log a change, in the transaction that makes it; `details` are JSON values."""
    query(connection, "put_change", campaign=campaign.id, person=person, what=what, details=Jsonb(details))


def note(connection: Connection, campaign_id: int, source: str, text: str | None) -> None:
    """Set a source's notice, which nobody else sets or clears, and which keeps its time while its text is the same.

    None clears it.
    """
    if text is None:
        query(connection, "clear_notice", campaign=campaign_id, source=source)
    else:
        query(connection, "put_notice", campaign=campaign_id, source=source, text=text.replace("\x00", "\\x00"))
