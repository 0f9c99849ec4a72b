"""The labelled galaxies that the model sees as most like one, by what people said of them."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from backend_ml.acquisition.interest import similarity, unit_rows
from backend_ml.kinds.installed import kind_of
from backend_ml.kinds.models import Stamp
from backend_ml.label_studio import labelling
from backend_ml.labels.agreed import agree
from backend_ml.labels.people import People
from backend_ml.settings import Settings
from backend_ml.store.features import FeatureError, FeatureStore, mean_features, outliers_of
from backend_ml.store.records import Campaign
from backend_ml.store.stamps import StampSets
from backend_ml.why.words import unusual_words
from lvm_training.pool.features import FeaturesError

NEAREST = 12  # labelled galaxies whose labels are counted, where they are alike at all
ALIKE = 0.0  # the cosine of two galaxies that have nothing in common but what all have
NAMED = 3  # labelled galaxies that are nearest to an unusual one
OF_EACH = 4  # of each label are shown
STARTING_LABELS = "starting labels"


class Example(BaseModel):
    """A labelled galaxy; `similarity` is the cosine of the features, their mean taken off, -1 to 1."""

    stamp_set: str
    stamp_id: int
    name: str
    label: str
    similarity: float
    given_by: list[str]
    picture: str


class LabelledAlike(BaseModel):
    """The galaxies of one label that are nearest, the nearest first; `among` of those most like it have it."""

    label: str
    among: int
    examples: list[Example]


class Label(NamedTuple):
    """What the campaign agrees on, who gave which label, and whether that must be kept from others as yet."""

    agreed: str
    given: dict[str, str]
    hidden: bool


def people_labelled(votes: Sequence[dict[str, Any]]) -> int:
    """How many labels of a stamp people gave: those that a campaign began with are none."""
    return sum(vote["given"] != "start" for vote in votes)


def labels_by_stamp(votes: Sequence[dict[str, Any]], campaign: Campaign, people: People) -> dict[Stamp, Label]:
    """Each labelled stamp's label, and by whom.

    A blind galaxy that waits for more labels is hidden: whoever gives the next would know what others said.
    """
    of_stamp: dict[Stamp, list[dict[str, Any]]] = {}
    for vote in votes:
        of_stamp.setdefault((vote["stamp_set"], vote["stamp_id"]), []).append(vote)
    agreed = {(one.stamp_set, one.stamp_id): one.label for one in agree(votes, campaign.consensus)[0]}
    return {
        stamp: Label(
            agreed[stamp],
            {_who(vote, people): vote["label"] for vote in theirs},
            theirs[0]["blind"] and people_labelled(theirs) < campaign.overlap,
        )
        for stamp, theirs in of_stamp.items()
    }


def _who(vote: dict[str, Any], people: People) -> str:
    if vote["given"] == "start":
        return STARTING_LABELS
    if vote["person"] is not None or vote["annotator"] is None:
        return vote["person"] or "someone"
    return people.name(vote["annotator"])


class Neighbours:
    """Finds them."""

    def __init__(self, settings: Settings, sets: StampSets) -> None:
        self._settings, self._sets = settings, sets

    def find(
        self, campaign: Campaign, features: FeatureStore, stamp: Stamp, labels: dict[Stamp, Label]
    ) -> tuple[list[LabelledAlike], str]:
        """The nearest of each label, those labels first that most of the nearest have; and that in a sentence.

        Without any the sentence says why.
        """
        if not labels:
            return [], "Nobody has labelled another galaxy of this campaign yet."
        stamps = [stamp, *labels]
        try:
            units = unit_rows(centred(features, campaign, stamps))
        except (FeatureError, FeaturesError) as error:
            return [], f"There are no features to compare by: {error.message}"
        cosines = np.clip(units[1:] @ units[0], -1, 1)
        nearest = [(stamps[place + 1], float(cosines[place])) for place in np.argsort(-cosines, kind="stable").tolist()]
        counts = Counter(labels[near].agreed for near, cosine in nearest[:NEAREST] if cosine > ALIKE)
        by_label: dict[str, list[tuple[Stamp, float]]] = {}
        for near, cosine in nearest:
            by_label.setdefault(labels[near].agreed, []).append((near, cosine))
        # labels come in the order of their nearest galaxies, which is kept among those that are equally frequent
        order = sorted(by_label, key=lambda label: -counts[label])
        groups = [
            LabelledAlike(
                label=label,
                among=counts[label],
                examples=[
                    self._example(campaign, near, cosine, labels[near]) for near, cosine in by_label[label][:OF_EACH]
                ],
            )
            for label in order
        ]
        return groups, neighbour_words(counts)

    def unusual(self, features: FeatureStore, stamps: Sequence[Stamp], labels: dict[Stamp, Label]) -> list[str]:
        """How unusual each of some galaxies of one set is there, and which other labelled ones are nearest."""
        try:
            outliers, wanted = outliers_of(features.shard(stamps[0][0])), features.rows(stamps)
            known = features.rows(list(labels)) if labels else wanted[:0]
        except (FeatureError, FeaturesError) as error:
            return [f"How unusual it is cannot be told: {error.message}"] * len(stamps)
        given, finite = list(labels), np.isfinite(known).all(axis=1)
        scores = outliers.scores(wanted)
        said = []
        for stamp, row, score, below in zip(stamps, wanted, scores, outliers.share_below(scores), strict=True):
            others = np.flatnonzero(finite & np.array([one != stamp for one in given], dtype=np.bool_))
            nearest = [given[others[place]] for place in outliers.nearest(row, known[others])[:NAMED]]
            named = [f"{called(self._sets, one)} ({labels[one].agreed})" for one in nearest]
            apart = outliers.distances(row[None], known[others])[0]
            said.append(unusual_words(float(score), float(below), float(apart), named))
        return said

    def _example(self, campaign: Campaign, stamp: Stamp, cosine: float, label: Label) -> Example:
        disputed = len(set(label.given.values())) > 1
        return Example(
            stamp_set=stamp[0],
            stamp_id=stamp[1],
            name=called(self._sets, stamp),
            label=label.agreed,
            similarity=cosine,
            given_by=[f"{who}: {said}" if disputed else who for who, said in label.given.items()],
            picture=labelling.picture_url(stamp, campaign.links, self._settings),
        )


def neighbour_words(counts: Counter[str]) -> str:
    """What people called the nearest labelled galaxies."""
    if not counts:
        return "No galaxy that people labelled is like it to the model."
    said = [f"{count} “{label}”" for label, count in sorted(counts.items(), key=lambda pair: -pair[1])]
    listed = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
    number, galaxies = counts.total(), "galaxy" if counts.total() == 1 else "galaxies"
    return f"Of the {number} labelled {galaxies} that the model sees as most like it, people called {listed}."


def called(sets: StampSets, stamp: Stamp) -> str:
    """What a galaxy is called; its set and row where nobody says."""
    name, row = stamp
    return labelling.called(sets.holding(name, row), [row])[0] or f"{name} {row}"


def centred(features: FeatureStore, campaign: Campaign, stamps: Sequence[Stamp]) -> NDArray[np.float32]:
    """Features of some stamps (n, D), the mean over the campaign's stamp set taken off."""
    return np.asarray(features.rows(stamps) - mean_features(features.shard(campaign.stamp_set)), dtype=np.float32)


def similarity_to_wanted(
    campaign: Campaign, features: FeatureStore, stamp: Stamp, labels: dict[Stamp, Label]
) -> float | None:
    """To the nearest of what is looked for, minus that to the nearest of what is not; None where nothing is."""
    wanted = kind_of(campaign).wanted
    if wanted is None or not labels:
        return None
    vectors = centred(features, campaign, [stamp, *labels])
    looked_for = np.array([label.agreed == wanted for label in labels.values()])
    return float(similarity(vectors[:1], vectors[1:][looked_for], vectors[1:][~looked_for])[0])
