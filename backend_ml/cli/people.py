"""`galaxyloop people`: who is signed in on the pages for people, and which names are taken there."""

from typing import Annotated

import typer

from backend_ml.cli.campaign.session import transaction
from backend_ml.cli.options import Json
from backend_ml.console import show, show_rows

app = typer.Typer(help="Who is signed in on the pages for people, and which names are taken.", no_args_is_help=True)
Person = Annotated[str, typer.Argument(help="A name, or an e-mail address in Label Studio.")]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Who is signed in and until when, and the names that devices hold."""
    from backend_ml.store.database import query

    with transaction() as connection:
        rows = [{**row, "what": "signed in"} for row in query(connection, "sessions")]
        rows += [
            {"person": row["name"], "begun_at": row["taken_at"], "ends_at": None, "what": "name held"}
            for row in query(connection, "held_names")
        ]
    show_rows(rows, ["person", "what", "begun_at", "ends_at"], as_json=as_json)


@app.command()
def sign_out(
    person: Annotated[str | None, typer.Argument(help="A name, or an e-mail address in Label Studio.")] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Everybody.")] = False,
    as_json: Json = False,
) -> None:
    """End the sessions of a person, or everybody's."""
    from backend_ml.store.database import query

    if (person is None) != everybody:
        raise typer.BadParameter("Name a person, or give --all.")
    with transaction() as connection:
        ended = query(connection, "end_sessions", person=person)
    show({"ended": len(ended)}, as_json=as_json)


@app.command()
def free(person: Person, as_json: Json = False) -> None:
    """Let another device take a name; who is signed in under it is signed out."""
    from backend_ml.sign_in.credentials import alike
    from backend_ml.sign_in.sessions import SignInError
    from backend_ml.store.database import query

    with transaction() as connection:
        freed = query(connection, "free_name", name=alike(person))
        if not freed:
            raise SignInError(f"No device holds the name {person}.", "See `galaxyloop people list`.")
        ended = [
            person
            for known in {row["person"] for row in query(connection, "sessions")}
            if alike(known) == alike(person)
            for _ in query(connection, "end_sessions", person=known)
        ]
    show({"freed": freed[0]["name"], "ended": len(ended)}, as_json=as_json)
