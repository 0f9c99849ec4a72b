"""`galaxyloop backup`: a whole installation in one file, and back."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from backend_ml.cli.options import Home, Json
from backend_ml.console import reported, show, tell
from lvm_training.progress import progress_bar

app = typer.Typer(help="A whole installation in one file, and back.", no_args_is_help=True)
Backup = Annotated[Path, typer.Argument(help="The backup's file.")]


@app.command()
def create(file: Annotated[Path, typer.Argument(help="A file that is not there yet.")], as_json: Json = False) -> None:
    """Write databases, store, stamp sets and Label Studio's uploads into one file; people may label meanwhile.

    It holds people's tokens, and is readable by its owner alone. The settings' own secrets are not in it.
    """
    from backend_ml.backup.create import create as make
    from backend_ml.settings import Settings

    with reported():
        manifest = make(file, Settings(), progress_bar)
    show({"file": str(file), "bytes": file.stat().st_size, **manifest.told()}, as_json=as_json)


@app.command("show")
def show_(
    file: Backup,
    verify: Annotated[bool, typer.Option("--verify", help="Read all of it, and compare every digest.")] = False,
    as_json: Json = False,
) -> None:
    """Tell what is in a backup: when it was made, of which campaigns, by which release."""
    from backend_ml.backup.archive import ArchiveReader
    from backend_ml.backup.load import verify as compare
    from backend_ml.backup.manifest import read_manifest

    with reported(), ArchiveReader(file) as archive:
        manifest = read_manifest(archive)
        if verify:
            compare(archive, manifest, progress_bar)
    show({**manifest.told(), **({"verified": True} if verify else {})}, as_json=as_json)


@app.command()
def load(
    file: Backup,
    home: Home = None,
    port: Annotated[
        int | None, typer.Option(help="Of the backend; as in the backup, if that is free.", min=1, max=65535)
    ] = None,
    label_studio_port: Annotated[
        int | None, typer.Option(help="Of Label Studio; as in the backup, if that is free.", min=1, max=65535)
    ] = None,
    stamps: Annotated[Path | None, typer.Option(help="Folder of the stamp sets; `stamps` in the data folder.")] = None,
    as_json: Json = False,
) -> None:
    """Make an installation of a backup, in an empty data folder or the empty databases that the settings name.

    Everything in it is verified first. Paths, addresses and secrets become those of the new place; then `galaxyloop up`
    starts it.
    """
    from backend_ml.backup.load import Target
    from backend_ml.backup.load import load as make
    from backend_ml.settings import Settings

    with reported():
        settings = Settings() if home is None else Settings(home=home)
        loaded = make(file, Target(settings, stamps, port, label_studio_port), progress_bar)
    told = {"data_folder": str(loaded.home), **loaded.manifest.told()}
    if loaded.administrator:
        told["administrator"] = loaded.administrator
    show(told, as_json=as_json)
    up = f"GALAXYLOOP_HOME={shlex.quote(str(loaded.home))} galaxyloop up"
    tell([up if settings.database_url is None else "Start backend and workers, then: galaxyloop doctor --fix"])
