"""`galaxyloop links`: signed links to pictures and pages, and how all of them are made worthless."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend_ml.cli.campaign.session import Session, session, whoever
from backend_ml.cli.options import Json
from backend_ml.console import print_json, show_rows, show_told
from lvm_training.progress import progress_bar

if TYPE_CHECKING:
    from backend_ml.store.records import Campaign

app = typer.Typer(help='Signed links to pictures and to "Why is this here?".', no_args_is_help=True)

TOLD = [
    ("Old links", ["open nothing any more, wherever somebody kept them."]),
    (
        "Label Studio",
        ["has new ones. Who has a task open there loads the page again to see its picture; a Submit counts."],
    ),
    ("Why pages", ["that are open stay, but load no more: they are opened from the task again."]),
    ("/status, /explore", ["go by who is signed in, and go on. `galaxyloop people sign-out --all` ends that."]),
    ("What was seen", ["a browser may keep for a day."]),
]


@app.callback()
def links() -> None:
    """Signed links to pictures and to "Why is this here?"."""


@app.command()
def rotate(
    name: Annotated[str | None, typer.Argument(help="Of this campaign alone; without it of all.")] = None,
    invitation: Annotated[
        bool, typer.Option("--invitation", help="End Label Studio's invitation link too, and tell the new one.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make all signed links worthless that were given until now, and give Label Studio's tasks new ones."""
    with session() as s:
        from backend_ml.campaign.status import find
        from backend_ml.store.campaigns import all_campaigns

        s.settings.require("secret")
        with s.database.transaction() as connection:
            chosen = all_campaigns(connection) if name is None else [find(connection, name)]
        # all of them before Label Studio is asked for anything
        rotated = [_rotated(s, campaign) for campaign in chosen]
        done: dict[str, Any] = {"campaigns": [_relinked(s, campaign) for campaign in rotated]}
        if invitation:
            done["invitation"] = s.label_studio.invite_url(renewed=True)
    if as_json:
        print_json(done)
        return
    show_rows(done["campaigns"], ["campaign", "state", "tasks"], as_json=False)
    show_told(TOLD + ([("Invitation", [done["invitation"]])] if invitation else []))


def _rotated(s: Session, campaign: "Campaign") -> "Campaign":
    from backend_ml.campaign.links import rotate

    with s.database.transaction() as connection:
        return rotate(connection, campaign, whoever())


def _relinked(s: Session, campaign: "Campaign") -> dict[str, Any]:
    import httpx

    from backend_ml.campaign.links import relink
    from backend_ml.label_studio.connection import LabelStudioError

    told = {"campaign": campaign.name, "state": campaign.state}
    try:
        with progress_bar(f"New links for {campaign.name}") as progress:
            return told | {"tasks": relink(s.settings, s.database, s.label_studio, campaign, progress)}
    except LabelStudioError as error:
        if error.status != httpx.codes.NOT_FOUND:
            raise
        return told | {"tasks": None, "state": f"{campaign.state}, its project is gone"}
