"""`galaxyloop demo`: the whole job with one command."""

from pathlib import Path
from typing import Annotated

import typer

from backend_ml.cli.options import Home, Missing, declared_missing
from backend_ml.console import reported


def demo(
    data: Annotated[Path | None, typer.Option(help="Your galaxies: a folder of pictures or FITS, or an .h5.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Table with `file` and a label column.")] = None,
    column: Annotated[str | None, typer.Option(help="The label column.")] = None,
    missing: Missing = None,
    tasks: Annotated[int, typer.Option(help="How many tasks.", min=10)] = 500,
    rounds: Annotated[int, typer.Option(help="Rounds of the simulated team.", min=0)] = 4,
    per_round: Annotated[int, typer.Option(help="Labels a round.", min=1)] = 24,
    home: Home = None,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    exit_: Annotated[bool, typer.Option("--exit", help="Stop when done, rather than at Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rounds as JSON too.")] = False,
) -> None:
    """As `up`, with a campaign that a simulated team of two labels.

    Galaxies of your own are labelled as your table says; without any, galaxies and models are those of the pipeline.
    """
    from backend_ml.settings import Settings

    with reported():
        place = (Settings() if home is None else Settings(home=home)).home.absolute()
        absent = declared_missing(missing)
        if data is not None:
            from backend_ml.demo.data import find_labels

            # before the pipeline trains for minutes
            find_labels(data, labels, column, absent)
        from backend_ml.demo.options import DemoOptions
        from backend_ml.demo.run import run

        run(DemoOptions(data, labels, column, absent, tasks, rounds, per_round, place, seed, exit_, as_json))
