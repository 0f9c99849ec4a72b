"""The row that a campaign is in the database."""

from collections.abc import Mapping, Sequence

from psycopg.types.json import Jsonb

from backend_ml.store.database import Connection, query
from backend_ml.store.records import Campaign
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
) -> Campaign:
    """Make a campaign over a registered stamp set; its attributes are those of `records.Campaign`.

    Raises
    ------
    psycopg.errors.UniqueViolation
        If its name or its project is taken.
    """
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
    )[0]
    return Campaign.from_row(row)
