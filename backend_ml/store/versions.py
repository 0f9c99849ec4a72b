"""The model registry: immutable versions, and which of them serves."""

import hashlib
from collections.abc import Sequence
from typing import Any

from psycopg.types.json import Jsonb

from backend_ml.store.database import Connection, query
from backend_ml.store.records import Campaign, ModelVersion
from lvm_training.errors import GalaxyLoopError

PROMOTED, ROLLED_BACK = "promoted by hand", "rolled back"  # reasons of a promotion, where somebody chose the version


class VersionError(GalaxyLoopError):
    """A model version that does not exist or cannot be taken."""

    code = "unknown_version"


def version_name(kind: str, encoder: str, weights: bytes, classes: Sequence[str]) -> str:
    """`<kind>-<12 hex>`: SHA-256 of the encoder's digest (which covers the rendering), head weights and classes."""
    state = hashlib.sha256(f"{encoder}\0{chr(0).join(classes)}\0".encode())
    state.update(weights)
    return f"{kind}-{state.hexdigest()[:12]}"


def add_version(connection: Connection, campaign: Campaign, **values: Any) -> None:
    """Store a version (columns of `model_version`); one that is there already stays as it was.

    Without `weights` and `detector` it is a cold start.
    """
    model = {"weights": None, "detector": None}
    query(connection, "put_version", campaign=campaign.id, **{**model, **values, "metrics": Jsonb(values["metrics"])})


def active_version(connection: Connection, campaign: Campaign) -> ModelVersion | None:
    """The version that serves; None before the first promotion."""
    rows = query(connection, "active_version", campaign=campaign.id)
    return ModelVersion.from_row(rows[0]) if rows else None


def is_by_hand(connection: Connection, campaign: Campaign) -> bool:
    """Whether somebody chose the version that serves, by promoting it or by rolling back."""
    served = query(connection, "promotions", campaign=campaign.id)
    return bool(served) and served[0]["reason"] in (PROMOTED, ROLLED_BACK)


def promote(connection: Connection, campaign: Campaign, version: str, reason: str) -> None:
    """Make a stored version the active one, and tell every process when the transaction commits.

    The campaign's encoder becomes the version's: the two change together, or neither does.

    Raises
    ------
    VersionError
        If the campaign has no such version.
    """
    query(connection, "lock_campaign", campaign=campaign.id)
    known = [row["version"] for row in query(connection, "versions", campaign=campaign.id)]
    if version not in known:
        raise VersionError(
            f"Campaign {campaign.name!r} has no version {version!r}.",
            f"`galaxyloop model list '{campaign.name}'` shows them.",
        )
    query(connection, "promote", campaign=campaign.id, version=version, reason=reason)
    query(connection, "serve_encoder", campaign=campaign.id, version=version)
    query(connection, "announce", campaign=str(campaign.id))


def rollback(connection: Connection, campaign: Campaign) -> str:
    """Promote the version that served before the active one; its name.

    Rolling back twice goes two versions back: a version once rolled away from is not returned to.

    Raises
    ------
    VersionError
        If nothing served before.
    """
    # what served before is read when nobody is about to promote another one
    query(connection, "lock_campaign", campaign=campaign.id)
    served: list[str] = []
    for row in reversed(query(connection, "promotions", campaign=campaign.id)):
        if row["reason"] == ROLLED_BACK:
            served.pop()
        else:
            served.append(row["version"])
    if len(served) < 2:
        raise VersionError(f"Campaign {campaign.name!r} has no earlier version.", "There is nothing to roll back to.")
    promote(connection, campaign, served[-2], ROLLED_BACK)
    return served[-2]
