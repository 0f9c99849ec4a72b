"""Campaigns of ratings: how interesting galaxies are, which the search for unusual ones is weighted by."""

import html
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from backend_ml.acquisition.policy import POLICIES
from backend_ml.kinds.evaluation import Evaluation, Measure
from backend_ml.kinds.kind import Labels, Options, Report, refuse_detector
from backend_ml.kinds.models import Answers, Model, Predict, Quantity, Stamp, Stores, Weights, head_of
from backend_ml.kinds.results import ResultKind
from backend_ml.label_studio.regions.choices import Region, note_result
from backend_ml.label_studio.regions.numbers import find_rating, given_rating, rating_regions
from backend_ml.labels import set_aside
from backend_ml.plugins.choices import OURS
from backend_ml.store.database import Connection
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign, CampaignError, ModelVersion
from lvm_training.parameters.number_table import NumberTable
from lvm_training.parameters.rating import FEWEST, RatingHead
from lvm_training.tables.snapshot import Snapshot


class RatingAnswers(Answers):
    """The ratings (N,) that a head expects of some stamps, up to `most` stars."""

    interest: NDArray[np.float64]

    def __init__(self, ratings: NDArray[np.float64], head: RatingHead) -> None:
        self.classes, self.ratings = head.classes, ratings
        self._most, self._error = float(head.most[0]), float(head.error[0])
        self.interest, self.quantities = ratings / self._most, ratings[:, None]

    def result(self, index: int, label_config: str) -> list[Region]:
        """The nearest whole number of stars, where that is one or more."""
        regions = rating_regions(find_rating(label_config), round(float(self.ratings[index])))
        return [*regions, *note_result(label_config, f"Model: {self._said(index)}")] if regions else []

    def scores(self, index: int) -> dict[str, float]:
        """As `Answers.scores`: the expected rating."""
        return {self.classes[0]: round(float(self.ratings[index]), 2)}

    def words(self, index: int) -> str:
        """As `Answers.words`."""
        return f"The model expects {self._said(index)}."

    def heat_words(self, index: int) -> str:
        """As `Answers.heat_words`."""
        return "There is no heat map for ratings."

    def measures(self, index: int) -> dict[str, float]:
        """As `Answers.measures`."""
        return {"interest": float(self.interest[index])}

    def _said(self, index: int) -> str:
        return f"{self.ratings[index]:.1f} ± {self._error:.1f} of {self._most:g} stars"


class RatingModel(Model):
    """A head of ratings on the campaign's features."""

    def __init__(self, head: RatingHead, features: FeatureStore) -> None:
        self.head, self._features = head, features

    def check(self, stamp: Stamp) -> None:
        """As `Model.check`."""
        self._features.rows([stamp])

    def answer(self, stamps: Sequence[Stamp]) -> RatingAnswers:
        """As `Model.answer`."""
        return RatingAnswers(self.head.predict(self._features.rows(stamps)), self.head)

    @property
    def interest(self) -> Predict:
        """As `Model.interest`."""
        return lambda features: self.head.predict(features) / float(self.head.most[0])

    @cached_property
    def quantities(self) -> tuple[Quantity, ...]:
        """As `Model.quantities`: the expected rating."""
        name = self.head.classes[0]
        return (Quantity("", name, f"Expected rating, 0 to {self.head.most[0]:g}", "", "stat.value"),)


