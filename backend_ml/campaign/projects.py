"""Makes a campaign's project in Label Studio: tasks, starting labels, first model, queue; all of it or nothing."""

import html
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import numpy as np
import structlog
from numpy.typing import NDArray
from psycopg.types.json import Jsonb

from backend_ml.campaign.lifecycle import connect_backend, connecting
from backend_ml.campaign.plan import CampaignPlan
from backend_ml.kinds.installed import config_of, kind_of
from backend_ml.kinds.kind import blamed
from backend_ml.label_studio.client import LabelStudio
from backend_ml.label_studio.labelling import example_url
from backend_ml.label_studio.tabs import add_tabs
from backend_ml.learning.learn import begin, stores_of
from backend_ml.queue import push, refill
from backend_ml.queue.answered import answered_rows, answered_stamps
from backend_ml.queue.tasks import audit_slice, import_stamps, remember_tasks
from backend_ml.settings import Settings
from backend_ml.store.database import Connection, Database, query
from backend_ml.store.records import Campaign, CampaignError
from lvm_training.errors import StampError
from lvm_training.galaxy_zoo.vote_table import VoteTable
from lvm_training.progress import Steps
from lvm_training.stamps.stampset import StampSet
from lvm_training.tables.snapshot import Snapshot

log = structlog.get_logger(__name__)

EXAMPLES_SHOWN = 3


