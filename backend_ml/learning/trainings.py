"""When a campaign's encoder is trained by itself, and what that waits for."""

import math

from backend_ml.labels.agreed import agreed_labels, snapshot
from backend_ml.learning.gate import FEWEST_AUDIT_LABELS
from backend_ml.store import versions
from backend_ml.store.database import Connection, query
from backend_ml.store.records import Campaign

GROWTH = 1.5  # times the labels of the last training that start the next one
GROWTH_AFTER_FAILURE = 1.1  # the same where it failed: whoever mends the reason does not wait long, nor is it for ever


def base_encoder(connection: Connection, campaign: Campaign) -> str:
    """Digest of the encoder that a campaign's trainings start from: its own, as it was before any of them."""
    return str(query(connection, "base_encoder", campaign=campaign.id)[0]["base"])


def needed_labels(connection: Connection, campaign: Campaign, fewest: int) -> tuple[int, bool]:
    """Labels from which on the next training begins, and whether the last one failed.

    Parameters
    ----------
    fewest : int
        Labels of the first training.
    """
    base = base_encoder(connection, campaign)
    rows = [row for row in query(connection, "encoder_trainings", campaign=campaign.id) if row["base"] == base]
    ended = query(connection, "last_encoder_run", campaign=campaign.id)
    goes_on = query(connection, "present_run", campaign=campaign.id, job="encoder")
    failed = bool(rows and rows[-1]["encoder"] is None and ended and ended[0]["outcome"] == "failed" and not goes_on)
    needed = fewest
    for row in rows:
        broke_off = row["encoder"] is None and (failed or row is not rows[-1])
        needed = max(needed, math.ceil(round((GROWTH_AFTER_FAILURE if broke_off else GROWTH) * row["labels"], 6)))
    return needed, failed


def audit_labels(connection: Connection, campaign: Campaign) -> int:
    """Labels of the audit slice that a new encoder can be judged on."""
    return len(snapshot(agreed_labels(connection, campaign), campaign.classes, audit=True))


def is_due(connection: Connection, campaign: Campaign, fewest: int) -> bool:
    """Whether a campaign whose kind trains encoders has labels enough: to learn from, and to judge by.

    Parameters
    ----------
    fewest : int
        Labels of the first training; 0 for none at all.
    """
    active = versions.active_version(connection, campaign)
    if not fewest or active is None or campaign.project is None:
        return False
    if active.labels < needed_labels(connection, campaign, fewest)[0]:
        return False
    return audit_labels(connection, campaign) >= FEWEST_AUDIT_LABELS


def hindrance(connection: Connection, campaign: Campaign, fewest: int) -> str | None:
    """Why a training of such a campaign does not begin that its labels would do for, as a sentence; None without one.

    Parameters
    ----------
    fewest : int
        As for `is_due`.
    """
    active = versions.active_version(connection, campaign)
    if not fewest or active is None or campaign.project is None or active.labels < fewest:
        return None
    needed, failed = needed_labels(connection, campaign, fewest)
    by_hand = f" `galaxyloop campaign encoder '{campaign.name}' --train` trains it now."
    if active.labels < needed:
        again = f"The encoder's training failed; it is tried again from {needed} labels on, there are {active.labels}."
        return again + by_hand if failed else None
    audited = audit_labels(connection, campaign)
    if audited >= FEWEST_AUDIT_LABELS:
        return None
    return (
        f"The encoder's training waits for the audit slice: {audited} of its stamps are labelled of the"
        f" {FEWEST_AUDIT_LABELS} by which a new encoder is judged.{by_hand}"
    )
