"""Makes a campaign of a project that is there, or gives its campaign the tasks that people imported: all or nothing.

Nothing that people made is changed: label config, data, annotations, predictions of others.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from backend_ml.adoption.fetching import Limits
from backend_ml.adoption.pictures import AdoptedPictures, PictureTaker
from backend_ml.adoption.plan import AdoptionPlan, Outlook
from backend_ml.adoption.questions import find_question
from backend_ml.adoption.tasks import UnknownTask, differing_tasks, reasons, remember
from backend_ml.campaign import lifecycle, reconcile
from backend_ml.campaign.projects import ProjectMaker
from backend_ml.kinds.installed import kind_of
from backend_ml.kinds.kind import blamed
from backend_ml.label_studio.client import LabelStudio
from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.learning.learn import begin, stores_of
from backend_ml.queue import order, push
from backend_ml.queue.tasks import audit_slice
from backend_ml.settings import Settings
from backend_ml.store import versions
from backend_ml.store.campaigns import add_campaign, all_campaigns, still_open
from backend_ml.store.database import Connection, Database
from backend_ml.store.encoders import encoder_folder, keep_checkpoint, working_encoder
from backend_ml.store.records import Campaign, CampaignError
from backend_ml.store.registration import embedding, register
from lvm_training.files import alone
from lvm_training.model.encoder import Encoder
from lvm_training.progress import Steps

log = structlog.get_logger(__name__)


class Adopter:
    """Adopts projects of a Label Studio."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        label_studio: LabelStudio,
        steps: Steps,
        limits: Limits | None = None,
    ) -> None:
        self._settings = settings.require("secret", "backend_password")
        self._database, self._label_studio, self._steps = database, label_studio, steps
        self._maker = ProjectMaker(settings, database, label_studio, steps)
        self._pictures = PictureTaker(settings, database, label_studio, steps, limits)

    def look(self, plan: AdoptionPlan) -> Outlook:
        """What adopting would do; nothing is changed.

        Raises
        ------
        CampaignError
            If the project cannot become that campaign.
        LabelConfigError
            If no question of its label config can be answered.
        LabelStudioError
            If Label Studio cannot be reached, or has no such project.
        """
        project = self._label_studio.call("GET", f"api/projects/{plan.project}/")
        campaign = self._campaign(plan)
        kind = plan.kind if campaign is None else campaign.kind
        control = plan.control
        if campaign is not None and campaign.label_config:
            control = control or find_question(campaign.label_config, kind, detector=True).name
        # of a campaign that there is, what is drawn is answered as it was begun
        detector = plan.detector is not None if campaign is None else kind_of(campaign).slow
        question = find_question(project["label_config"] or "", kind, control, detector=detector)
        if campaign is None:
            plan.check(question)
            with self._database.transaction() as connection:
                _check_name(connection, plan.name or project["title"])
        with self._steps("Looking at the tasks"):
            found = differing_tasks(
                self._database, self._label_studio, plan.project, campaign, question.image, plan.allowed
            )
        title = campaign.name if campaign is not None else plan.name or project["title"]
        return Outlook(title, project, campaign, question, found.unknown + found.changed)

    def adopt(self, plan: AdoptionPlan) -> dict[str, Any]:
        """Make the project a campaign, or take its new tasks into the campaign that it is; what came of it.

        Raises
        ------
        CampaignError, LabelConfigError, LabelStudioError
            As `look`; or if somebody else adopts the project at this moment.
        StampError, CheckpointError
            If no picture can be used, or the encoder cannot be read.
        """
        outlook = self.look(plan)
        if not outlook.usable and outlook.campaign is None:
            raise CampaignError("No task of the project can be used.", "; ".join(outlook.as_json()["left_out"][:3]))
        self._maker.check_backend()
        with alone(self._pictures.folder(plan.project) / ".lock", wait=False) as free:
            if not free:
                raise CampaignError("Somebody adopts this project at this moment.", "Wait until that is done.")
            return self._adopt(plan, outlook)

    def _adopt(self, plan: AdoptionPlan, outlook: Outlook) -> dict[str, Any]:
        known = outlook.campaign
        kind = outlook.question.answering if known is None else kind_of(known)
        made = self._pictures.take(plan, outlook.usable, whole=kind.slow)
        folder = plan.encoder if known is None else encoder_folder(self._settings.store_folder, known.encoder)
        encoder = Encoder.load(folder)
        if known is None:
            keep_checkpoint(folder, encoder_folder(self._settings.store_folder, encoder.digest))
        with embedding(self._database, encoder.digest):
            for path in self._sets(outlook, made):
                register(path, encoder, self._settings, self._database, self._steps)
            if known is None:
                campaign = self._new(plan, outlook, made, encoder)
        if known is not None:
            campaign = known
            # whoever was killed before it had a version has not drawn its audit slice either
            blind = () if self._has_begun(campaign) else self._blind(plan, outlook.usable, made)
            self._remember(campaign, outlook, made, blind)
            campaign = self._followed(campaign, self._sets(outlook, made))
            self._attach(campaign)
            self._begin(plan, campaign)
            lifecycle.sync(self._settings, self._database, self._label_studio, campaign)
        self._pictures.forget_pictures(made)
        return self._report(outlook, made, campaign)

    def _remember(self, campaign: Campaign, outlook: Outlook, made: AdoptedPictures, blind: Collection[int]) -> None:
        with self._database.transaction() as connection:
            remember(connection, campaign, outlook.usable, made.rows, blind)

    def _followed(self, campaign: Campaign, sets: Sequence[Path]) -> Campaign:
        """The campaign as it is once its tasks are known, with features of the encoder that it has got meanwhile.

        Whoever changes the encoder embeds the tasks that are known by then, so that one of the two sees the other.
        """
        now = still_open(self._database, campaign)
        if now.encoder != campaign.encoder:
            encoder = working_encoder(self._settings.store_folder, now.encoder)
            for path in sets:
                register(path, encoder, self._settings, self._database, self._steps)
        return now

    def _sets(self, outlook: Outlook, made: AdoptedPictures) -> list[Path]:
        named = dict.fromkeys(task.stamp[0] for task in outlook.usable if task.stamp is not None)
        return [*([made.stamps] if made.stamps else []), *(self._database.stamp_sets.find(name).path for name in named)]

    def _campaign(self, plan: AdoptionPlan) -> Campaign | None:
        """The campaign that the project is already."""
        with self._database.transaction() as connection:
            known = all_campaigns(connection)
        found = next((one for one in known if one.project == plan.project), None)
        if found is not None and found.state == "closed":
            raise CampaignError(f"The project was the campaign {found.name!r}, which is closed.", "It stays as it is.")
        if found is not None and (plan.name or found.name, plan.kind or found.kind) != (found.name, found.kind):
            raise CampaignError(
                f"The project is the campaign {found.name!r} already, of the kind {found.kind!r}.",
                "Leave --name and --kind out to adopt its new tasks.",
            )
        return found

    def _new(self, plan: AdoptionPlan, outlook: Outlook, made: AdoptedPictures, encoder: Encoder) -> Campaign:
        campaign = self._record(plan, outlook, made, encoder)
        try:
            blind = self._blind(plan, outlook.usable, made)
            self._remember(campaign, outlook, made, blind)
            self._attach(campaign)
            with self._steps("Taking in the labels"):
                reconcile.reconcile(self._database, self._label_studio, campaign)
            store = self._settings.store_folder
            self._begin(plan, campaign)
            with self._steps("Pushing predictions") as progress:
                push.push(self._database, self._label_studio, campaign, store=store, top=None, on_progress=progress)
            order.keep(self._database, self._label_studio, campaign)
        except BaseException:
            log.warning("forgetting the campaign of what failed", campaign=campaign.name, project=plan.project)
            # a worker that compares the project with the campaign now would connect it once more
            with self._database.sole("try_lock_connection", campaign=campaign.id):
                with suppress(LabelStudioError):
                    self._label_studio.detach(plan.project, self._settings.backend_url)
                self._database.rows("delete_campaign", project=plan.project)
            raise
        return campaign

    def _has_begun(self, campaign: Campaign) -> bool:
        with self._database.transaction() as connection:
            return versions.active_version(connection, campaign) is not None

    def _begin(self, plan: AdoptionPlan, campaign: Campaign) -> None:
        """Give a campaign its first version, unless it has one."""
        if self._has_begun(campaign):
            return
        with self._steps("Making the first model") as progress:
            stores = stores_of(self._database, campaign, self._settings.store_folder)
            begin(self._database, stores, plan.detector, lambda _, done, total: progress(done, total))

    def _record(self, plan: AdoptionPlan, outlook: Outlook, made: AdoptedPictures, encoder: Encoder) -> Campaign:
        question, kind = outlook.question, outlook.question.answering
        with blamed(kind, "choosing a rendering"):
            rendering = kind.rendering(plan, encoder.rendering)
        named = [task.stamp[0] for task in outlook.usable if task.stamp is not None]
        with self._database.transaction() as connection:
            _check_name(connection, outlook.title)  # again: fetching takes long
            return add_campaign(
                connection,
                name=outlook.title,
                project=plan.project,
                kind=question.kind,
                classes=question.classes,
                stamp_set=made.stamps.stem if made.stamps else named[0],
                encoder=encoder.digest,
                rendering=rendering,
                policy=plan.policy or kind.policies[0],
                overlap=outlook.settings.get("maximum_annotations") or 1,
                consensus=plan.consensus,
                audit_fraction=plan.audit_fraction,
                seed=plan.seed,
                label_config=question.label_config,
                adopted=True,
            )

    def _blind(self, plan: AdoptionPlan, tasks: Collection[UnknownTask], made: AdoptedPictures) -> set[int]:
        """Tasks of the audit slice: of those that nobody has seen an answer to."""
        untouched = np.array([task.id for task in tasks if task.untouched and task.id in made.rows], dtype=np.int64)
        return set(audit_slice(untouched, plan.audit_fraction, plan.seed).tolist())

    def _attach(self, campaign: Campaign) -> None:
        with self._steps("Connecting the backend"), lifecycle.connecting(self._database, campaign) as found:
            lifecycle.connect_backend(self._settings, self._label_studio, found)

    def _report(self, outlook: Outlook, made: AdoptedPictures, campaign: Campaign) -> dict[str, Any]:
        left = {task.id: task.reason for task in outlook.tasks if task.reason} | made.failures
        return {
            "campaign": campaign.name,
            "project": f"{self._label_studio.url}/projects/{campaign.project_id}",
            "kind": campaign.kind,
            "question": outlook.question.name,
            "answered": list(outlook.question.answered),
            "classes": list(campaign.classes),
            "adopted": len(outlook.tasks) - len(left),
            "left_out": reasons(left),
            "not_answered": list(outlook.question.remarks),
            "notes": list(made.notes),
        }


def _check_name(connection: Connection, name: str) -> None:
    """Refuse a name that another campaign has; a closed one gives its own up."""
    if any(one.name == name and not one.is_closed for one in all_campaigns(connection)):
        raise CampaignError(f"There is a campaign {name!r} already.", "Give another --name.")
