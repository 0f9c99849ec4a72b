"""What leaders changed of a campaign: who, when, what."""

from typing import Any

from psycopg.types.json import Jsonb

from backend_ml.store.database import Connection, query
from backend_ml.store.records import Campaign


def log_change(connection: Connection, campaign: Campaign, person: str, what: str, **details: Any) -> None:
    """Log a change, in the transaction that makes it; `details` are JSON values."""
    query(connection, "put_change", campaign=campaign.id, person=person, what=what, details=Jsonb(details))
