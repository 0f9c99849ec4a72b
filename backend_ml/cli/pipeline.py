"""`galaxyloop pipeline`: the clone in which workers train encoders as experiments of DVC."""

from pathlib import Path
from typing import Annotated

import typer

from backend_ml.cli.options import Json
from backend_ml.console import reported, show
from lvm_training.progress import progress_bar

app = typer.Typer(help="The clone in which workers train encoders as experiments of DVC.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """The clone in which workers train encoders as experiments of DVC."""


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The clone; one that is there already is looked through again.")],
    repo: Annotated[str, typer.Option(help="What is cloned: a git checkout of Galaxy Loop, or an address.")] = ".",
    remote: Annotated[
        str | None, typer.Option(help="Where DVC pushes what accepted experiments made: a folder, s3://...")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="A cache of DVC that is shared; by default its own.")] = None,
    as_json: Json = False,
) -> None:
    """Make a clone of Galaxy Loop ready for experiments; GALAXYLOOP_PIPELINE_REPO names it to the workers."""
    from backend_ml.experiments.prepare import prepare
    from backend_ml.experiments.repository import Pipeline

    with reported():
        missing = prepare(folder, repo, progress_bar, remote=remote, cache=cache)
        pipeline = Pipeline(folder.absolute())
        told = {
            "folder": pipeline.root,
            "commit": pipeline.baseline(),
            "missing": missing or None,
            "then": f"GALAXYLOOP_PIPELINE_REPO={pipeline.root} for every worker of the queue `gpu`",
        }
    show({name: value for name, value in told.items() if value is not None}, as_json=as_json)
