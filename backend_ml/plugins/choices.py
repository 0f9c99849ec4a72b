"""Campaigns of one choice a galaxy: a head on the encoder's features; `Morphology` is ours."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from backend_ml.acquisition.policy import fitting
from backend_ml.kinds.answers import ChoiceAnswers
from backend_ml.kinds.evaluation import Evaluation
from backend_ml.kinds.kind import Kind, Labels, Options, Report, picture_row, refuse_detector, refuse_foreign
from backend_ml.kinds.models import Model, Predict, Stamp, Stores, Weights, head_of
from backend_ml.kinds.simulated import PRIOR_SHARE, mean_share, prior_of
from backend_ml.label_studio.regions.choices import (
    ASIDE,
    CONTROLS,
    SIMULATED,
    LabelConfigError,
    choice_hints,
    find_choices,
    only_question,
)
from backend_ml.labels.agreed import Counted, agree, snapshot
from backend_ml.store.database import Connection, query
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign, ModelVersion
from lvm_training.errors import CheckpointError
from lvm_training.heads.classification import ClassificationHead
from lvm_training.heads.head import Head
from lvm_training.heads.posterior import HeadPosterior
from lvm_training.heads.preference import PreferenceHead
from lvm_training.heads.training import train_head, train_with_prior
from lvm_training.pool.features import Features
from lvm_training.scenes.simulated_classes import NOT, ConceptError, check_classes, find_concept, split_concepts
from lvm_training.tables.snapshot import Snapshot

HOTKEYS = "1234567"  # 8 and 9 are the choices aside
ASIDE_MEANS = ("you cannot tell", "a star, a satellite trail, a broken image")
OURS = Path(__file__).parent.parent.parent / "label_config"


class HeadModel(Model):
    """A head of choices on the campaign's features, which answers by the classes that the campaign has now.

    A head that knows others answers as well as it can: what it says of a former class is said of the one that took its
    place (`Campaign.renamed`), and a new class has no probability until one is fitted that knows it.
    """

    def __init__(self, head: Head, features: FeatureStore, campaign: Campaign, wanted: str | None = None) -> None:
        self._head, self._features, self._classes, self._wanted = head, features, campaign.classes, wanted
        self._now = None if head.classes == campaign.classes else _as_named_now(head.classes, campaign)

    def check(self, stamp: Stamp) -> None:
        """As `Model.check`."""
        self._features.rows([stamp])

    @property
    def from_features(self) -> Predict:
        """As `Model.from_features`."""
        return self._predict

    def _predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        found = self._head.predict(features)
        if self._now is None:
            return found
        named = found @ self._now
        # nothing is left where all of it was said of classes that are gone
        return np.asarray(named / np.maximum(named.sum(axis=1, keepdims=True), np.finfo(float).tiny))

    def answer(self, stamps: Sequence[Stamp]) -> ChoiceAnswers:
        """As `Model.answer`."""
        head, features = self._head, self._features.rows(stamps)
        if not isinstance(head, ClassificationHead | PreferenceHead) or head.prior_weights is None:
            return ChoiceAnswers(self._predict(features), self._classes, wanted=self._wanted)

        def prior_share(index: int) -> float:
            return float(head.prior_share(features[index : index + 1])[0])

        return ChoiceAnswers(self._predict(features), self._classes, prior_share, wanted=self._wanted)


def _as_named_now(former: Sequence[str], campaign: Campaign) -> NDArray[np.float64]:
    """Which class of a campaign each class of an earlier head is now, a one in a matrix (C of the head, C).

    Raises
    ------
    CheckpointError
        If none of them is a class any more.
    """
    names = [campaign.renamed.get(name, name) for name in former]
    found = np.array([[name == one for one in campaign.classes] for name in names], dtype=np.float64)
    if not found.any():
        raise CheckpointError(
            f"The head answers {', '.join(former)}, none of which is a class any more.", "Let the campaign learn again."
        )
    return found


class ChoiceKind(Kind[Snapshot, HeadModel]):
    """One choice a galaxy, by the first `Choices` of a label config.

    Attributes
    ----------
    head : type of Head
        What learns from the labels, by its `fit` from features, labels, classes and a seed.
    question : str
        What people are asked, as HTML.
    """

    head: ClassVar[type[Head]] = ClassificationHead
    policies = ("margin", *(name for name in fitting(boxes=False, searching=False) if name != "margin"))
    trains_encoder = True
    by_consensus = True
    takes_columns = True
    limits: ClassVar[tuple[str, ...]] = (
        "It gives every galaxy one of its classes, also one that fits none of them.",
        "Its probabilities hold for galaxies as they come in the campaign; among others, classes are more or less"
        " frequent.",
    )
    needed = "labels of two classes, outside the audit slice"
    question: ClassVar[str] = "Choose what the galaxy <b>in the centre</b> is"

    def part(self, label_config: str, adopted: str) -> str:
        """As `Kind.part`: the one question that was there, by its name."""
        name = find_choices(adopted).name
        part = only_question(label_config, name)
        if find_choices(part).name != name:
            raise LabelConfigError(f"The label config has no question {name!r} any more.", "Put it back.")
        return part

    def offered(self, label_config: str) -> tuple[str, ...]:
        """As `Kind.offered`; the choices aside are none."""
        return find_choices(label_config, CONTROLS.get(self.name, "")).classes

    def with_classes(self, label_config: str, classes: Sequence[str]) -> str:
        """As `Kind.with_classes`; the choices aside stay."""
        if not 2 <= len(classes) <= len(HOTKEYS):
            raise LabelConfigError(f"{len(classes)} classes do not fit the number keys.", "Use 2 to 7 classes.")
        odd = [name for name in classes if not name.strip() or name in ASIDE or classes.count(name) > 1]
        if odd:
            raise LabelConfigError(
                f"{odd[0]!r} is {'named twice' if classes.count(odd[0]) > 1 else 'no class'}.",
                f"Name each class once; what people say is {' or '.join(ASIDE)} is kept aside.",
            )
        root = ElementTree.fromstring(label_config)  # noqa: S314 - an installed package's own file
        choices = next(root.iter("Choices"))
        known = {choice.get("value"): choice for choice in choices}
        drawn = [name for name in classes if name in known and known[name].get(SIMULATED)]
        for choice in list(choices):
            choices.remove(choice)
        for key, name in zip(HOTKEYS, classes, strict=False):
            # one class that is drawn has none to be told from: without a mapping of its own the campaign has none
            taken = ("hint", SIMULATED) if len(drawn) > 1 else ("hint",)
            about = {one: known[name].get(one, "") for one in taken} if name in known else {}
            about = {one: text for one, text in about.items() if text}
            choices.append(ElementTree.Element("Choice", {"value": name, "hotkey": key, **about}))
        choices.extend(known[name] for name in ASIDE if name in known)
        ElementTree.indent(root)
        return ElementTree.tostring(root, encoding="unicode")

    def with_simulated(self, label_config: str, simulated: Mapping[str, str]) -> str:
        """As `Kind.with_simulated`: an attribute of each `Choice`."""
        if not simulated:
            return label_config
        classes = self.offered(label_config)
        foreign = [name for name in simulated if name not in classes]
        if foreign:
            raise LabelConfigError(
                f"{', '.join(map(repr, foreign))} cannot be simulated: the campaign has no such class.",
                f"Its classes are: {', '.join(classes)}.",
            )
        root = ElementTree.fromstring(label_config)  # noqa: S314 - ours, or an installed package's own file
        for choice in next(root.iter("Choices")).iter("Choice"):
            if (name := choice.get("value") or choice.text or "") in simulated:
                choice.set(SIMULATED, simulated[name])
        return ElementTree.tostring(root, encoding="unicode")

    def simulated(self, label_config: str) -> Mapping[str, str]:
        """As `Kind.simulated`: the attributes `simulated` of its choices."""
        found = dict(find_choices(label_config, CONTROLS.get(self.name, "")).simulated)
        check_classes(found)
        aside = [name for name in found if name in ASIDE]
        if aside:
            raise ConceptError(
                f"{', '.join(map(repr, aside))} is no class that a model answers.", f"Take its {SIMULATED!r} away."
            )
        if found and self.head is not ClassificationHead:
            raise ConceptError(f"The head of the kind {self.name!r} cannot begin with simulated classes.")
        return found

    def instruction(self, label_config: str, examples: Mapping[str, Sequence[str]]) -> str:
        """As `Kind.instruction`: the question, and each class with its hint and a row of pictures where it has any."""
        aside = [
            f"<b>{key} · {html.escape(name)}</b>: {meaning}."
            for name, key, meaning in zip(ASIDE, "89", ASIDE_MEANS, strict=True)
            if name in find_choices(label_config, CONTROLS.get(self.name, "")).choices
        ]
        rows, hints, drawn = [], choice_hints(label_config), self.simulated(label_config)
        for key, name in zip(HOTKEYS, self.offered(label_config), strict=False):
            pictures = picture_row(name, examples.get(name, ()))
            said = hints.get(name) or _drawn_words(drawn.get(name, ""))
            hint = f": {html.escape(said)}" if said else ""
            rows.append(f"<p><b>{key} · {html.escape(name)}</b>{hint}</p>{pictures}")
        return (
            f"<p>{self.question}: press its number, then Ctrl+Enter to submit. Where the"
            " model's own answer is filled in and right, Ctrl+Enter is enough; its number does no harm. Some"
            " galaxies are shown without an answer on purpose.</p>"
            + "".join(rows)
            + (f"<p>{' '.join(aside)} These are kept, but not learned from.</p>" if aside else "")
        )

    def check(self, options: Options) -> None:
        """As `Kind.check`."""
        refuse_detector(options, "choices")

    def read(self, connection: Connection, campaign: Campaign) -> Labels[Snapshot]:
        """As `Kind.read`: one label a stamp, by the campaign's consensus; those aside are not learned from."""
        votes = query(connection, "votes", campaign=campaign.id)
        labels, _ = agree(votes, campaign.consensus)
        return Labels(
            last_event=query(connection, "last_event", campaign=campaign.id)[0]["id"],
            training=snapshot(labels, campaign.classes, audit=False),
            audit=snapshot(labels, campaign.classes, audit=True),
            counted=Counted.of(votes),
        )

    def compared(self, connection: Connection, campaign: Campaign) -> Snapshot:
        """As `Kind.compared`: those that a head is fitted on."""
        return self.read(connection, campaign).training

    def enough(self, labels: Snapshot) -> bool:
        """Whether a head can be fitted: two classes are labelled."""
        return len(set(labels.label)) >= 2

    def fits(self, labels: Labels[Snapshot], campaign: Campaign, *, seen: bool) -> bool:
        """As `Kind.fits`: labels of two classes, or simulated ones."""
        return bool(campaign.simulated and not seen) or self.enough(labels.training)

    def fit(self, labels: Labels[Snapshot], stores: Stores, seed: int, report: Report) -> Weights | None:
        """As `Kind.fit`; a campaign of simulated classes needs no label."""
        # an encoder that was trained on hundreds of labels knows more of them than the simulator does
        prior = None if stores.seen else prior_of(stores, report)
        if prior is not None:
            report("fitting", 0, 1)
            head = train_with_prior(
                self._shards(labels.training, stores),
                labels.training,
                prior,
                classes=stores.campaign.classes,
                seed=seed,
            )
            return Weights(head=head.save(), metrics={PRIOR_SHARE: mean_share(head, stores)})
        if not self.enough(labels.training):
            return None
        report("fitting", 0, 1)
        return Weights(head=self.train(labels.training, stores, seed).save())

    def train(self, labels: Snapshot, stores: Stores, seed: int) -> Head:
        """The head that these labels make.

        Raises
        ------
        LabelError, FeatureError, FeaturesError
            If the labels cannot be learned from, or stamps have no features.
        KindError
            If the head answers other classes than the campaign's. Later it may: classes get other names.
        """
        head = train_head(
            self._shards(labels, stores),
            labels,
            classes=stores.campaign.classes,
            seed=seed,
            head=self.head,
            seen=stores.seen,
        )
        refuse_foreign(self, head.classes, stores.campaign.classes)
        return head

    def _shards(self, labels: Snapshot, stores: Stores) -> dict[str, Features]:
        """Features of the stamp sets that are labelled, by name."""
        return {name: stores.features.shard(name) for name in set(labels.stamp_set)}

    def load(self, version: ModelVersion, stores: Stores) -> HeadModel:
        """As `Kind.load`."""
        return HeadModel(self.head.load(head_of(version)), stores.features, stores.campaign, self.wanted)

    def right(self, model: HeadModel, labels: Snapshot) -> NDArray[np.bool_]:
        """As `Kind.right`: whose most probable class is the label."""
        return np.asarray(self.evaluate(model, labels).right == 1)

    def evaluate(self, model: HeadModel, labels: Snapshot) -> Evaluation:
        """As `Kind.evaluate`."""
        answers = model.answer(self.stamps(labels))
        best = np.array(answers.classes)[answers.probabilities.argmax(axis=1)]
        right = np.asarray(best == np.array(labels.label), dtype=np.float64)
        said, answered = tuple(labels.label), tuple(best.tolist())
        return Evaluation(right, said, answered, answers.classes, answers.probabilities)

    def posterior(self, version: ModelVersion, labels: Snapshot, stores: Stores) -> HeadPosterior | None:
        """As `Kind.posterior`, for heads of ours."""
        if version.weights is None:
            return None
        head, background = self.head.load(version.weights), self._background(stores)
        if head.classes != stores.campaign.classes:
            return None  # of classes that were renamed since: the next fit tells
        ordered = labels.sorted()
        features = stores.features.rows(self.stamps(ordered))
        return HeadPosterior.of(head, features, ordered.label, background=background, seed=stores.campaign.seed)

    def _background(self, stores: Stores) -> NDArray[np.float16] | None:
        """Galaxies nobody labelled that the head is told from, where it is."""
        return None

    def stamps(self, labels: Snapshot) -> list[Stamp]:
        """As `Kind.stamps`."""
        return list(zip(labels.stamp_set, labels.stamp_id, strict=True))

    def export(
        self, labels: Labels[Snapshot], campaign: Campaign, sets: Mapping[str, Path], *, training: bool
    ) -> Snapshot:
        """As `Kind.export`."""
        if training:
            return labels.training
        one, other = labels.training, labels.audit
        return Snapshot(
            [*one.stamp_set, *other.stamp_set], [*one.stamp_id, *other.stamp_id], [*one.label, *other.label]
        ).sorted()


def _drawn_words(concepts: str) -> str:
    """What the simulator draws of a class, for one whose label config says nothing of it."""
    named = [(find_concept(one.removeprefix(NOT)).words, one.startswith(NOT)) for one in split_concepts(concepts)]
    return ", or ".join(f"not {words}" if lacks else words for words, lacks in named)


class Morphology(ChoiceKind):
    """Forms of galaxies, or any other classes that a campaign names."""

    name = "morphology"
    folder = OURS
