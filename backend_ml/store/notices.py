"""What the team should know of a campaign: one notice a source, which nobody else sets or clears."""

from backend_ml.store.database import Connection, query


def note(connection: Connection, campaign_id: int, source: str, text: str | None) -> None:
    """Set a source's notice, which keeps its time while its text is the same; None clears it."""
    if text is None:
        query(connection, "clear_notice", campaign=campaign_id, source=source)
    else:
        query(connection, "put_notice", campaign=campaign_id, source=source, text=text.replace("\x00", "\\x00"))