class InterestRating(ResultKind[NumberTable, RatingModel]):
    """How interesting a galaxy is, by the `Rating` of a label config; no star is 0.

    What is asked first is unusual, weighted by the rating that is expected of it (Lochner & Bassett 2021). The newest
    annotation of a stamp counts.
    """

    name = "interest_rating"
    folder = OURS
    policies = ("unusual", *(n for n, one in POLICIES.items() if one.needs <= {"features"} and n != "unusual"))
    takes_columns = True
    needed = f"{FEWEST} ratings, outside the audit slice"
    limits: ClassVar[tuple[str, ...]] = (
        "It says how interesting those who rated would find a galaxy: others look for other things.",
        "Of galaxies unlike everything rated it knows nothing; the queue goes by how unusual they are.",
    )

    def offered(self, label_config: str) -> tuple[str, ...]:
        """As `Kind.offered`: the name of the tag."""
        return (find_rating(label_config).name,)

    def instruction(self, label_config: str, examples: Mapping[str, Sequence[str]]) -> str:
        """As `Kind.instruction`."""
        control = find_rating(label_config)
        return (
            "<p>Say with stars how interesting the galaxy <b>in the centre</b> is to you: "
            f"<b>{control.most} stars</b> for what you would follow up at once, <b>none</b> for nothing of interest,"
            " such as an artefact. Where the stars that the model filled in are right, Ctrl+Enter is enough."
            f" What is rated here as “{html.escape(control.name)}” decides which unusual galaxies come first. Some"
            " galaxies are shown without stars on purpose.</p>"
        )

    def check(self, options: Options) -> None:
        """As `Kind.check`."""
        refuse_detector(options, "ratings")
        if options.labels is not None:
            raise CampaignError("A campaign of ratings cannot start from labels of classes.", "Leave them out.")
        if options.consensus != "majority":
            raise CampaignError("Ratings have no consensus: the newest annotation of a stamp counts.", "Leave it out.")

    def labels_of(
        self, rows: Sequence[Mapping[str, Any]], campaign: Campaign, first: ModelVersion | None
    ) -> Labels[NumberTable]:
        """As `ResultKind.labels_of`; an annotation with a rating that cannot be read is set aside."""
        control = find_rating(campaign.label_config or self.label_config())
        kept: dict[bool, list[tuple[Stamp, float, int]]] = {True: [], False: []}
        said, odd = set_aside.read_results(rows, lambda result: given_rating(result, control))
        for row, stars in said:
            kept[row["audit"]].append(((row["stamp_set"], row["stamp_id"]), stars, row["annotator"] or 0))
        return Labels(0, _table(control.name, kept[False]), _table(control.name, kept[True]), odd=odd)

    def compared(self, connection: Connection, campaign: Campaign) -> Snapshot:
        """As `Kind.compared`: near them the rating weighs, far from them how unusual a galaxy is."""
        given = self.read(connection, campaign).training
        stars = [f"{one:g}" for one in given.values[:, 0].tolist()]
        return Snapshot([name for name, _ in given.stamps], [row for _, row in given.stamps], stars)

    def fits(self, labels: Labels[NumberTable], campaign: Campaign, *, seen: bool) -> bool:
        """As `Kind.fits`."""
        return len(labels.training) >= FEWEST

    def fit(self, labels: Labels[NumberTable], stores: Stores, seed: int, report: Report) -> Weights | None:
        """As `Kind.fit`."""
        given, campaign = labels.training, stores.campaign
        if not self.fits(labels, campaign, seen=stores.seen):
            return None
        report("fitting", 0, 1)
        control = find_rating(campaign.label_config or self.label_config())
        head = RatingHead.fit(
            stores.features.rows(self.stamps(given)),
            given.values[:, 0].tolist(),
            name=control.name,
            most=control.most,
            seed=seed,
        )
        return Weights(head=head.save(), metrics={"rating error": float(head.error[0])})

    def load(self, version: ModelVersion, stores: Stores) -> RatingModel:
        """As `Kind.load`."""
        return RatingModel(RatingHead.load(head_of(version)), stores.features)

    def right(self, model: RatingModel, labels: NumberTable) -> NDArray[np.float64]:
        """As `Kind.right`: 1 where the expected rating is the one given, 0 where it is all stars off."""
        off = np.abs(model.answer(self.stamps(labels)).ratings - labels.values[:, 0])
        return np.asarray(np.clip(1 - off / float(model.head.most[0]), 0.0, 1.0))

    def evaluate(self, model: RatingModel, labels: NumberTable) -> Evaluation:
        """As `Kind.evaluate`: ratings in words, and how far the expected ones are off."""
        ratings, n = model.answer(self.stamps(labels)).ratings, len(labels)
        off = ratings - labels.values[:, 0]
        name = model.head.classes[0]
        measures = [
            Measure(name, "RMSE", float(np.sqrt((off**2).mean())), n, "stars"),
            Measure(name, "bias", float(off.mean()), n, "stars"),
        ]
        said = tuple(f"{one:g} stars" for one in labels.values[:, 0].tolist())
        answered = tuple(f"{one:.1f} stars" for one in ratings.tolist())
        return Evaluation(self.right(model, labels), said, answered, measures=measures)

    def stamps(self, labels: NumberTable) -> list[Stamp]:
        """As `Kind.stamps`."""
        return list(labels.stamps)

    def export(
        self, labels: Labels[NumberTable], campaign: Campaign, sets: Mapping[str, Path], *, training: bool
    ) -> NumberTable:
        """As `Kind.export`."""
        return labels.training if training else labels.training.joined(labels.audit)


def _table(name: str, rows: Sequence[tuple[Stamp, float, int]]) -> NumberTable:
    ordered = sorted(rows, key=lambda row: row[0])
    values = np.array([row[1] for row in ordered]).reshape(-1, 1)
    return NumberTable((name,), [row[0] for row in ordered], values, [row[2] for row in ordered])
