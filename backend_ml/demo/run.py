"""Runs a demo from the pipeline to the farewell, and leaves nothing running."""

import time
from pathlib import Path

import matplotlib as mpl
from rich.markup import escape

from backend_ml.console import console, print_json, tell
from backend_ml.demo import data, pipeline, rounds
from backend_ml.demo.data import DemoData
from backend_ml.demo.options import DemoOptions
from backend_ml.demo.rounds import Round
from backend_ml.local.servers import ADMIN, Servers, running
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
    console().rule("The pipeline: data and models")
    pipeline.reproduce(REPOSITORY, STAGES)
    material = _material(options)
    tell([*material.notes, *([f"{material.skipped} files cannot be used"] if material.skipped else [])])
    console().rule("The servers")
    with running(options.home, progress_bar) as servers:
        console().rule("The campaign")
        campaign, history = _campaign(servers, material, options)
        if history:
            rounds.report(history, options.home / f"{campaign.name.replace(' ', '-')}.png")
        if options.as_json:
            print_json([vars(entry) for entry in history])
        _farewell(servers, campaign, time.monotonic() - started)
        if not options.exit:
            _stay(servers)


def _material(options: DemoOptions) -> DemoData:
    if options.data is None:
        return data.simulated(REPOSITORY, options.tasks, options.seed)
    return data.real(
        options.data.absolute(),
        home=options.home,
        repository=REPOSITORY,
        labels=options.labels,
        column=options.column,
        missing=options.missing,
        tasks=options.tasks,
        seed=options.seed,
        steps=progress_bar,
    )


def _campaign(servers: Servers, material: DemoData, options: DemoOptions) -> tuple[Campaign, list[Round]]:
    with servers.database() as database, servers.label_studio() as astronomer, servers.colleague() as colleague:
        # the pipeline's model took a few steps on simulated stamps alone
        encoder = LVM_FOLDER if options.data is None else RELEASED_LVM
        campaign = rounds.create_campaign(servers, database, material, REPOSITORY / encoder, options.seed)
        if not material.truth or not options.rounds:
            return campaign, []
        annotators = [astronomer, colleague]
        return campaign, rounds.label_rounds(
            database, annotators, campaign, material, rounds=options.rounds, per_round=options.per_round
        )


def _farewell(servers: Servers, campaign: Campaign, seconds: float) -> None:
    with servers.label_studio() as label_studio:
        invitation = label_studio.invite_url()
    console().rule(f"Ready after {seconds:.0f} s")
    lines = {
        "Label galaxies": f"{servers.label_studio_server.url}/projects/{campaign.project_id}/data",
        "Lead": f"{servers.settings.public_url}/status/{campaign.id}",
        "Search": f"{servers.settings.public_url}/explore",
        "Sign in": f"{ADMIN} with password {servers.environment['GALAXYLOOP_TEAM_PASSWORD']}",
        "Invite others": invitation,
        "Command line": f"source {servers.home}/environment; galaxyloop campaign status '{campaign.name}'",
    }
    for title, text in lines.items():
        console().print(f"[bold]{title:<16}[/]{escape(text)}", highlight=False, soft_wrap=True)


def _stay(servers: Servers) -> None:
    console().print("Ctrl-C stops everything.", style="bold")
    try:
        while all(process.alive for process in (servers.backend, servers.worker, servers.postgres.process)):
            time.sleep(0.5)
        console().print("A server has ended; its log is in the data folder. Stopping the others.", style="bold red")
    except KeyboardInterrupt:
        console().print("\nStopping.")
