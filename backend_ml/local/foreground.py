"""Servers in a terminal: where their pages are and how to sign in, until Ctrl-C or until one of them ends."""

import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.markup import escape

from backend_ml.console import console
from backend_ml.local import processes
from backend_ml.local.processes import ProcessError
from backend_ml.local.servers import ADMIN, Servers, running
from backend_ml.local.stopping import ended_by_signals
from backend_ml.settings import Settings
from backend_ml.store.campaigns import all_campaigns
from lvm_training.progress import progress_bar

SHOWN = 10  # campaigns, the newest


@contextmanager
def in_terminal(
    home: Path, *, backend_port: int | None = None, label_studio_port: int | None = None, program: Path | None = None
) -> Iterator[Servers]:
    """As `running`, with its progress shown; Ctrl-C ends this context in order, and a second one kills.

    Raises
    ------
    KeyboardInterrupt
        At the first SIGINT, SIGTERM or SIGHUP, wherever this process is by then.
    """
    servers = running(
        home, progress_bar, backend_port=backend_port, label_studio_port=label_studio_port, program=program
    )
    with ended_by_signals(partial(processes.kill_all, home.absolute())), servers as started:
        yield started
    console().print("Stopped.")


def announce(servers: Servers) -> None:
    """Print where each page is and who may sign in there, and which campaigns are served."""
    settings, password = servers.settings, servers.environment["GALAXYLOOP_TEAM_PASSWORD"]
    with servers.label_studio() as label_studio, servers.database() as database, database.transaction() as connection:
        invitation = label_studio.invite_url()
        served = [one for one in all_campaigns(connection) if one.state == "open" and one.project is not None]
    _line("Label", settings.label_studio_url, f"{ADMIN}, password {password}")
    _line("Search", f"{settings.public_url}/explore", f"any name, team password {password}; or a Label Studio token")
    _line("Lead", f"{settings.public_url}/status", "as on the search page; a Label Studio token to change a campaign")
    _line("Invite others", invitation, "they choose a password of their own")
    for campaign in served[-SHOWN:]:
        _line(campaign.name, f"{settings.label_studio_url}/projects/{campaign.project_id}/data")
    if len(served) > SHOWN:
        _line(f"and {len(served) - SHOWN} more", "galaxyloop campaign list")
    prefix = _prefix(servers.home)
    where = "in another terminal" + ("" if prefix else ", in this folder")
    _line("Commands", f"{prefix}galaxyloop campaign list", where)


def stay(servers: Servers) -> None:
    """Wait for Ctrl-C.

    Raises
    ------
    ProcessError
        If a server ends by itself.
    """
    console().print("Ctrl-C stops everything.", style="bold")
    watched = {"PostgreSQL": servers.postgres.process, "Label Studio": servers.label_studio_server.process}
    watched |= {"The backend": servers.backend, "The worker": servers.worker}
    try:
        while True:
            for name, process in watched.items():
                if not process.alive:
                    raise ProcessError(f"{name} has ended, so the others are stopped.", f"See {process.log}.")
            time.sleep(0.5)
    except KeyboardInterrupt:
        console().print("\nStopping; a second Ctrl-C kills.", style="bold")


def _prefix(home: Path) -> str:
    """What a command in another terminal needs before it, to find these servers' settings."""
    usual = Settings.model_fields["home"].default.absolute()
    return "" if home == usual and "GALAXYLOOP_HOME" not in os.environ else f"GALAXYLOOP_HOME={shlex.quote(str(home))} "


def _line(title: str, text: str, more: str = "") -> None:
    console().print(f"[bold]{escape(f'{title:<14}')}[/] {escape(text)}", highlight=False, soft_wrap=True)
    if more:
        console().print(f"{'':<14} {escape(more)}", highlight=False, soft_wrap=True)
