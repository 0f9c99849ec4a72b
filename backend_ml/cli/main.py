"""The `galaxyloop` command line.

What only one command needs is imported by that command: torch and its friends take seconds.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from backend_ml.cli import campaign, data, demo, detect, explore, pretrain, replay, search
from backend_ml.cli import model as cli_model
from backend_ml.console import log_to_stderr, reported, show
from backend_ml.local import data_folder
from backend_ml.settings import Settings
from lvm_training.progress import progress_bar


class Queue(StrEnum):
    """Queues of jobs."""

    DEFAULT = "default"
    GPU = "gpu"


app = typer.Typer(
    help="Label galaxies with a large vision model in Label Studio.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(data.app, name="data")
app.add_typer(campaign.app, name="campaign")
app.add_typer(cli_model.app, name="model")
app.command("pretrain")(pretrain.pretrain)
app.command("detect")(detect.detect)
app.command("search")(search.search)
app.command("explore")(explore.explore)
app.command("replay")(replay.replay)
app.command("demo")(demo.demo)


@app.callback()
def configure(
    log: Annotated[str, typer.Option(help="Least severe log lines shown: debug, info, warning.")] = "warning",
) -> None:
    """Every command reads its settings from GALAXYLOOP_* environment variables: docs/reference/settings.md."""
    log_to_stderr(log)


@app.command()
def embed(
    stamps: Annotated[Path, typer.Argument(help="A stamp set (HDF5).")],
    encoder: Annotated[Path, typer.Option(help="Folder of the encoder's checkpoint.")] = Path("models/lvm-nano"),
    out: Annotated[
        Path | None, typer.Option(help="Folder of the feature shard; default: where campaigns and searches read it.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Stamps a forward pass.", min=1)] = 128,
    views: Annotated[int, typer.Option(help="Symmetries averaged over; 1 is fastest.", min=1, max=8)] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compute the LVM features of every stamp of a set; goes on where an interrupted run stopped.

    `unobserved` counts stamps without a finite pixel: their features are those of empty sky.
    """
    from lvm_training.model.encoder import Encoder
    from lvm_training.pool.embedding import embed_set, features_path
    from lvm_training.stamps.stampset import StampSet

    with reported(), StampSet(stamps) as opened, progress_bar(f"Embedding {opened.name}") as progress:
        model = Encoder.load(encoder, views)
        folder = out or Settings().features_folder
        made = embed_set(opened, model, folder, batch=batch, progress=progress).origin
        path = features_path(opened, model, folder)
    values = {"features": str(path), "stamps": made.rows, "width": made.width, "encoder": made.encoder}
    values["unobserved"] = made.unobserved
    show(values | ({"warning": made.warning} if made.warning else {}), as_json=as_json)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 9090,
) -> None:
    """Run the ML backend; without GALAXYLOOP_DATABASE_URL it brings an embedded PostgreSQL along."""
    import uvicorn

    from backend_ml.app import create_app

    settings = Settings()
    with reported(), data_folder.serve_database(settings) as url:
        uvicorn.run(create_app(settings, url), host=host, port=port, log_level="warning", timeout_graceful_shutdown=5)


@app.command()
def worker(
    queue: Annotated[
        list[Queue] | None, typer.Option(help="Take only these jobs: gpu is fine-tunings, default all else.")
    ] = None,
) -> None:
    """Run a worker: takes in labels, refits heads, fine-tunes detectors, pushes queues."""
    from backend_ml.worker import run_worker

    settings = Settings()
    with reported():
        run_worker(settings, data_folder.database_url(settings), [one.value for one in queue or ()])
