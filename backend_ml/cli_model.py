"""`galaxyloop model`: the versions of a campaign's head, and which of them serves."""

from typing import Annotated

import typer

from backend_ml import campaign, jobs, registry
from backend_ml.cli_campaign import Json, Name, session
from backend_ml.console import show, show_rows
from backend_ml.database import query

app = typer.Typer(help="Model versions of a campaign.", no_args_is_help=True)


@app.command("list")
def list_(name: Name, as_json: Json = False) -> None:
    """Every version with its parent, labels and metrics; the active one is marked."""
    with session() as s, s.database.transaction() as connection:
        found = campaign.find(connection, name)
        active = registry.active_version(connection, found)
        rows = [
            {**row, "active": "*" if active and row["version"] == active.version else ""}
            for row in query(connection, "versions", campaign=found.id)
        ]
        columns = ["active", "version", "parent", "labels", "audit_labels", "metrics", "promoted_at"]
        show_rows(rows, columns, as_json=as_json)


@app.command()
def promote(
    name: Name, version: Annotated[str, typer.Argument(help="The version to serve.")], as_json: Json = False
) -> None:
    """Serve a version, whatever the gate said; the next refit may replace it."""
    with session() as s, s.database.transaction() as connection:
        found = campaign.find(connection, name)
        registry.promote(connection, found, version, "promoted by hand")
        jobs.defer_push(connection, found.id)
        show({"campaign": name, "active": version}, as_json=as_json)


@app.command()
def rollback(name: Name, as_json: Json = False) -> None:
    """Serve the version that served before; the next refit may replace it."""
    with session() as s, s.database.transaction() as connection:
        found = campaign.find(connection, name)
        version = registry.rollback(connection, found)
        jobs.defer_push(connection, found.id)
        show({"campaign": name, "active": version}, as_json=as_json)
