"""The plan of a new campaign, and whether its parts fit one another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend_ml.kinds.installed import check_kind, find_kind, serving_kind
from backend_ml.kinds.kind import Kind, blamed
from backend_ml.kinds.results import ConfigKind, Taken
from backend_ml.label_studio.labelling import FIELDS
from backend_ml.label_studio.regions.controls import check_config
from backend_ml.labels.consensus import CONSENSUS
from backend_ml.store.records import CampaignError
from lvm_training.galaxy_zoo.vote_table import VoteTable
from lvm_training.tables.snapshot import Snapshot

SHORTEST_TITLE, LONGEST_TITLE = 3, 50  # characters, of a project in Label Studio


@dataclass(frozen=True)
class CampaignPlan:
    """What a new campaign shall be.

    Attributes
    ----------
    name : str
        Title of the Label Studio project, of 3 to 50 characters.
    stamps : Path
        The stamp set its tasks show.
    encoder : Path
        Folder of the encoder's checkpoint.
    rows : sequence of int or None
        Which stamps become tasks; None takes all.
    classes : sequence of str or None
        What to tell apart; None takes the choices of the label config.
    kind : str
        An installed kind of campaign, ours or a package's (`kinds.installed`).
    detector : Path or None
        Folder of the detector that a campaign of objects begins with; None takes the kind's released one.
    labels : Snapshot, VoteTable or None
        Labels to start from, in a campaign of choices, or votes in one of a tree of questions.
    label_sets : sequence of Path
        Stamp sets that those labels name, beside `stamps`.
    audit_fraction : float
        Share of tasks labelled blind.
    tasks : int or None
        Make tasks of so many of the stamps, the best, and of as many more whenever the queue runs dry; None makes
        tasks of all at once.
    refill_below : int or None
        How few ranked tasks are dry; half of `tasks` by default.
    policy : str or None
        What decides which label is worth most; None takes the default of the kind.
    overlap : int or None
        Labels, of different people, that each task waits for; None takes the number of the kind.
    consensus : str
        How several labels become one: a key of `consensus.CONSENSUS`.
    simulated : mapping of str to str
        What the simulator draws of some classes, beside what the label config says.
    columns : sequence of str
        What heads read beside the image: catalogue columns, and vectors (`heads.beside`). Then nothing is simulated.
    own_config : str
        A label config of somebody's own in place of the kind's, for a kind that takes any (`ConfigKind`).
    """

    name: str
    stamps: Path
    encoder: Path
    rows: Sequence[int] | None = None
    classes: Sequence[str] | None = None
    kind: str = "morphology"
    detector: Path | None = None
    labels: Snapshot | VoteTable | None = None
    label_sets: Sequence[Path] = field(default_factory=tuple)
    audit_fraction: float = 0.1
    tasks: int | None = None
    refill_below: int | None = None
    policy: str | None = None
    overlap: int | None = None
    consensus: str = "majority"
    simulated: Mapping[str, str] = field(default_factory=dict)
    columns: Sequence[str] = ()
    own_config: str = ""
    seed: int = 0

    def check(self) -> None:
        """Raise a CampaignError, ConceptError, KindError or LabelConfigError unless the parts fit one another."""
        for text in (self.name, *(self.classes or ())):
            if not text.isprintable():
                raise CampaignError(f"{text!r} cannot be a name or a class.", "Use printable characters alone.")
        if not SHORTEST_TITLE <= len(self.name) <= LONGEST_TITLE:
            raise CampaignError(
                f"The name {self.name!r} has {len(self.name)} characters.",
                f"Label Studio takes {SHORTEST_TITLE} to {LONGEST_TITLE}.",
            )
        kind = check_kind(self.kind)
        if self.policy is not None and self.policy not in kind.policies:
            raise CampaignError(
                f"The policy {self.policy!r} does not fit a campaign of the kind {self.kind!r}.",
                f"Choose from: {', '.join(kind.policies)}.",
            )
        if self.overlap is not None and self.overlap < 1:
            raise CampaignError(f"Each task cannot wait for {self.overlap} labels.", "One is the least.")
        if self.consensus not in CONSENSUS:
            raise CampaignError(f"There is no consensus {self.consensus!r}.", f"Choose from: {', '.join(CONSENSUS)}.")
        if any(number is not None and number < 1 for number in (self.tasks, self.refill_below)):
            raise CampaignError("A campaign cannot be refilled by, or below, no tasks.", "One is the least.")
        if self.tasks is None and self.refill_below is not None:
            raise CampaignError(
                "Only a campaign with `--tasks` is refilled.", "Say how many tasks to import at a time."
            )
        if self.columns and not kind.takes_columns:
            raise CampaignError(
                f"A campaign of the kind {self.kind!r} reads no columns beside the image.", "Leave --columns out."
            )
        if self.columns and self.simulated:
            raise CampaignError("Simulated stamps have no catalogue columns.", "Leave --simulated or --columns out.")
        if self.own_config:
            self._check_own()
        with blamed(kind, "checking what was asked for"):
            self.answering.check(self)
            self.answering.simulated(self.answered_config())

    def _check_own(self) -> None:
        if self.classes or self.simulated:
            raise CampaignError(
                "Classes of a label config of your own, and what the simulator draws of them, are said in it.",
                "Leave --class and --simulated out, and write them into its Choices.",
            )
        check_config(self.own_config, FIELDS)

    @property
    def answering(self) -> Kind[Any, Any]:
        """The kind as it answers the campaign's label config.

        Raises
        ------
        CampaignError, KindError, LabelConfigError
            As `taken`.
        """
        taken = self.taken
        return serving_kind(self.kind, taken.label_config if taken else "", adopted=False)

    @property
    def taken(self) -> Taken | None:
        """What is answered of a label config of somebody's own; None of the kind's.

        Raises
        ------
        CampaignError
            If the kind takes none.
        KindError, LabelConfigError
            If there is no such kind, or it answers nothing of it.
        """
        if not self.own_config:
            return None
        kind = find_kind(self.kind)
        if not isinstance(kind, ConfigKind):
            raise CampaignError(
                f"A campaign of the kind {self.kind!r} has the label config of its kind.",
                "Use --kind several, or leave --label-config out.",
            )
        with blamed(kind, "reading a label config"):
            return kind.taken(self.own_config, detector=self.detector is not None, adopted=False)

    @property
    def unserved(self) -> tuple[str, ...]:
        """The control tags that no head answers, each with the reason."""
        taken = self.taken
        return taken.unserved if taken else find_kind(self.kind).unserved(self.label_config())

    def label_config(self) -> str:
        """The label config of its project.

        Raises
        ------
        LabelConfigError, KindError
            If its classes, or what is simulated of them, do not fit the kind.
        """
        kind = find_kind(self.kind)
        return self.own_config or kind.with_simulated(kind.label_config(self.classes), self.simulated)

    def answered_config(self) -> str:
        """What of that is answered.

        Raises
        ------
        CampaignError, LabelConfigError, KindError
            As `label_config` and `taken`.
        """
        taken = self.taken
        return taken.label_config if taken else self.label_config()
