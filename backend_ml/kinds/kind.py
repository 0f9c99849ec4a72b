"""The seam: what a kind of campaign must say and do; nothing outside this package knows one kind from another.

A kind is a class and a label config of the same name, found by the entry point group `galaxyloop.kinds`. Most derive
from `choices.ChoiceKind` or `objects.ObjectKind`, and say only what is different about them.
"""

import html
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, cast

import numpy as np
import psycopg
import structlog
from numpy.typing import NDArray

from backend_ml.kinds.evaluation import Evaluation
from backend_ml.kinds.models import Model, Stamp, Stores, Weights
from backend_ml.label_studio.regions.choices import LabelConfigError
from backend_ml.labels.agreed import Counted
from backend_ml.settings import Settings
from backend_ml.store.database import Connection
from backend_ml.store.records import Campaign, CampaignError, ModelVersion
from lvm_training.errors import GalaxyLoopError
from lvm_training.galaxy_zoo.vote_table import VoteTable
from lvm_training.parameters.number_table import NumberTable
from lvm_training.stamps.rendering import Rendering
from lvm_training.tables.cells import Missing
from lvm_training.tables.frozen_labels import FrozenLabels
from lvm_training.tables.snapshot import Snapshot, read_snapshot

if TYPE_CHECKING:
    from lvm_training.heads.posterior import HeadPosterior

log = structlog.get_logger(__name__)

Report = Callable[[str, int, int], None]
"""Takes the phase of a fit, what is done of it, and the whole; what it raises ends the fit."""
Coco = dict[str, Any]
"""A COCO document."""
Opinion = tuple[Stamp, int, str]
"""A stamp, who said something of it (Label Studio's id), and what."""

T = TypeVar("T", bound=Sized)
"""What stamps are labelled with: a snapshot of choices, or what people drew."""
M = TypeVar("M", bound="Model")


class KindError(GalaxyLoopError):
    """A kind that is not installed, cannot be used, or answers what it must not."""

    code = "kind"


