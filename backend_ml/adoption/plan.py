"""What a project shall become, and what that would change: said before anything is changed."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend_ml.adoption.questions import Question
from backend_ml.adoption.tasks import UnknownTask, reasons
from backend_ml.kinds.installed import check_kind
from backend_ml.kinds.kind import blamed
from backend_ml.label_studio.client import SAMPLING
from backend_ml.labels.consensus import CONSENSUS
from backend_ml.store.records import Campaign, CampaignError
from lvm_training.tables.snapshot import Snapshot

ADDRESS = re.compile(r"(?:https?://.+/projects/)?([0-9]{1,9})(?:/.*)?")


def project_number(text: str) -> int:
    """A project's id, given so or as the address of one of its pages.

    Raises
    ------
    CampaignError
        If it is neither.
    """
    found = ADDRESS.fullmatch(text.strip())
    if found is None:
        raise CampaignError(
            f"{text!r} is no project of Label Studio's.", "Give its number, or its address as in .../projects/12."
        )
    return int(found[1])


@dataclass(frozen=True)
class AdoptionPlan:
    """What a project of somebody's own shall become.

    Attributes
    ----------
    project : int
        Its id in Label Studio.
    encoder : Path
        Folder of the encoder's checkpoint.
    name : str or None
        Of the campaign; None takes the project's title.
    kind : str or None
        An installed kind; None takes the one that fits the label config.
    control : str or None
        Name of the one control tag that the campaign answers; None takes all that heads can answer.
    allowed : sequence of str
        Hosts that pictures may be fetched from, beside Label Studio's own.
    detector, audit_fraction, policy, consensus, seed
        As in `campaign.plan.CampaignPlan`.
    fit, pixel_scale
        As in `importing.options.Given`.
    """

    project: int
    encoder: Path
    name: str | None = None
    kind: str | None = None
    control: str | None = None
    allowed: Sequence[str] = ()
    detector: Path | None = None
    audit_fraction: float = 0.1
    policy: str | None = None
    consensus: str = "majority"
    fit: str | None = None
    pixel_scale: float | None = None
    seed: int = 0
    labels: Snapshot | None = None
    tasks: int | None = None
    simulated: Mapping[str, str] = field(default_factory=dict)

    def check(self, question: Question) -> None:
        """Raise a CampaignError or KindError unless the parts fit one another and the question."""
        check_kind(question.kind)
        kind = question.answering
        if self.policy is not None and self.policy not in kind.policies:
            raise CampaignError(
                f"The policy {self.policy!r} does not fit a campaign of the kind {question.kind!r}.",
                f"Choose from: {', '.join(kind.policies)}.",
            )
        if self.consensus not in CONSENSUS:
            raise CampaignError(f"There is no consensus {self.consensus!r}.", f"Choose from: {', '.join(CONSENSUS)}.")
        if kind.slow and self.pixel_scale is not None:
            # whoever knows the scale is shown a part of the picture, and boxes are of the whole
            raise CampaignError("Boxes are drawn on whole pictures.", "Leave --pixel-scale out.")
        with blamed(kind, "checking what was asked for"):
            kind.check(self)


@dataclass(frozen=True)
class Outlook:
    """What adopting a project would do.

    Attributes
    ----------
    title : str
        The project's, or its campaign's name.
    settings : dict
        The project as Label Studio gives it.
    campaign : Campaign or None
        The campaign that it is already.
    question : Question
        What is answered.
    tasks : list of UnknownTask
        Those that are new to the campaign.
    """

    title: str
    settings: dict[str, Any]
    campaign: Campaign | None
    question: Question
    tasks: list[UnknownTask]

    @property
    def usable(self) -> list[UnknownTask]:
        """Those that can become the campaign's."""
        return [task for task in self.tasks if not task.reason]

    def as_json(self) -> dict[str, Any]:
        """What is found and would be done, as JSON values."""
        places = Counter(task.address.source if task.address else "stamps of ours" for task in self.usable)
        return {
            "campaign": self.title,
            "kind": self.question.kind,
            "question": self.question.name,
            "answered": list(self.question.answered),
            "classes": list(self.question.classes),
            "not_answered": list(self.question.remarks),
            "tasks": len(self.tasks),
            "pictures": [f"{count} from {place}" for place, count in places.most_common()],
            "left_out": reasons({task.id: task.reason for task in self.tasks if task.reason}),
            "annotations": self.settings.get("total_annotations_number") or 0,
            "changes": self._changes(),
        }

    def _changes(self) -> list[str]:
        """What would be another afterwards in the project."""
        changes = ["the ML backend and one webhook with its secret are attached", "predictions are added, with scores"]
        if self.settings.get("sampling") != SAMPLING:
            changes.append(f"task sampling: {self.settings.get('sampling')!r} becomes {SAMPLING!r}")
        changes.append(f"model version: {self.settings.get('model_version') or 'none'!r} becomes the campaign's")
        if not self.settings.get("show_collab_predictions"):
            changes.append("nothing of: predictions are not shown to people; turn that on in its annotation settings")
        changes.append("label config, data, annotations and predictions of others stay as they are")
        return changes
