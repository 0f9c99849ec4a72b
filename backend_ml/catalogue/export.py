"""A campaign's labels for others: as a snapshot, a table of votes or of numbers, or as a COCO document."""

from pathlib import Path

from backend_ml.buckets import bring, here
from backend_ml.kinds.installed import kind_of
from backend_ml.kinds.kind import Coco, blamed
from backend_ml.store.database import Connection, query
from backend_ml.store.records import Campaign, CampaignError
from lvm_training.galaxy_zoo.vote_table import VoteTable
from lvm_training.parameters.number_table import NumberTable
from lvm_training.tables.snapshot import Snapshot


def object_labels(connection: Connection, campaign: Campaign, *, training: bool) -> Coco:
    """What people drew, as a COCO document (`kinds.exported_objects`), also what teaches nothing.

    Parameters
    ----------
    training : bool
        Only what a model would learn from: no audit slice.

    Raises
    ------
    CampaignError
        If people draw nothing in it.
    """
    kind = kind_of(campaign)
    with blamed(kind, "exporting"):
        found = kind.drawn(kind.read(connection, campaign), campaign, _sets(connection, campaign), training=training)
    if found is None:
        raise CampaignError(f"Campaign {campaign.name!r} has labels, not objects.", "Export them as CSV.")
    return found


def label_table(connection: Connection, campaign: Campaign, *, training: bool) -> VoteTable | NumberTable | None:
    """How many people gave each answer of a tree, or the numbers that they gave; None where they do neither.

    Parameters
    ----------
    training : bool
        Only what a head is fitted on: no audit slice.
    """
    exported = _exported(connection, campaign, training=training)
    return exported if isinstance(exported, VoteTable | NumberTable) else None


def training_labels(connection: Connection, campaign: Campaign) -> Snapshot:
    """The labels a head would be fitted on now, as a snapshot that the stage `train_morphology` reads.

    Raises
    ------
    CampaignError
        If it is a campaign of objects or of votes.
    """
    exported = _exported(connection, campaign, training=True)
    if isinstance(exported, VoteTable):
        raise CampaignError(f"Campaign {campaign.name!r} has votes, not labels.", "Export them as a vote table.")
    if isinstance(exported, NumberTable):
        raise CampaignError(f"Campaign {campaign.name!r} has numbers, not labels.", "Export them as a table.")
    if not isinstance(exported, Snapshot):
        raise CampaignError(f"Campaign {campaign.name!r} has objects, not labels.", "Export them as .json.")
    return exported


def _exported(
    connection: Connection, campaign: Campaign, *, training: bool
) -> Snapshot | Coco | VoteTable | NumberTable:
    kind, sets = kind_of(campaign), _sets(connection, campaign)
    with blamed(kind, "exporting"):
        return kind.export(kind.read(connection, campaign), campaign, sets, training=training)


def _sets(connection: Connection, campaign: Campaign) -> dict[str, Path]:
    """Where each stamp set is; those that the campaign shows are here."""
    shown = {row["stamp_set"] for row in query(connection, "campaign_sets", campaign=campaign.id)}
    known = {row["name"]: here(row["path"]) for row in query(connection, "stamp_sets")}
    return {name: bring(path) if name in shown else path for name, path in known.items()}
