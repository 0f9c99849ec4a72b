"""`galaxyloop up`: every server on this machine, for real work."""

from typing import Annotated

import typer

from backend_ml.cli.options import Home
from backend_ml.console import console, reported


def up(
    home: Home = None,
    port: Annotated[
        int | None, typer.Option(help="Of the backend and its pages; as the time before, or 9090.", min=1, max=65535)
    ] = None,
    label_studio_port: Annotated[
        int | None, typer.Option(help="Of Label Studio; as the time before, or 8080.", min=1, max=65535)
    ] = None,
) -> None:
    """Start PostgreSQL, Label Studio, backend and worker on what was there before; Ctrl-C stops them.

    Other commands find these servers' settings in the data folder.
    """
    from backend_ml.local.foreground import announce, in_terminal, stay
    from backend_ml.local.label_studio import find_label_studio
    from backend_ml.settings import Settings

    with reported():
        settings = Settings() if home is None else Settings(home=home)
        program = find_label_studio(settings.label_studio_bin)
        with in_terminal(
            settings.home, backend_port=port, label_studio_port=label_studio_port, program=program
        ) as servers:
            console().rule("Galaxy Loop is up")
            announce(servers)
            stay(servers)
