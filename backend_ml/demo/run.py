"""Runs a demo from its data to the farewell, and leaves nothing running."""

import time
from pathlib import Path

import matplotlib as mpl

from backend_ml.console import console, print_json, tell
from backend_ml.demo import data, pipeline, rounds
from backend_ml.demo.data import DemoData
from backend_ml.demo.options import DemoOptions
from backend_ml.demo.rounds import Round
from backend_ml.local.foreground import announce, in_terminal, stay
from backend_ml.local.label_studio import find_label_studio
from backend_ml.local.servers import Servers
from backend_ml.settings import Settings
from backend_ml.store.records import Campaign
from lvm_training.paths import LVM_FOLDER, RELEASED_LVM
from lvm_training.progress import progress_bar

REPOSITORY = Path(__file__).parents[2]
STAGES = ("embed", "train_morphology")


def run(options: DemoOptions) -> None:
    """Prepare, serve, label, report; then stay until Ctrl-C unless `options.exit`.

    Raises
    ------
    GalaxyLoopError
        Whatever keeps the demo from running, with what to do about it.
    """
    mpl.use("agg")
    started = time.monotonic()
    program = find_label_studio(Settings(home=options.home).label_studio_bin)
    material = _material(options)
    tell([*material.notes, *([f"{material.skipped} files cannot be used"] if material.skipped else [])])
    console().rule("The servers")
    with in_terminal(options.home, program=program) as servers:
        console().rule("The campaign")
        campaign, history = _campaign(servers, material, options)
        if history:
            rounds.report(history, options.home / f"{campaign.name.replace(' ', '-')}.png")
        if options.as_json:
            print_json([vars(entry) for entry in history])
        _farewell(servers, campaign, time.monotonic() - started)
        if not options.exit:
            stay(servers)


def _material(options: DemoOptions) -> DemoData:
    if options.data is None:
        console().rule("The pipeline: data and models")
        pipeline.reproduce(REPOSITORY, STAGES)
        return data.simulated(REPOSITORY, options.tasks, options.seed)
    return data.real(
        options.data.absolute(),
        home=options.home,
        labels=options.labels,
        column=options.column,
        missing=options.missing,
        tasks=options.tasks,
        seed=options.seed,
        steps=progress_bar,
    )


def _campaign(servers: Servers, material: DemoData, options: DemoOptions) -> tuple[Campaign, list[Round]]:
    with servers.database() as database, servers.label_studio() as astronomer:
        # the pipeline's model took a few steps on simulated stamps alone
        encoder = LVM_FOLDER if options.data is None else RELEASED_LVM
        campaign = rounds.create_campaign(servers, database, material, REPOSITORY / encoder, options.seed)
        if not material.truth or not options.rounds:
            return campaign, []
        with servers.colleague() as colleague:
            annotators = [astronomer, colleague]
            return campaign, rounds.label_rounds(
                database, annotators, campaign, material, rounds=options.rounds, per_round=options.per_round
            )


def _farewell(servers: Servers, campaign: Campaign, seconds: float) -> None:
    console().rule(f"Ready after {seconds:.0f} s")
    announce(servers)
    console().print(f"How it stands:  galaxyloop campaign status '{campaign.name}'", markup=False, soft_wrap=True)
