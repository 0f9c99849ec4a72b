"""Small real campaigns for the live tests."""

import functools
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import psycopg
import torch
from typer.testing import CliRunner

from backend_ml.campaign import lifecycle as campaigns
from backend_ml.campaign import status
from backend_ml.campaign.create import CampaignMaker
from backend_ml.campaign.plan import CampaignPlan
from backend_ml.catalogue import export
from backend_ml.cli.main import app
from backend_ml.demo import rounds
from backend_ml.demo.annotators import SimulatedAnnotators, Submission
from backend_ml.kinds.installed import find_kind
from backend_ml.label_studio.client import LabelStudio
from backend_ml.label_studio.regions.choices import find_choices
from backend_ml.labels import events
from backend_ml.local import processes
from backend_ml.local.servers import Servers
from backend_ml.queue import push, selections
from backend_ml.store.campaigns import campaign_of_id
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign, QueueTask
from lvm_training.model.lvm import LVM
from lvm_training.stamps.rendering import Rendering
from lvm_training.tables.snapshot import Snapshot
from tests.backend_ml.conftest import CLASSES
from tests.backend_ml.lenses import write_detector
from tests.backend_ml.sky import write_stamps
from tests.conftest import REPOSITORY
from tests.tiny_encoder import THIN, write_tiny

READY = "Ctrl-C stops everything."
"""What `up` and `demo` say once their servers are there, and nothing is left to do but to wait."""


@contextmanager
def silent(_: str) -> Iterator[Callable[[int, int], None]]:
    """A step that shows nothing."""
    yield lambda *_: None


def truth(_: str, stamp: int) -> str:
    """What the blobs of `write_stamps` are called."""
    return CLASSES[stamp % 5]


def choice(label: str) -> list[dict[str, object]]:
    """A result that answers a label, in a campaign of morphology."""
    name = find_choices(find_kind("morphology").label_config())
    return [{"from_name": name.name, "to_name": name.to_name, "type": "choices", "value": {"choices": [label]}}]


@functools.lru_cache(maxsize=1)
def encoder(folder: Path) -> Path:
    """An untrained encoder: it still tells blobs of different shape apart."""
    torch.manual_seed(0)
    return write_tiny(folder, Rendering(field=10.0), lvm=LVM(THIN).eval())


@contextmanager
def resting(installation: Servers) -> Iterator[None]:
    """The worker stands still between two jobs: one that is started anew loads its libraries for seconds."""
    busy = """
        SELECT FROM procrastinate_jobs
        WHERE status = 'doing' OR status = 'todo' AND (scheduled_at IS NULL OR scheduled_at <= now())
        LIMIT 1
    """
    worker = psutil.Process(installation.worker.pid)

    def stands_still() -> bool:
        worker.suspend()
        # on a connection of its own: what others hold open shows them an older state
        with psycopg.connect(installation.environment["GALAXYLOOP_DATABASE_URL"]) as connection:
            if connection.execute(busy).fetchone() is None:
                return True
        worker.resume()
        return False

    try:
        processes.wait_until(stands_still, 60, what="the worker to be between two jobs")
        yield
    finally:
        worker.resume()


@dataclass
class LiveCampaign:
    """A campaign on the running servers."""

    installation: Servers
    database: Database
    admin: LabelStudio
    colleague: LabelStudio
    campaign: Campaign

    @property
    def project(self) -> int:
        return self.campaign.project_id

    def team(self) -> SimulatedAnnotators:
        return SimulatedAnnotators([self.admin, self.colleague], self.project, truth)

    def status(self) -> dict[str, object]:
        with self.database.transaction() as connection:
            return status.campaign_status(connection, status.find(connection, self.campaign.name))

    def settle(self, submissions: list[Submission]) -> float:
        """Wait until submissions have gone into the served queue, and nothing is left to do; seconds of the former."""
        seconds = rounds.wait_for_queue(self.database, self.campaign, submissions)
        self.at_rest()
        return seconds

    def at_rest(self) -> None:
        """Wait until the worker has nothing left to do for the campaign: what is read then stays as it is."""
        text = (
            "SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
            " AND (task_name = 'campaign:ingest' OR args->>'campaign_id' = %s)"
        )

        def idle() -> bool:
            with self.database.transaction() as connection:
                return connection.execute(text, (str(self.campaign.id),)).fetchone() is None

        processes.wait_until(idle, 120, what="the worker to be done")

    def wait_for_annotations(self, count: int) -> None:
        """Wait until the campaign knows so many annotations."""
        processes.wait_until(lambda: len(self.annotations()) >= count, 120, what="the annotations to arrive")

    def waiting(self) -> list[QueueTask]:
        """The tasks that wait for a label."""
        with self.database.transaction() as connection:
            return push.waiting_tasks(connection, self.campaign)

    def answers(self) -> dict[int, list[dict[str, Any]]]:
        """The result that each waiting task shows to who labels it, once the worker has nothing left to do."""
        self.at_rest()
        version, waiting = self.status()["version"], {task.task_id for task in self.waiting()}
        return {
            task["id"]: one["result"]
            for task in self.admin.data_manager(self.project, [], fields="all")
            for one in task["predictions"]
            if task["id"] in waiting and one["model_version"] == version
        }

    def opened_anew(self, task: int) -> list[dict[str, Any]]:
        """The predictions of a task that is opened when it has lost its own: it is answered live."""
        # a push on its way would give it one as well
        self.at_rest()
        for row in self.admin.predictions(self.project):
            if row.task == task:
                self.admin.delete(f"api/predictions/{row.id}/")
        found: list[dict[str, Any]] = self.admin.call("GET", f"api/tasks/{task}/")["predictions"]
        return found

    def training(self) -> dict[int, str]:
        with self.database.transaction() as connection:
            labels = export.training_labels(connection, self.campaign)
        return {row: label for name, row, label in zip(labels.stamp_set, labels.stamp_id, labels.label, strict=True)}

    def wait_for_training(self, wanted: Callable[[dict[int, str]], bool]) -> None:
        processes.wait_until(lambda: wanted(self.training()), 120, what="the labels to arrive")

    def annotations(self) -> dict[int, object]:
        with self.database.transaction() as connection:
            return dict(events.known_annotations(connection, self.campaign))