class ProjectMaker:
    """Makes projects and fills them; whatever fails on the way, no half-made project is left."""

    def __init__(self, settings: Settings, database: Database, label_studio: LabelStudio, steps: Steps) -> None:
        self._settings = settings.require("secret", "backend_password")
        self._database = database
        self._label_studio = label_studio
        self._steps = steps

    def check_backend(self) -> None:
        """Ask the backend whether it is up: Label Studio refuses to connect one that is not.

        Raises
        ------
        CampaignError
            If it does not answer.
        """
        try:
            # a transport of its own leaves out the environment's proxies, which know no loopback of ours
            with httpx.Client(timeout=5, transport=httpx.HTTPTransport()) as client:
                client.get(f"{self._settings.backend_url}/livez").raise_for_status()
        except httpx.HTTPError as error:
            raise CampaignError(
                f"The backend does not answer at {self._settings.backend_url} ({error}).",
                "Start it with `galaxyloop serve`; Label Studio must reach it at GALAXYLOOP_BACKEND_URL.",
            ) from error

    @contextmanager
    def project(self, name: str, config: str, *, forget: str) -> Iterator[int]:
        """A new project; if what is done with it fails, nothing is left of it.

        Parameters
        ----------
        forget : str
            The named query that takes back what the database holds of a project by then.
        """
        with self._steps("Creating the project"):
            project = self._label_studio.create_project(name, config, instruction_html="")
        try:
            yield project
        except BaseException:
            log.warning("removing the project of what failed", campaign=name, project=project)
            self._database.rows(forget, project=project)
            self._label_studio.delete_project(project)
            raise

    def fill(self, plan: CampaignPlan, campaign: Campaign) -> None:
        """Give a campaign's project its tasks, labels and queue, and connect the backend to it.

        Raises
        ------
        LabelStudioError
            If Label Studio refuses.
        StampError
            If the plan names rows that the set does not have, or leaves none.
        """
        if plan.tasks is None:
            self._import_tasks(plan, campaign)
            self._start_labels(plan, campaign)
        else:
            self._start_labels(plan, campaign)
            self._first_model(plan, campaign)
            self._first_slice(plan, campaign, plan.tasks)
        settings, project = self._settings, campaign.project_id
        with self._steps("Connecting the backend"), connecting(self._database, campaign) as found:
            connect_backend(settings, self._label_studio, found)
        with self._steps("Making tabs"):
            add_tabs(self._label_studio, project, audit=campaign.audit_fraction > 0, overlap=campaign.overlap)
        if plan.tasks is None:
            self._first_model(plan, campaign)
        with self._steps("Pushing predictions") as progress:
            store = settings.store_folder
            push.push(self._database, self._label_studio, campaign, store=store, top=None, on_progress=progress)

    def _first_model(self, plan: CampaignPlan, campaign: Campaign) -> None:
        stores = stores_of(self._database, campaign, self._settings.store_folder)
        with self._steps("Making the first model") as progress:
            begin(self._database, stores, plan.detector, lambda _, done, total: progress(done, total))

    def _import_tasks(self, plan: CampaignPlan, campaign: Campaign) -> None:
        with StampSet(plan.stamps) as stamps, self._steps("Importing tasks") as progress:
            rows = _rows(plan, stamps)
            audit = set(audit_slice(rows, plan.audit_fraction, plan.seed).tolist())
            tasks = import_stamps(self._settings, self._label_studio, campaign, stamps, rows.tolist(), audit, progress)
        with self._database.transaction() as connection:
            remember_tasks(connection, campaign, campaign.stamp_set, tasks, rows.tolist(), audit)

    def _first_slice(self, plan: CampaignPlan, campaign: Campaign, size: int) -> None:
        """Give the campaign its pool, without the stamps that have a label already, and import the best."""
        with self._database.transaction() as connection:
            answered = answered_stamps(connection, campaign)
        with StampSet(plan.stamps) as stamps:
            rows, total = _rows(plan, stamps), len(stamps)
        left = np.setdiff1d(rows, answered_rows(self._database.stamp_sets, campaign.stamp_set, answered))
        if not len(left):
            raise StampError(
                f"Every stamp of {plan.stamps.stem} has a label already, the starting labels and those of campaigns"
                " that ask the same included.",
                "Leave some to label.",
            )
        below = plan.refill_below or max(1, size // 2)
        with self._database.transaction() as connection:
            refill.put_pool(connection, campaign, left, total, size, below)
        with self._steps("Importing the best tasks") as progress:
            refill.refill(self._settings, self._database, self._label_studio, campaign, progress)

    def _start_labels(self, plan: CampaignPlan, campaign: Campaign) -> None:
        if plan.labels:
            with self._database.transaction() as connection:
                _put_labels(connection, campaign, plan.labels)
        kind = kind_of(campaign)
        shown = {
            name: [example_url(name, number, campaign.links, self._settings) for number in range(EXAMPLES_SHOWN)]
            for name in (*campaign.classes, *kind.portraits)
        }
        with blamed(kind, "writing its instruction"):
            text = kind.instruction(config_of(campaign), shown)
        # of a search the name says what is looked for
        sought = "" if kind.wanted is None else f"<p>Looked for: <b>{html.escape(plan.name)}</b></p>"
        self._label_studio.update_project(campaign.project_id, expert_instruction=sought + text)
        self._database.rows("gave_links", campaign=campaign.id, series=campaign.link_series)


def _put_labels(connection: Connection, campaign: Campaign, labels: Snapshot | VoteTable) -> None:
    if isinstance(labels, VoteTable):
        for (stamp_set, stamp_id), label, counts in zip(labels.stamps, labels.first, labels.counts, strict=True):
            votes = {key: int(count) for key, count in zip(labels.tree.keys, counts, strict=True) if count}
            values = {"stamp_set": stamp_set, "stamp_id": stamp_id, "label": label, "votes": Jsonb(votes)}
            query(connection, "put_starting_votes", campaign=campaign.id, **values)
        return
    for stamp_set, stamp_id, label in zip(labels.stamp_set, labels.stamp_id, labels.label, strict=True):
        values = {"stamp_set": stamp_set, "stamp_id": stamp_id, "label": label}
        query(connection, "put_snapshot_label", campaign=campaign.id, **values)


def _rows(plan: CampaignPlan, stamps: StampSet) -> NDArray[np.int64]:
    """The rows that the plan names, in its order, or all."""
    rows = np.arange(len(stamps)) if plan.rows is None else np.asarray(plan.rows, dtype=np.int64)
    if not len(rows) or rows.min() < 0 or rows.max() >= len(stamps):
        raise StampError(f"{stamps.name} has {len(stamps)} stamps; {len(rows)} rows were asked for.")
    return rows
