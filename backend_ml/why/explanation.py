"""Why a galaxy is in the queue: its nearest labelled examples, what ranked it, and what the model says of it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from backend_ml.acquisition.interest import similarity, unit_rows
from backend_ml.acquisition.policy import needed_views
from backend_ml.kinds.installed import kind_of, load_model
from backend_ml.kinds.models import Stamp, Stores
from backend_ml.label_studio.labelling import picture_url
from backend_ml.labels.agreed import agree
from backend_ml.labels.people import People
from backend_ml.learning.learn import answering_version
from backend_ml.queue import selections
from backend_ml.settings import Settings
from backend_ml.store.database import Database, query
from backend_ml.store.features import FeatureError, FeatureStore, mean_features
from backend_ml.store.records import Campaign
from backend_ml.why.words import Place, answer_words, heat_words, place_words
from lvm_training.pool.features import FeaturesError

NEAREST = 5
STARTING_LABELS = "starting labels"
BLIND = (
    "This galaxy is of the audit slice: it is labelled without help, to see how good the model is. What is like it and "
    "what the model says of it are shown once it has a label."
)


class Example(BaseModel):
    """A labelled galaxy; `similarity` is the cosine of the features, their mean taken off, -1 to 1."""

    stamp_set: str
    stamp_id: int
    label: str
    similarity: float
    given_by: list[str]
    picture: str


class Why(BaseModel):
    """Everything the page says of one galaxy.

    Attributes
    ----------
    labels : dict
        Its own label by who gave it.
    nearest : list of Example
        The nearest labelled examples; `nearest_words` says why there are none.
    place : Place or None
        Where the newest push or round that held it put it; `place_words` says the same in a sentence.
    version : str or None
        The version that answers now.
    answer : dict
        Probabilities by class, or the best score of each kind of object.
    measures : dict
        What the ranking may go by: margin, entropy, probability, similarity, box margin, mask
        disagreement; and the prior share of the answer, from simulated stamps.
    heat : bool
        Whether there is a heat map; `heat_words` says of what, or why not.
    """

    campaign: str
    stamp_set: str
    stamp_id: int
    picture: str
    labels: dict[str, str]
    nearest: list[Example]
    nearest_words: str
    place: Place | None
    place_words: str
    version: str | None
    answer: dict[str, float]
    answer_words: str
    measures: dict[str, float]
    heat: bool
    heat_words: str


class Label(NamedTuple):
    """What the campaign agrees on, and who gave which label."""

    agreed: str
    given: dict[str, str]


class Explainer:
    """Says why, from the campaign database, the features and the models."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database, self._settings = database, settings
        self._sets, self._people = database.stamp_sets, People(settings)

    def why(self, campaign: Campaign, stamp_set: str, stamp_id: int) -> Why:
        """Why a stamp is where it is.

        Raises
        ------
        UnknownStampError
            If there is no such stamp.
        CheckpointError
            If the campaign's model is gone.
        """
        self._sets.holding(stamp_set, stamp_id)
        stamp = {"stamp_set": stamp_set, "stamp_id": stamp_id}
        with self._database.transaction() as connection:
            features = FeatureStore.from_database(connection, campaign.encoder)
            stores = Stores(campaign, features, self._sets, self._settings.store_folder, needed_views(campaign.policy))
            version = answering_version(connection, stores)
            task = query(connection, "task_of_stamp", campaign=campaign.id, **stamp)
            shown = selections.place_of(connection, campaign, stamp_set, stamp_id)
            votes = query(connection, "votes", campaign=campaign.id)
        labels = self._labels(votes, campaign.consensus)
        own = labels.pop((stamp_set, stamp_id)).given if (stamp_set, stamp_id) in labels else {}
        place = Place(**shown) if shown else None
        common = {"campaign": campaign.name, **stamp, "place": place, "place_words": place_words(place)}
        common |= {"labels": own, "picture": picture_url((stamp_set, stamp_id), campaign.id, self._settings)}
        common["version"] = version.version if version else None
        if task and task[0]["audit"] and not own:
            blind = dict.fromkeys(("nearest_words", "answer_words", "heat_words"), BLIND)
            return Why(**common, **blind, nearest=[], answer={}, measures={}, heat=False)
        nearest, words = self._nearest(campaign, features, (stamp_set, stamp_id), labels)
        model = None if version is None else load_model(version, stores)
        answers = None if model is None else model.answer([(stamp_set, stamp_id)])
        measures = answers.measures(0) if answers else {}
        return Why(
            **common,
            nearest=nearest,
            nearest_words=words,
            answer=answers.scores(0) if answers else {},
            answer_words=answer_words(answers),
            measures=measures | _similarity(campaign, features, (stamp_set, stamp_id), labels),
            heat=answers is not None and answers.has_heat,
            heat_words=heat_words(answers),
        )

    def _labels(self, votes: Sequence[dict[str, Any]], consensus: str) -> dict[Stamp, Label]:
        """Each labelled stamp's label, and by whom."""
        labels = {(one.stamp_set, one.stamp_id): Label(one.label, {}) for one in agree(votes, consensus)[0]}
        for vote in votes:
            given = labels[vote["stamp_set"], vote["stamp_id"]].given
            if vote["given"] == "start":
                given[STARTING_LABELS] = vote["label"]
            elif vote["person"] is not None or vote["annotator"] is None:
                given[vote["person"] or "someone"] = vote["label"]
            else:
                given[self._people.name(vote["annotator"])] = vote["label"]
        return labels

    def _nearest(
        self, campaign: Campaign, features: FeatureStore, stamp: Stamp, labels: dict[Stamp, Label]
    ) -> tuple[list[Example], str]:
        if not labels:
            return [], "Nobody has labelled another galaxy of this campaign yet."
        try:
            stamps = [stamp, *labels]
            units = unit_rows(centred(features, campaign, stamps))
        except (FeatureError, FeaturesError) as error:
            return [], f"There are no features to compare by: {error.message}"
        cosines = np.clip(units[1:] @ units[0], -1, 1)
        best = np.argsort(-cosines, kind="stable")[:NEAREST]
        found = [(stamps[place + 1], float(cosines[place])) for place in best.tolist()]
        return [self._example(campaign, near, cosine, labels[near]) for near, cosine in found], ""

    def _example(self, campaign: Campaign, stamp: Stamp, cosine: float, label: Label) -> Example:
        disputed = len(set(label.given.values())) > 1
        return Example(
            stamp_set=stamp[0],
            stamp_id=stamp[1],
            label=label.agreed,
            similarity=cosine,
            given_by=[f"{who}: {said}" if disputed else who for who, said in label.given.items()],
            picture=picture_url(stamp, campaign.id, self._settings),
        )


def centred(features: FeatureStore, campaign: Campaign, stamps: Sequence[tuple[str, int]]) -> NDArray[np.float32]:
    """Features of some stamps (n, D), the mean over the campaign's stamp set taken off."""
    return np.asarray(features.rows(stamps) - mean_features(features.shard(campaign.stamp_set)), dtype=np.float32)


def _similarity(
    campaign: Campaign, features: FeatureStore, stamp: Stamp, labels: dict[Stamp, Label]
) -> dict[str, float]:
    """To what is looked for, minus that to what is not; nothing in campaigns that look for nothing."""
    wanted = kind_of(campaign).wanted
    if wanted is None or not labels:
        return {}
    vectors = centred(features, campaign, [stamp, *labels])
    looked_for = np.array([label.agreed == wanted for label in labels.values()])
    return {"similarity": float(similarity(vectors[:1], vectors[1:][looked_for], vectors[1:][~looked_for])[0])}
