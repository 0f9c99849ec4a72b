"""Creates a campaign: project, tasks, starting labels, first head, queue; all of it or nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import numpy as np
import structlog
from numpy.typing import NDArray

from backend_ml.campaign.lifecycle import secure_webhook
from backend_ml.campaign.plan import Plan
from backend_ml.kinds.installed import find_kind
from backend_ml.kinds.kind import blamed
from backend_ml.kinds.labelling import picture_url
from backend_ml.label_studio.client import LabelStudio
from backend_ml.labels import events
from backend_ml.learning.learn import begin, stores_of
from backend_ml.queue import push, refill
from backend_ml.queue.tasks import audit_slice, import_stamps, remember_tasks
from backend_ml.settings import Settings
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database, query
from backend_ml.store.encoders import encoder_folder, keep_checkpoint
from backend_ml.store.records import Campaign, CampaignError
from backend_ml.store.registration import register
from lvm_training.errors import LabelError, StampError
from lvm_training.heads.snapshot import Snapshot
from lvm_training.model.encoder import Encoder
from lvm_training.progress import Steps
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet

log = structlog.get_logger(__name__)

EXAMPLES_SHOWN = 4


class CampaignMaker:
    """Creates campaigns; whatever fails on the way, no half-made campaign is left."""

    def __init__(self, settings: Settings, database: Database, label_studio: LabelStudio, steps: Steps) -> None:
        self._settings = settings.require("secret", "backend_password")
        self._database = database
        self._label_studio = label_studio
        self._steps = steps

    def create(self, plan: Plan) -> Campaign:
        """Create the project, its tasks with pre-annotations and its queue.

        Raises
        ------
        CampaignError
            If the name is taken or the backend cannot be reached.
        LabelStudioError
            If Label Studio refuses.
        StampError, RenderingError, CheckpointError, LabelError
            If stamps, encoder or starting labels cannot be used.
        KindError
            If the kind cannot be used, or its first model answers what it must not.
        """
        plan.check()
        self._check(plan)
        kind = find_kind(plan.kind)
        config = kind.label_config(plan.classes)
        encoder = Encoder.load(plan.encoder)
        keep_checkpoint(plan.encoder, encoder_folder(self._settings.store_folder, encoder.digest))
        with blamed(kind, "choosing a rendering"):
            rendering = kind.rendering(plan, encoder.rendering)
        sets = {path.stem: path for path in (plan.stamps, *plan.label_sets)}
        for path in sets.values():
            register(path, encoder, self._settings, self._database, self._steps)
        with self._project(plan.name, config) as project:
            self._label_studio.update_project(project, maximum_annotations=plan.overlap)
            campaign = self._record(plan, project, config, encoder.digest, rendering)
            self._fill(plan, campaign)
        return campaign

    @contextmanager
    def _project(self, name: str, config: str) -> Iterator[int]:
        """A new project; if what is done with it fails, nothing is left of it."""
        with self._steps("Creating the project"):
            project = self._label_studio.create_project(name, config, instruction_html="")
        try:
            yield project
        except BaseException:
            log.warning("removing the project of what failed", campaign=name, project=project)
            self._forget(project)
            self._label_studio.delete_project(project)
            raise

    def _forget(self, project: int) -> None:
        """Take back what the database holds of a project, if anything."""
        self._database.rows("delete_campaign", project=project)

    def _check(self, plan: Plan) -> None:
        with self._database.transaction() as connection:
            if any(campaign.name == plan.name for campaign in events.campaigns(connection)):
                raise CampaignError(f"There is a campaign {plan.name!r} already.", "Choose another name.")
        self._check_backend()

    def _check_backend(self) -> None:
        try:
            httpx.get(f"{self._settings.backend_url}/livez", timeout=5).raise_for_status()
        except httpx.HTTPError as error:
            raise CampaignError(
                f"The backend does not answer at {self._settings.backend_url} ({error}).",
                "Start it with `galaxyloop serve`; Label Studio must reach it at GALAXYLOOP_BACKEND_URL.",
            ) from error

    def _record(self, plan: Plan, project: int, config: str, encoder: str, rendering: Rendering) -> Campaign:
        with self._database.transaction() as connection:
            campaign = add_campaign(
                connection,
                name=plan.name,
                project=project,
                kind=plan.kind,
                classes=plan.classes or find_kind(plan.kind).offered(config),
                stamp_set=plan.stamps.stem,
                encoder=encoder,
                rendering=rendering,
                policy=plan.policy or find_kind(plan.kind).policies[0],
                overlap=plan.overlap,
                consensus=plan.consensus,
                audit_fraction=plan.audit_fraction,
                seed=plan.seed,
            )
        if plan.labels:
            unknown = sorted(set(plan.labels.label) - set(campaign.classes))
            if unknown:
                raise LabelError(
                    f"The starting labels name {', '.join(unknown)}, which are no classes of the campaign.",
                    f"Its classes are: {', '.join(campaign.classes)}.",
                )
        return campaign

    def _fill(self, plan: Plan, campaign: Campaign) -> None:
        if plan.tasks is None:
            self._import_tasks(plan, campaign)
            self._start_labels(plan, campaign)
        else:
            self._start_labels(plan, campaign)
            self._first_model(plan, campaign)
            self._first_slice(plan, campaign, plan.tasks)
        settings, project = self._settings, campaign.project_id
        with self._steps("Connecting the backend"):
            password = settings.backend_password.get_secret_value()
            title = f"Galaxy Loop {plan.name}"
            self._label_studio.attach_backend(project, settings.backend_url, title, settings.backend_user, password)
            secure_webhook(settings, self._label_studio, campaign)
        if plan.tasks is None:
            self._first_model(plan, campaign)
        with self._steps("Pushing predictions") as progress:
            store = settings.store_folder
            push.push(self._database, self._label_studio, campaign, store=store, top=None, on_progress=progress)

    def _first_model(self, plan: Plan, campaign: Campaign) -> None:
        stores = stores_of(self._database, campaign, self._settings.store_folder)
        with self._steps("Making the first model") as progress:
            begin(self._database, stores, plan.detector, lambda _, done, total: progress(done, total))

    def _import_tasks(self, plan: Plan, campaign: Campaign) -> None:
        with StampSet(plan.stamps) as stamps, self._steps("Importing tasks") as progress:
            rows = _rows(plan, stamps)
            tasks = import_stamps(self._settings, self._label_studio, campaign, stamps, rows.tolist(), progress)
        audit = set(audit_slice(rows, plan.audit_fraction, plan.seed).tolist())
        with self._database.transaction() as connection:
            remember_tasks(connection, campaign, tasks, rows.tolist(), audit)

    def _first_slice(self, plan: Plan, campaign: Campaign, size: int) -> None:
        """Give the campaign its pool, without the stamps that the starting labels name, and import the best."""
        labels = plan.labels or Snapshot([], [], [])
        named = [row for name, row in zip(labels.stamp_set, labels.stamp_id, strict=True) if name == plan.stamps.stem]
        with StampSet(plan.stamps) as stamps:
            rows, total = _rows(plan, stamps), len(stamps)
        left = np.setdiff1d(rows, np.array(named, dtype=np.int64))
        if not len(left):
            raise StampError(f"The starting labels name every stamp of {plan.stamps.stem}.", "Leave some to label.")
        below = plan.refill_below or max(1, size // 2)
        with self._database.transaction() as connection:
            refill.put_pool(connection, campaign, left, total, size, below)
        with self._steps("Importing the best tasks") as progress:
            refill.refill(self._settings, self._database, self._label_studio, campaign, progress)

    def _start_labels(self, plan: Plan, campaign: Campaign) -> None:
        examples: dict[str, list[tuple[str, int]]] = {}
        if plan.labels:
            labels = list(zip(plan.labels.stamp_set, plan.labels.stamp_id, plan.labels.label, strict=True))
            with self._database.transaction() as connection:
                for stamp_set, stamp_id, label in labels:
                    values = {"stamp_set": stamp_set, "stamp_id": stamp_id, "label": label}
                    query(connection, "put_snapshot_label", campaign=campaign.id, **values)
                    examples.setdefault(label, []).append((stamp_set, stamp_id))
        shown = {
            label: [picture_url(stamp, campaign.id, self._settings) for stamp in stamps[:EXAMPLES_SHOWN]]
            for label, stamps in examples.items()
        }
        kind = find_kind(plan.kind)
        with blamed(kind, "writing its instruction"):
            text = kind.instruction(kind.label_config(campaign.classes), shown)
        self._label_studio.update_project(campaign.project_id, expert_instruction=text)


def _rows(plan: Plan, stamps: StampSet) -> NDArray[np.int64]:
    """The rows that the plan names, in its order, or all."""
    rows = np.arange(len(stamps)) if plan.rows is None else np.asarray(plan.rows, dtype=np.int64)
    if not len(rows) or rows.min() < 0 or rows.max() >= len(stamps):
        raise StampError(f"{stamps.name} has {len(stamps)} stamps; {len(rows)} rows were asked for.")
    return rows
