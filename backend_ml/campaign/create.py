"""Creates a campaign: what it is, in the database, and its project in Label Studio; all of it or nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from backend_ml.campaign.plan import CampaignPlan
from backend_ml.campaign.projects import ProjectMaker
from backend_ml.kinds.beside import with_vectors
from backend_ml.kinds.kind import blamed
from backend_ml.kinds.simulated import draw_simulated
from backend_ml.label_studio.client import LabelStudio
from backend_ml.settings import Settings
from backend_ml.store.campaigns import add_campaign, all_campaigns, note
from backend_ml.store.database import Database
from backend_ml.store.encoders import encoder_folder, keep_checkpoint
from backend_ml.store.records import Campaign, CampaignError
from backend_ml.store.registration import embedding, register
from lvm_training.errors import LabelError
from lvm_training.heads.beside import described
from lvm_training.model.encoder import Encoder
from lvm_training.progress import Steps
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet
from lvm_training.tables.snapshot import Snapshot


class CampaignMaker:
    """Creates campaigns; whatever fails on the way, no half-made campaign is left."""

    def __init__(self, settings: Settings, database: Database, label_studio: LabelStudio, steps: Steps) -> None:
        self._settings = settings
        self._database = database
        self._label_studio = label_studio
        self._steps = steps
        self._projects = ProjectMaker(settings, database, label_studio, steps)

    def create(self, plan: CampaignPlan) -> Campaign:
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
        kind, config = plan.answering, plan.answered_config()
        encoder = Encoder.load(plan.encoder)
        keep_checkpoint(plan.encoder, encoder_folder(self._settings.store_folder, encoder.digest))
        with blamed(kind, "choosing a rendering"):
            rendering = kind.rendering(plan, encoder.rendering)
        sets = {path.stem: path for path in (plan.stamps, *plan.label_sets)}
        with embedding(self._database, encoder.digest):
            for path in sets.values():
                register(path, encoder, self._settings, self._database, self._steps)
            self._draw(encoder, plan, config)
            with self._projects.project(plan.name, plan.label_config(), forget="delete_campaign") as project:
                self._label_studio.update_project(project, maximum_annotations=plan.overlap or kind.overlap)
                campaign = self._record(plan, project, config, encoder.digest, rendering)
                self._projects.fill(plan, campaign)
        return campaign

    def _simulated(self, plan: CampaignPlan, config: str) -> Mapping[str, str]:
        """What the simulator draws of the campaign's classes, unless it shall teach nothing."""
        teaches = self._settings.simulated_stamps and not plan.columns
        return plan.answering.simulated(config) if teaches else {}

    def _draw(self, encoder: Encoder, plan: CampaignPlan, config: str) -> None:
        if self._simulated(plan, config):
            with self._steps("Drawing simulated galaxies") as progress:
                draw_simulated(encoder, self._settings.store_folder, self._settings.simulated_stamps, progress)

    def _check(self, plan: CampaignPlan) -> None:
        with self._database.transaction() as connection:
            if any(campaign.name == plan.name and not campaign.is_closed for campaign in all_campaigns(connection)):
                raise CampaignError(f"There is a campaign {plan.name!r} already.", "Choose another name.")
        for path in (plan.stamps, *plan.label_sets):
            _described(path, plan.columns)
        self._projects.check_backend()

    def _record(self, plan: CampaignPlan, project: int, config: str, encoder: str, rendering: Rendering) -> Campaign:
        simulated, kind = self._simulated(plan, config), plan.answering
        with self._database.transaction() as connection:
            campaign = add_campaign(
                connection,
                name=plan.name,
                project=project,
                kind=plan.kind,
                classes=plan.classes or kind.offered(config),
                stamp_set=plan.stamps.stem,
                encoder=encoder,
                rendering=rendering,
                policy=plan.policy or kind.policies[0],
                overlap=plan.overlap or kind.overlap,
                consensus=plan.consensus,
                audit_fraction=plan.audit_fraction,
                seed=plan.seed,
                simulated=simulated,
                simulated_stamps=self._settings.simulated_stamps if simulated else 0,
                label_config=config if plan.own_config else "",
                columns=plan.columns,
            )
            if plan.labels and plan.labels.notes:
                note(connection, campaign.id, "starting labels", "; ".join(plan.labels.notes))
            for text in _described(plan.stamps, plan.columns):
                note(connection, campaign.id, "columns", text)
            if unserved := plan.unserved:
                # what the label config lacks later is told under its own name, and this stays
                note(connection, campaign.id, "no head", f"People alone answer: {'; '.join(unserved)}.")
        if isinstance(plan.labels, Snapshot):
            unknown = sorted(set(plan.labels.label) - set(campaign.classes))
            if unknown:
                raise LabelError(
                    f"The starting labels name {', '.join(unknown)}, which are no classes of the campaign.",
                    f"Its classes are: {', '.join(campaign.classes)}.",
                )
        return campaign


def _described(path: Path, columns: Sequence[str]) -> list[str]:
    """What is missing in the columns of a stamp set that heads shall read."""
    if not columns:
        return []
    with StampSet(path) as stamps:
        return described(with_vectors(stamps, columns), columns)
