"""The next long training of a campaign: what it trains, from how many labels on, and how many are missing."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from backend_ml.learning.gate import FEWEST_AUDIT_LABELS
from backend_ml.learning.trainings import audit_labels, base_encoder, needed_labels
from backend_ml.report.report import Report
from backend_ml.report.words import counted
from backend_ml.settings import Settings
from backend_ml.store.database import Connection, query
from backend_ml.store.encoders import is_ours
from backend_ml.store.records import Campaign

ENCODER = "encoder"
OURS: Mapping[str, str | None] = {
    "morphology": ENCODER,
    "lenses": "detector",
    "restoration": "decoder",
    "interest": None,
    "interest_rating": None,
    "galaxy_zoo": None,
    "parameters": None,
    "several": None,
}
"""What our kinds train for minutes or hours with their own label configs; to ask the kinds takes seconds."""


@dataclass(frozen=True)
class NextTraining:
    """What the next training of a campaign waits for.

    Attributes
    ----------
    what : str
        "encoder", "detector", "decoder" or "model".
    labels, labels_needed : int
        That there are, and from which on it begins: for an encoder labels outside the audit slice, else galaxies that
        were labelled since the last one.
    audit_labels, audit_labels_needed : int
        The same of labels in the audit slice, by which an encoder is judged; 0 where none are needed.
    goes_on : bool
        Whether it has begun.
    never : str
        Why it does not come by itself; empty where it does.
    by_hand : bool
        Whether `campaign encoder --train` trains it.
    """

    what: str
    labels: int
    labels_needed: int
    audit_labels: int = 0
    audit_labels_needed: int = 0
    goes_on: bool = False
    never: str = ""
    by_hand: bool = False

    @property
    def labels_missing(self) -> int:
        """Labels until it begins."""
        return max(0, self.labels_needed - self.labels)

    @property
    def audit_labels_missing(self) -> int:
        """Labels in the audit slice until it begins."""
        return max(0, self.audit_labels_needed - self.audit_labels)

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        missing = {"labels_missing": self.labels_missing, "audit_labels_missing": self.audit_labels_missing}
        return asdict(self) | missing


def next_training(connection: Connection, report: Report, settings: Settings) -> NextTraining | None:
    """What the next training of a campaign waits for; None where it is closed, in no project, or trains none."""
    campaign = report.campaign
    what = None if campaign.is_closed or campaign.project is None else _trained(campaign)
    if what == ENCODER:
        return _encoder(connection, report, settings)
    if what is None:
        return None
    last = query(connection, "last_run", campaign=campaign.id)
    since = query(connection, "labelled_since", campaign=campaign.id, event=last[0]["last_event"] if last else 0)
    goes_on = report.status["present_run"] is not None
    return NextTraining(what, since[0]["stamps"], settings.finetune_after, goes_on=goes_on)


def _trained(campaign: Campaign) -> str | None:
    if campaign.kind in OURS and not campaign.label_config:
        return OURS[campaign.kind]
    # a kind of a package, or one that reads in the label config whether a detector learns
    from backend_ml.kinds.installed import known_kind

    kind = known_kind(campaign)
    if kind is None:
        return None
    if kind.trains_encoder:
        return ENCODER
    return None if not kind.slow else "detector" if kind.draws else "model"


def _encoder(connection: Connection, report: Report, settings: Settings) -> NextTraining:
    campaign, fewest = report.campaign, settings.encoder_labels
    labels = report.active.labels if report.active else 0
    needed = needed_labels(connection, campaign, fewest)[0]
    audited = audit_labels(connection, campaign)
    goes_on = report.status["encoder_run"] is not None
    never, by_hand = "", is_ours(settings.store_folder, base_encoder(connection, campaign))
    if not fewest:
        never = "GALAXYLOOP_ENCODER_LABELS is 0"
    elif not by_hand:
        never = "the encoder that it began with is no model of ours"
    elif report.status["pool"] is None and not goes_on:
        never = _out_of_reach(report, labels, needed)
    return NextTraining(ENCODER, labels, needed, audited, FEWEST_AUDIT_LABELS, goes_on, never, by_hand)


def _out_of_reach(report: Report, labels: int, needed: int) -> str:
    """Why a campaign never has labels enough, however many people give; empty where it may."""
    audit = report.status["tasks"]["audit"]
    if audit < FEWEST_AUDIT_LABELS:
        return f"its audit slice has {counted(audit, 'galaxy', 'galaxies')}, and {FEWEST_AUDIT_LABELS} judge an encoder"
    most = labels + report.status["waiting"]
    if most < needed:
        return f"it has {counted(most, 'galaxy', 'galaxies')} to label and learn from, and {needed:,} labels are needed"
    return ""


def training_words(one: NextTraining, name: str) -> str:
    """When a campaign's next training comes, in a sentence."""
    train = f"; `galaxyloop campaign encoder '{name}' --train` trains it now" if one.by_hand else ""
    if one.goes_on:
        return f"the {one.what} is trained now"
    if one.never:
        return f"the encoder is not trained by itself: {one.never}{train}"
    if one.what != ENCODER:
        galaxies = counted(one.labels_needed, "newly labelled galaxy", "newly labelled galaxies")
        after = f"the {one.what} is fine-tuned after {galaxies}"
        return f"{after}: {one.labels_missing:,} more" if one.labels_missing else f"{after}, which are there"
    missing = [
        *([f"{counted(one.labels_missing, 'more label')}"] if one.labels_missing else []),
        *([f"{one.audit_labels_missing:,} in the audit slice"] if one.audit_labels_missing else []),
    ]
    after = (
        f"the whole encoder is trained at {one.labels_needed:,} labels and {one.audit_labels_needed} in the audit slice"
    )
    return f"{after}: {' and '.join(missing)} to go" if missing else f"{after}, which are there: with the next refit"