def sky_of(name: str) -> float:
    """A right ascension of a campaign's own, degrees: what people labelled elsewhere on the sky is not shown again."""
    return zlib.crc32(name.encode()) % 350_000 / 1000


def plan(folder: Path, name: str, *, n: int = 60, labels: bool = True, audit: float = 0.1) -> CampaignPlan:
    """A campaign over `n` blobs, with two starting labels a class on ten more."""
    stamps = write_stamps(folder, n + 10, name.replace(" ", "_"), ra=sky_of(name))
    start = range(n, n + 10)
    notes = ["start.csv: 2 rows without a label are left out"]
    snapshot = Snapshot([stamps.stem] * 10, list(start), [truth("", row) for row in start], notes)
    return CampaignPlan(
        name,
        stamps,
        encoder(folder.parent / "encoder"),
        rows=range(n),
        labels=snapshot if labels else None,
        audit_fraction=audit,
    )


def lens_plan(folder: Path, name: str, *, n: int = 24) -> CampaignPlan:
    """A campaign of objects over `n` blobs, with a detector that sees an arc wherever it looks."""
    stamps = write_stamps(folder, n, name.replace(" ", "_"), ra=sky_of(name))
    detector = write_detector(folder / "detector")
    return CampaignPlan(
        name, stamps, encoder(folder.parent / "encoder"), kind="lenses", detector=detector, audit_fraction=0.25
    )


def vote_plan(folder: Path, name: str, *, n: int = 30, audit: float = 0.2) -> CampaignPlan:
    """A campaign of the tree of Galaxy Zoo over `n` blobs, each shown to two people."""
    stamps = write_stamps(folder, n, name.replace(" ", "_"), ra=sky_of(name))
    options = {"kind": "galaxy_zoo", "audit_fraction": audit, "overlap": 2}
    return CampaignPlan(name, stamps, encoder(folder.parent / "encoder"), **options)  # type: ignore[arg-type]


@contextmanager
def live_campaign(
    installation: Servers,
    colleague: LabelStudio,
    folder: Path,
    name: str,
    *,
    simulated_stamps: int = 0,
    **options: object,
) -> Iterator[LiveCampaign]:
    """A campaign of choices on the running servers, its project deleted afterwards."""
    wanted = plan(folder, name, **options)  # type: ignore[arg-type]
    with created(installation, colleague, wanted, simulated_stamps) as made:
        yield made


@contextmanager
def created(
    installation: Servers, colleague: LabelStudio, wanted: CampaignPlan, simulated_stamps: int = 0
) -> Iterator[LiveCampaign]:
    """A campaign on the running servers, its project deleted afterwards."""
    settings = installation.settings.model_copy(update={"simulated_stamps": simulated_stamps})
    with installation.database() as database, installation.label_studio() as admin:
        made = CampaignMaker(settings, database, admin, silent).create(wanted)
        try:
            yield LiveCampaign(installation, database, admin, colleague, made)
        finally:
            with database.transaction() as connection:
                found = campaign_of_id(connection, made.id)
            if found is not None and not found.is_closed:
                campaigns.close(installation.settings, database, admin, found)
            admin.delete_project(made.project_id)


def ranking(live: LiveCampaign) -> list[int]:
    """Tasks in the order of the last push, without those labelled since."""
    with live.database.transaction() as connection:
        pushed = selections.latest(connection, live.campaign, "push")
        assert pushed is not None
        return [stamp.task_id for stamp in selections.stamps_of(connection, pushed.id) if stamp.task_id is not None]


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def run(live: LiveCampaign, *arguments: str) -> Done:
    """Run a command in this process, which has loaded already what it needs."""
    return run_here(live.installation.environment, *arguments)


def run_here(environment: Mapping[str, str | None], *arguments: str) -> Done:
    """Run a command in this process with some variables of the environment."""
    result = CliRunner().invoke(app, list(arguments), env=environment)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


def run_alone(live: LiveCampaign, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, as people do: with its own packages, settings and log."""
    environment = dict(os.environ) | live.installation.environment
    command = [sys.executable, "-m", "backend_ml", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)


def new_terminal() -> dict[str, str]:
    """The environment of a terminal that knows nothing of any servers, but where the programs are."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GALAXYLOOP_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    few = {"GALAXYLOOP_PRECISION": "float32", "GALAXYLOOP_SIMULATED_STAMPS": "60"}
    return kept | few | {"PATH": path, "PYTHONPATH": str(REPOSITORY)}
