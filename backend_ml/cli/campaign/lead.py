"""`galaxyloop campaign`, what a leader changes of a campaign that runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend_ml.cli.campaign.session import session, transaction, whoever
from backend_ml.cli.options import Json, Name, Where, choose_rows
from backend_ml.console import reported, show
from lvm_training.progress import progress_bar

if TYPE_CHECKING:
    from backend_ml.leading.leader import Leader
    from backend_ml.store.records import Campaign

NAMES_WITHIN = 10.0  # seconds that a command waits for the names of Label Studio's users


@contextmanager
def leading(name: str) -> "Iterator[tuple[Leader, Campaign]]":
    """Whoever gives a command, as who changes the campaign of that name.

    What takes seconds to import is imported within, once settings, database and campaign are known to be there.
    """
    with session() as s:
        from backend_ml.campaign.status import find

        with s.database.transaction() as connection:
            found = find(connection, name)
        from backend_ml.leading.leader import Leader

        yield Leader(s.settings, s.database, s.label_studio, whoever()), found


def pause(name: Name, as_json: Json = False) -> None:
    """Let nothing be learned, ranked or imported until `resume`; labels are kept, and people may go on."""
    with transaction() as connection:
        from backend_ml.campaign.status import find
        from backend_ml.leading import running

        changed = running.pause(connection, find(connection, name), whoever())
        show({"campaign": name, "state": "paused", "changed": changed}, as_json=as_json)


def resume(name: Name, as_json: Json = False) -> None:
    """Let a paused campaign go on; a worker catches up on what came meanwhile."""
    with transaction() as connection:
        from backend_ml.campaign.status import find
        from backend_ml.leading import running

        changed = running.resume(connection, find(connection, name), whoever())
        show({"campaign": name, "state": "open", "changed": changed}, as_json=as_json)


def close(
    name: Name,
    lapse_links: Annotated[
        bool, typer.Option("--lapse-links", help="Show pictures only to who is signed in on the pages here.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Take in the last labels and disconnect the backend; the project and its pictures stay."""
    with leading(name) as (leader, found):
        from backend_ml.campaign import lifecycle

        lifecycle.close(leader.settings, leader.database, leader.label_studio, found, leader.name, lapse=lapse_links)
        show({"campaign": name, "state": "closed"}, as_json=as_json)


def reopen(name: Name, as_json: Json = False) -> None:
    """Connect a closed campaign to Label Studio again, and let it go on."""
    with leading(name) as (leader, found):
        from backend_ml.leading import running

        changed = running.reopen(leader, found)
        show({"campaign": found.name, "state": "open", "changed": changed}, as_json=as_json)


def change(
    name: Name,
    policy: Annotated[str | None, typer.Option(help="What decides which label is worth most from now on.")] = None,
    overlap: Annotated[int | None, typer.Option(help="Labels, of different people, that each task waits for.")] = None,
    instruction: Annotated[
        Path | None, typer.Option(help="File of HTML: what people read before they label.", exists=True, dir_okay=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Give a campaign another policy, overlap or instruction while it runs."""
    with leading(name) as (leader, found):
        from backend_ml.leading.terms import change_terms

        text = None if instruction is None else instruction.read_text(encoding="utf-8", errors="replace")
        new = change_terms(leader, found, policy=policy, overlap=overlap, instruction=text)
        show({"campaign": name, "changed": new}, as_json=as_json)


def set_aside(
    name: Name,
    person: Annotated[str, typer.Argument(help="E-mail address, name or id in Label Studio, or on the search page.")],
    back: Annotated[bool, typer.Option("--back", help="Let their labels count again.")] = False,
    as_json: Json = False,
) -> None:
    """Let one person's labels not count, or count again; nothing is deleted."""
    from backend_ml.campaign.status import find
    from backend_ml.labels.people import People
    from backend_ml.leading import people
    from backend_ml.settings import Settings

    with reported():
        known = People(Settings(), patience=NAMES_WITHIN)
        known.name(0)  # asks for all names, before a transaction begins
    with transaction() as connection:
        show(people.set_aside(connection, find(connection, name), person, whoever(), known, back=back), as_json=as_json)


def rename_class(
    name: Name,
    old: Annotated[str, typer.Argument(help="The class as it is called now.")],
    new: Annotated[str, typer.Argument(help="Its new name, or the class that it becomes a part of.")],
    undo: Annotated[bool, typer.Option("--undo", help="Take it back: what was OLD before NEW is OLD again.")] = False,
    as_json: Json = False,
) -> None:
    """Give a class another name, or make it a part of another; labels keep what was said, and count as NEW."""
    with leading(name) as (leader, found):
        from backend_ml.leading import classes

        act = classes.undo_rename if undo else classes.rename_class
        show({"campaign": name, **act(leader, found, old, new)}, as_json=as_json)


def add(
    name: Name,
    stamps: Annotated[Path, typer.Argument(help="A further stamp set, or one of the campaign's that has grown.")],
    where: Where = None,
    limit: Annotated[int | None, typer.Option(help="At most so many galaxies, drawn at random.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Draws them.")] = 0,
    as_json: Json = False,
) -> None:
    """Add galaxies to a campaign that runs: they are embedded, ranked with the rest, and a share is labelled blind."""
    with reported():
        from backend_ml.buckets import fetched

        stamps = fetched(stamps)
        rows = choose_rows(stamps, where or (), limit, seed)
    with leading(name) as (leader, found):
        from backend_ml.leading.galaxies import add_galaxies

        show({"campaign": name, **add_galaxies(leader, found, stamps, rows, progress_bar)}, as_json=as_json)
