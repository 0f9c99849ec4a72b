"""The `galaxyloop` command line.

A command's module is imported when the command is named, and what only one command needs by that command: torch and
its friends take seconds.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from backend_ml.console import log_to_stderr, reported

COMMANDS = {
    "embed": (
        "backend_ml.cli.stamps.embed",
        "Compute the features of every stamp of some sets; goes on where an interrupted run stopped.",
    ),
    "data": ("backend_ml.cli.stamps.data", "Make stamp sets."),
    "campaign": ("backend_ml.cli.campaign.commands", "Campaigns in Label Studio."),
    "catalogue": (
        "backend_ml.cli.campaign.catalogue",
        "Write a campaign as a catalogue to publish: a row a galaxy, labelled or not; tell its class fractions.",
    ),
    "links": ("backend_ml.cli.links", 'Signed links to pictures and to "Why is this here?".'),
    "people": ("backend_ml.cli.people", "Who is signed in on the pages for people, and which names are taken."),
    "encoder": ("backend_ml.cli.encoder", "Encoders: ours, timm's, the hub's, ONNX files."),
    "model": ("backend_ml.cli.model", "Model versions of a campaign, and presets of the LVM."),
    "pretrain": (
        "backend_ml.cli.stamps.pretrain",
        "Adapt a checkpoint to your own stamps, without labels; a killed run that is started again goes on.",
    ),
    "detect": ("backend_ml.cli.stamps.detect", "Find arcs, deflectors and galaxies."),
    "measure": (
        "backend_ml.cli.stamps.measure",
        "Measure magnitude, half-light radius, Sersic index, axis ratio, position angle and redshift of every galaxy.",
    ),
    "restore": (
        "backend_ml.cli.stamps.restore",
        "Take the noise out of every stamp: same pixels, same units, same flux, with an error for each pixel.",
    ),
    "pipeline": ("backend_ml.cli.pipeline", "The clone in which workers train encoders as experiments of DVC."),
    "search": (
        "backend_ml.cli.stamps.search",
        "Find the stamps that look most like a stamp, an image, a position or the simulated, or like no other.",
    ),
    "explore": (
        "backend_ml.cli.explore",
        "Embed a stamp set and offer it on the search page, which `galaxyloop serve` shows under /explore.",
    ),
    "replay": ("backend_ml.cli.stamps.replay", "Replay a labelled set as if people labelled it, and compare policies."),
    "up": (
        "backend_ml.cli.servers.up",
        "Start PostgreSQL, Label Studio, backend and worker on what was there before; Ctrl-C stops them.",
    ),
    "doctor": (
        "backend_ml.cli.servers.doctor",
        "Check a running installation line by line; for each failure the command that mends it.",
    ),
    "backup": ("backend_ml.cli.servers.backup", "A whole installation in one file, and back."),
    "demo": (
        "backend_ml.cli.servers.demo",
        "As `up`, with a campaign that a simulated team of two labels.",
    ),
}
"""Where each command is: the module's `app`, or its function of the command's name; and its line in the list."""


class Commands(TyperGroup):
    """Commands that are listed without their modules, and imported when they are named."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, (_, line) in COMMANDS.items():
            self.add_command(TyperCommand(name, help=line))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that is named, and the arguments left for it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, imported(name) if name in COMMANDS else command, rest


@contextmanager
def importing() -> Iterator[None]:
    """Nobody looks for garbage meanwhile: among what stays, that takes a sixth of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def imported(name: str) -> Any:
    """A command or a group of commands, from its module."""
    with importing():
        module = import_module(COMMANDS[name][0])
    around = typer.Typer(rich_markup_mode=None, add_completion=False)
    if hasattr(module, "app"):
        around.add_typer(module.app, name=name)
    else:
        around.command(name)(getattr(module, name))
    return typer.main.get_group(around).commands[name]


class Queue(StrEnum):
    """Queues of jobs."""

    DEFAULT = "default"
    GPU = "gpu"
    EMBED = "embed"


app = typer.Typer(
    cls=Commands,
    help="Label galaxies with a large vision model in Label Studio.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    rich_markup_mode=None,  # rich takes as long to import as all else that --help needs
)


def _tell_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"galaxyloop {version('galaxyloop')}")
        raise typer.Exit


@app.callback()
def configure(
    log: Annotated[str, typer.Option(help="Least severe log lines shown: debug, info, warning.")] = "warning",
    log_json: Annotated[
        bool, typer.Option("--log-json", envvar="GALAXYLOOP_LOG_JSON", help="Log lines as JSON, for programs.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Tell the version.", callback=_tell_version, is_eager=True)
    ] = False,
) -> None:
    """Settings are GALAXYLOOP_* environment variables, or what `up` keeps: docs/reference/settings.md."""
    log_to_stderr(log, as_json=log_json)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 9090,
) -> None:
    """Run the ML backend; without GALAXYLOOP_DATABASE_URL it brings an embedded PostgreSQL along."""
    from backend_ml.settings import Settings

    with reported():
        settings = Settings()
    with importing():
        import uvicorn

        from backend_ml.app import create_app
        from backend_ml.local import data_folder

    with reported(), data_folder.serve_database(settings) as url:
        # uvicorn itself would believe whatever a caller from this host says of where it comes from
        uvicorn.run(
            create_app(settings, url),
            host=host,
            port=port,
            log_level="warning",
            proxy_headers=False,
            timeout_graceful_shutdown=5,
        )


@app.command()
def worker(
    queue: Annotated[
        list[Queue] | None,
        typer.Option(help="Take only these jobs: gpu is trainings, embed is `embed --jobs`, default all else."),
    ] = None,
) -> None:
    """Run a worker: takes in labels, refits heads, fine-tunes detectors and decoders, trains encoders, pushes queues.

    It also draws the simulated galaxies that a search begins with.
    """
    from backend_ml.settings import Settings

    with reported():
        settings = Settings()
        with importing():
            from backend_ml.label_studio.client import LabelStudio
            from backend_ml.local import data_folder
            from backend_ml.store.database import check_url

        url = data_folder.database_url(settings)
        check_url(url)
        LabelStudio.from_settings(settings).close()
        with importing():
            from backend_ml.worker import run_worker  # last: what learns takes seconds to import

        run_worker(settings, url, [one.value for one in queue or ()])
