"""A campaign's labels for others: as a snapshot, or as a COCO document."""

from typing import TYPE_CHECKING

from backend_ml.store.database import Connection
from backend_ml.store.records import Campaign, CampaignError
from lvm_training.heads.snapshot import Snapshot

if TYPE_CHECKING:
    from backend_ml.kinds.kind import Coco


def object_labels(connection: Connection, campaign: Campaign, *, training: bool) -> "Coco":
    """What people drew, as a COCO document; its pictures are named `stamp_set/stamp_id`.

    Parameters
    ----------
    training : bool
        Only what a model would learn from: no audit slice.

    Raises
    ------
    CampaignError
        If it is no campaign of objects.
    """
    exported = _exported(connection, campaign, training=training)
    if isinstance(exported, Snapshot):
        raise CampaignError(f"Campaign {campaign.name!r} has labels, not objects.", "Export them as CSV.")
    return exported


def training_labels(connection: Connection, campaign: Campaign) -> Snapshot:
    """The labels a head would be fitted on now, as a snapshot that the stage `train_morphology` reads.

    Raises
    ------
    CampaignError
        If it is a campaign of objects.
    """
    exported = _exported(connection, campaign, training=True)
    if not isinstance(exported, Snapshot):
        raise CampaignError(f"Campaign {campaign.name!r} has objects, not labels.", "Export them as .json.")
    return exported


def _exported(connection: Connection, campaign: Campaign, *, training: bool) -> "Snapshot | Coco":
    from backend_ml.kinds.installed import kind_of
    from backend_ml.kinds.kind import blamed

    kind = kind_of(campaign)
    with blamed(kind, "exporting"):
        return kind.export(kind.read(connection, campaign), campaign.classes, training=training)
