"""`galaxyloop pretrain`: adapt the LVM to a user's own stamps."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from backend_ml.cli.options import Json
from backend_ml.console import errors, reported, show
from lvm_training.progress import progress_bar


def pretrain(
    stamps: Annotated[list[Path], typer.Argument(help="Stamp sets (HDF5), labelled or not.")],
    init: Annotated[Path | None, typer.Option(help="Folder of the checkpoint to adapt; else random weights.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the new checkpoint.")] = Path("build/adapted"),
    steps: Annotated[int | None, typer.Option(help="Optimiser steps; else five epochs, 50 to 2,000.", min=1)] = None,
    batch: Annotated[int | None, typer.Option(help="Stamps a step and process; else 64.", min=1)] = None,
    preset: Annotated[str | None, typer.Option(help="Size of a model with random weights; else nano.")] = None,
    params: Annotated[Path | None, typer.Option(help="Parameter file; its section `pretrain` says how.")] = None,
    as_json: Json = False,
) -> None:
    """Adapt a checkpoint to your own stamps, without labels; a killed run that is started again goes on.

    Under torchrun all processes and machines train together; they must see the same folders.
    """
    from lvm_training.model.ranks import leads
    from lvm_training.params import load_params
    from lvm_training.pretraining.adaptation import Wishes, adapt

    with reported():
        section = None if params is None else load_params(params).pretrain
        wishes = Wishes(init=init, preset=preset, params=section, steps=steps, batch=batch)
        if leads():
            _warn(stamps)
        with progress_bar("Training", shown=leads()) as progress:
            adaptation = adapt(stamps, out, wishes, progress=progress)
    if leads():
        show(asdict(adaptation), as_json=as_json)


def _warn(paths: list[Path]) -> None:
    """Say what the sets do not allow."""
    from lvm_training.pretraining.sets import TrainingStamps

    stamps = TrainingStamps(paths)
    pictures, rows = stamps.kinds.count("as-delivered"), len(stamps.outside_test())
    stamps.close()
    if pictures:
        errors().print(
            f"{pictures} of {len(paths)} sets hold pictures, not fluxes: they are degraded as if this model's "
            "rendering had made them.",
            highlight=False,
        )
    if rows < 10:
        errors().print("Of fewer than 10 stamps none is kept aside, so no loss is measured.", highlight=False)