class Options(Protocol):
    """What of a new campaign a kind has a say in; see `campaign.plan.CampaignPlan`."""

    @property
    def encoder(self) -> Path: ...
    @property
    def detector(self) -> Path | None: ...
    @property
    def labels(self) -> Snapshot | VoteTable | None: ...
    @property
    def tasks(self) -> int | None: ...
    @property
    def consensus(self) -> str: ...
    @property
    def simulated(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class Labels(Generic[T]):
    """The labels that a fit sees, all read at one moment.

    Attributes
    ----------
    last_event : int
        The newest label event among them.
    training, audit
        What to learn from, and the blind ones to judge on.
    untaught
        What people said that teaches nothing; exports have it too.
    notes : tuple of str
        What of an annotation could not be read, and why.
    odd : tuple of (annotation, task, reason)
        Annotations of which nothing could be read; Label Studio's ids. They are set aside.
    first : ModelVersion or None
        The version that the campaign began with, where a fit goes on from it.
    counted : Counted or None
        Which label events made them: versions can be rebuilt where a kind says so.
    """

    last_event: int
    training: T
    audit: T
    untaught: T | None = None
    notes: tuple[str, ...] = ()
    odd: tuple[tuple[int, int, str], ...] = ()
    first: ModelVersion | None = None
    counted: Counted | None = None


class Kind(ABC, Generic[T, M]):
    """A kind of campaign.

    Attributes
    ----------
    name : str
        Also the name of its label config, and the first part of its model versions.
    policies : tuple of str
        What may decide which label is worth most (`acquisition.policy`); the default first.
    wanted : str or None
        The class that people look for; None where all count alike.
    needed : str
        What labels a fit needs, in words.
    overlap : int
        Labels, of different people, that each task of a new campaign waits for.
    portraits : mapping of str to str
        What the simulator draws, by what the instruction shows it as, where no class of a campaign is simulated.
    by_consensus : bool
        Whether several answers of one galaxy become one label as the campaign says; else the newest counts, or each.
    takes_columns : bool
        Whether its head may read catalogue columns beside the features (`kinds.beside`).
    limits : tuple of str
        What its models are not for, in sentences; the card of a version tells them.
    """

    name: ClassVar[str]
    policies: ClassVar[tuple[str, ...]]
    wanted: ClassVar[str | None] = None
    trains_encoder: ClassVar[bool] = False
    needed: ClassVar[str] = "more labels"
    overlap: ClassVar[int] = 1
    portraits: ClassVar[Mapping[str, str]] = {}
    by_consensus: ClassVar[bool] = False
    takes_columns: ClassVar[bool] = False
    limits: ClassVar[tuple[str, ...]] = ()

    @property
    def slow(self) -> bool:
        """Whether a fit takes minutes: then it waits for more labels, and for a worker that takes such jobs."""
        return False

    @property
    def draws(self) -> bool:
        """Whether people draw objects, which go out as COCO."""
        return False

    @property
    def shows_whole(self) -> bool:
        """Whether pictures show more of a stamp than the model reads. Regions are drawn on what both see."""
        return True

    @property
    def label_config_path(self) -> Path:
        """The XML beside the module of the class, or in the `folder` that the class itself names."""
        # not inherited: who derives from one of our kinds brings an XML of their own
        own = vars(type(self)).get("folder")
        return (own or Path(inspect.getfile(type(self))).parent) / f"{self.name}.xml"

    def label_config(self, classes: Sequence[str] | None = None) -> str:
        """Its label config, with other classes in place of its own where given.

        Raises
        ------
        KindError
            If the XML is not there.
        LabelConfigError
            If the classes do not fit it.
        """
        try:
            text = self.label_config_path.read_text(encoding="utf-8")
        except OSError as error:
            raise KindError(
                f"The kind {self.name!r} has no label config at {self.label_config_path}.",
                "Put the XML beside its class, and into the package's data.",
            ) from error
        return text if classes is None or tuple(classes) == self.offered(text) else self.with_classes(text, classes)

    def control(self, classes: Sequence[str]) -> str:
        """The one control tag whose choices are a campaign's labels, where people are asked several; "" takes any."""
        return ""

    def part(self, label_config: str, adopted: str) -> str:
        """What of a label config that is not ours is answered; all of it by default.

        Parameters
        ----------
        adopted : str
            The part that was answered when its project was adopted.

        Raises
        ------
        LabelConfigError
            If nothing of it can be answered any more.
        """
        return label_config

    @abstractmethod
    def offered(self, label_config: str) -> tuple[str, ...]:
        """The classes that a label config lets people and models answer with.

        Raises
        ------
        LabelConfigError
            If it has no control tag for such answers.
        """

    def unserved(self, label_config: str) -> tuple[str, ...]:
        """The control tags of a label config that people answer and no head does, each with why; a leader is told.

        Raises
        ------
        LabelConfigError
            If it cannot be answered.
        """
        return ()

    def with_classes(self, label_config: str, classes: Sequence[str]) -> str:
        """The label config with other classes in place of its own.

        Raises
        ------
        LabelConfigError
            If they do not fit it.
        """
        raise LabelConfigError(
            f"A campaign of the kind {self.name!r} has the classes of its label config, not {', '.join(classes)}.",
            "Leave the classes out.",
        )

    def with_simulated(self, label_config: str, simulated: Mapping[str, str]) -> str:
        """The label config with what the simulator draws of some classes said in it.

        Parameters
        ----------
        simulated : mapping of str to str
            Concepts by class, see `simulated_classes.check_classes`.

        Raises
        ------
        LabelConfigError
            If they do not fit it.
        """
        if simulated:
            raise LabelConfigError(
                f"A campaign of the kind {self.name!r} learns nothing from simulated classes.", "Leave them out."
            )
        return label_config

    def simulated(self, label_config: str) -> Mapping[str, str]:
        """What the simulator draws of each class, as a label config says; none by default.

        Raises
        ------
        ConceptError
            If it draws no such thing, or one thing is said of two classes.
        """
        return {}

    @abstractmethod
    def instruction(self, label_config: str, examples: Mapping[str, Sequence[str]]) -> str:
        """How to answer, as HTML.

        Parameters
        ----------
        label_config : str
            The campaign's.
        examples : dict
            Addresses of example pictures of each class.
        """

    @abstractmethod
    def check(self, options: Options) -> None:
        """Raise a CampaignError unless the options of a new campaign fit it."""

    def starting(self, path: Path, stamps: Path, label_config: str, missing: Missing | None) -> Snapshot | VoteTable:
        """The labels of a file that a new campaign starts from: by default a table of stamp_set, stamp_id, label.

        Parameters
        ----------
        stamps : Path
            The campaign's stamp set.
        label_config : str
            The campaign's.
        missing : Missing, optional
            Which cells stand for no label.

        Raises
        ------
        LabelError
            If the file cannot be read, or is of other stamps.
        GalaxyLoopError
            If its labels cannot be.
        """
        return read_snapshot(path, missing, classes=self.offered(label_config))

    def task_data(self, stamp: Stamp, campaign: Campaign, settings: Settings) -> Mapping[str, str]:
        """What the data of a stamp's task has beside what every task has: addresses of more pictures; nothing here."""
        return {}

    def rendering(self, options: Options, default: Rendering) -> Rendering:
        """How a new campaign's pictures are made; `default` is the encoder's way.

        Raises
        ------
        CampaignError, CheckpointError
            If the model that it begins with does not fit, or cannot be read.
        """
        return default

    def begin(self, model: Path | None, stores: Stores, report: Report) -> Weights | None:
        """The model that a new campaign begins with, put into the store; None where labels make the first one.

        Raises
        ------
        CheckpointError
            If it cannot be read.
        """
        return None

    @abstractmethod
    def read(self, connection: Connection, campaign: Campaign) -> Labels[T]:
        """The campaign's labels as they stand."""

    def compared(self, connection: Connection, campaign: Campaign) -> Snapshot:
        """The labelled stamps whose features policies compare others with; none by default."""
        return Snapshot([], [], [])

    def sightings(self, connection: Connection, campaign: Campaign) -> Snapshot:
        """Labelled stamps, `yes` where they show what is looked for, else `no`; none by default.

        A model that answers only pictures cannot answer a whole pool: a head on these chooses what it looks at.
        """
        return Snapshot([], [], [])

    def fits(self, labels: Labels[T], campaign: Campaign, *, seen: bool) -> bool:
        """Whether `fit` makes something of labels: asked before hours of work; by default yes.

        Parameters
        ----------
        seen : bool
            Whether it would be on features of an encoder that was trained on them.
        """
        return True

    @abstractmethod
    def fit(self, labels: Labels[T], stores: Stores, seed: int, report: Report) -> Weights | None:
        """Learn from the training labels; None if they are too few.

        The same labels and seed make the same weights; a fit that was interrupted goes on where it can.

        Raises
        ------
        GalaxyLoopError
            If the labels cannot be learned from.
        """

    def model_folder(self, store: Path, digest: str) -> Path:
        """Where the store keeps the model of a version that is no head.

        Raises
        ------
        KindError
            If this kind has only heads.
        """
        raise KindError(f"The kind {self.name!r} keeps no model {digest} in the store: it has heads alone.")

    @abstractmethod
    def load(self, version: ModelVersion, stores: Stores) -> M:
        """A version with weights or a detector as something that answers.

        Raises
        ------
        CheckpointError
            If these are not there, or not whole.
        """

    def thaw(self, frozen: FrozenLabels, campaign: Campaign, first: ModelVersion | None) -> Labels[T]:
        """The labels that a fit sees of some that `read` counted (`Labels.counted`) and that were frozen.

        Parameters
        ----------
        first : ModelVersion or None
            The version that the campaign began with, where a fit goes on from it.

        Raises
        ------
        LabelError
            If they are no label of one choice a galaxy, and the kind (see `results.ResultKind`) does not say what else.
        """
        return Labels(0, cast("T", frozen.snapshot), cast("T", Snapshot([], [], [])))

    def drawn_from(self, store: Path, first: str) -> Sequence[Path]:
        """What of the store `fit` reads beside features, where it goes on from a model `first`; that model alone."""
        return [self.model_folder(store, first)]

    @abstractmethod
    def right(self, model: M, labels: T) -> NDArray[np.bool_] | NDArray[np.float64]:
        """Which labels, of which there is one at least, a model gets right (N,), or how far, 0 to 1; for the gate."""

    def evaluate(self, model: M, labels: T) -> Evaluation:
        """How a model answers labels, of which there is one at least; by default how far it is right, and no more."""
        return Evaluation(np.asarray(self.right(model, labels), dtype=np.float64))

    @abstractmethod
    def stamps(self, labels: T) -> list[Stamp]:
        """The stamps that are labelled, in order."""

    def posterior(self, version: ModelVersion, labels: Snapshot, stores: Stores) -> "HeadPosterior | None":
        """How sure a version that was fitted on some labels can be of its probabilities; None where nobody can say.

        Raises
        ------
        CheckpointError, FeatureError, FeaturesError
            If its weights, or features of the labels, are not there.
        """
        return None

    def opinions(self, connection: Connection, campaign: Campaign) -> Mapping[str, Sequence[Opinion]]:
        """Who said what of which stamp, by question, where people are asked several; of one question nothing.

        Agreement of people is told of each.
        """
        return {}

    @abstractmethod
    def export(
        self, labels: Labels[T], campaign: Campaign, sets: Mapping[str, Path], *, training: bool
    ) -> Snapshot | Coco | VoteTable | NumberTable:
        """The labels as others read them: a table, one of votes or of numbers, or a COCO document.

        Parameters
        ----------
        sets : mapping of str to Path
            Where each stamp set is.
        training : bool
            Only what a fit learns from: no audit slice.
        """

    def drawn(self, labels: Labels[T], campaign: Campaign, sets: Mapping[str, Path], *, training: bool) -> Coco | None:
        """What people drew, as `export` says; None where they draw nothing."""
        found = self.export(labels, campaign, sets, training=training)
        return found if isinstance(found, dict) else None


def picture_row(name: str, addresses: Sequence[str]) -> str:
    """Examples of a class side by side, as HTML for an instruction; empty without any."""
    cells = "".join(
        f'<td><img src="{html.escape(address)}" width="104" alt="{html.escape(name)}"></td>' for address in addresses
    )
    # Label Studio drops styles and stacks pictures; only a table puts them side by side
    return f"<table><tbody><tr>{cells}</tr></tbody></table>" if cells else ""


def refuse_detector(options: Options, what: str) -> None:
    """Raise a CampaignError if a campaign of heads is to begin with a detector."""
    if options.detector is not None:
        raise CampaignError(f"A campaign of {what} has no detector.", "Leave it out, or use the kind `lenses`.")


def refuse_foreign(kind: Kind[Any, Any], answered: Sequence[str], classes: Sequence[str]) -> None:
    """Raise a KindError if a kind answers a class that its campaign does not have."""
    foreign = sorted(set(answered) - set(classes))
    if foreign:
        raise KindError(
            f"The kind {kind.name!r} answers {', '.join(foreign)}, which its campaign does not offer.",
            f"Its classes are: {', '.join(classes)}.",
        )


@contextmanager
def blamed(kind: Kind[Any, Any], act: str) -> Iterator[None]:
    """Name the kind in one line where its code fails; errors raised on purpose, and the database's, pass as they are.

    Raises
    ------
    KindError
        For every other exception; the log has the traceback.
    """
    try:
        yield
    except (GalaxyLoopError, psycopg.Error):
        raise
    except Exception as error:
        log.warning("kind failed", kind=kind.name, act=act, exc_info=True)
        said = " ".join(str(error).split())[:200]
        raise KindError(
            f"The kind {kind.name!r} failed {act} ({type(error).__name__}: {said}).", f"Mend {type(kind).__module__}."
        ) from error
