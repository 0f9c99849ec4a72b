"""Why a galaxy is in the queue: its nearest labelled examples, what ranked it, and what the model says of it."""

from typing import Any, NamedTuple

from pydantic import BaseModel

from backend_ml.acquisition.policy import needed_views
from backend_ml.kinds.installed import config_of, kind_of, load_model
from backend_ml.kinds.models import Stamp, Stores
from backend_ml.label_studio.labelling import picture_url
from backend_ml.labels.people import People
from backend_ml.learning.learn import answering_version
from backend_ml.pictures.framing import framing_words
from backend_ml.queue import selections
from backend_ml.settings import Settings
from backend_ml.store.database import Connection, Database, query
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign, ModelVersion
from backend_ml.why.boxes import Box, drawn_boxes
from backend_ml.why.neighbours import (
    Label,
    LabelledAlike,
    Neighbours,
    called,
    labels_by_stamp,
    similarity_to_wanted,
)
from backend_ml.why.ways import Ways, find_ways
from backend_ml.why.words import BLIND, Place, answer_words, heat_words, later_words, place_words


class Why(BaseModel):
    """Everything the page says of one galaxy.

    Attributes
    ----------
    name : str
        What it is called.
    labels : dict
        Its own label by who gave it.
    neighbours : list of LabelledAlike
        The nearest labelled galaxies by their label; `neighbour_words` says what most are called, or why none is there.
    place : Place or None
        Where the newest push or round that held it put it; `place_words` says the same in a sentence.
    version : str or None
        The version that answers now.
    answer : dict
        Probabilities by class, the best score of each kind of object, shares of votes; or numbers by their names.
    shares : bool
        Whether these are from 0 to 1.
    boxes : list of Box
        What the model draws, of a kind that finds objects.
    measures : dict
        What the ranking may go by: margin, entropy, probability, box margin, mask disagreement; and the prior share of
        the answer, from simulated stamps.
    unusual_words : str
        How unusual it is in its stamp set, and the nearest labelled galaxies.
    similarity : float or None
        To the nearest of what is looked for, minus that to the nearest of what is not.
    heat : bool
        Whether there is a heat map; `heat_words` says of what, or why not.
    framing : str
        What people see of the stamp as they label it, where that is not all; "" where it is.
    ways : Ways
        Where the page leads.
    """

    campaign: str
    stamp_set: str
    stamp_id: int
    name: str
    picture: str
    framing: str
    labels: dict[str, str] = {}
    neighbours: list[LabelledAlike] = []
    neighbour_words: str
    place: Place | None
    place_words: str
    version: str | None
    answer: dict[str, float] = {}
    shares: bool = True
    answer_words: str
    boxes: list[Box] = []
    measures: dict[str, float] = {}
    unusual_words: str = ""
    similarity: float | None = None
    heat: bool = False
    heat_words: str
    ways: Ways


class Seen(NamedTuple):
    """What the database says of a galaxy, all at one moment; `blind` is whether it is of the audit slice."""

    stores: Stores
    version: ModelVersion | None
    place: Place | None
    votes: list[dict[str, Any]]
    blind: bool
    ways: Ways


class Explainer:
    """Says why, from the campaign database, the features and the models."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database, self._settings = database, settings
        self._sets, self._people = database.stamp_sets, People(settings)
        self._neighbours = Neighbours(settings, self._sets)

    def why(self, campaign: Campaign, stamp_set: str, stamp_id: int) -> Why:
        """Why a stamp is where it is.

        Raises
        ------
        UnknownStampError
            If there is no such stamp.
        CheckpointError
            If the campaign's model is gone.
        """
        stamps, shows_whole = self._sets.holding(stamp_set, stamp_id), kind_of(campaign).shows_whole
        stamp = (stamp_set, stamp_id)
        with self._database.transaction() as connection:
            seen = self._seen(connection, campaign, stamp)
        labels = labels_by_stamp(seen.votes, campaign, self._people)
        own = labels.pop(stamp, None)
        common: dict[str, Any] = {
            "campaign": campaign.name,
            "stamp_set": stamp_set,
            "stamp_id": stamp_id,
            "name": called(self._sets, stamp),
            "picture": picture_url(stamp, campaign.links, self._settings),
            "framing": "" if shows_whole else framing_words(campaign.rendering, stamps, shows_whole=False),
            "place": seen.place,
            "version": None if seen.version is None else seen.version.version,
            "ways": seen.ways,
        }
        if seen.blind and (own is None or own.hidden):
            # what others said of it would help as much as what the model says
            later = later_words(campaign.overlap)
            said = {"neighbour_words": later, "answer_words": later, "heat_words": f"{BLIND} {later}"}
            return Why(**common, **said, place_words=place_words(seen.place))
        given = {} if own is None else own.given
        common |= _answer(seen, stamp) | self._compared(campaign, seen.stores.features, stamp, labels)
        disputed = len(set(given.values())) > 1
        return Why(**common, labels=given, place_words=place_words(seen.place, disputed=disputed))

    def _compared(
        self, campaign: Campaign, features: FeatureStore, stamp: Stamp, labels: dict[Stamp, Label]
    ) -> dict[str, Any]:
        """How it compares with what people labelled."""
        known = {near: label for near, label in labels.items() if not label.hidden}
        neighbours, words = self._neighbours.find(campaign, features, stamp, known)
        wanted = similarity_to_wanted(campaign, features, stamp, known)
        (unusual,) = self._neighbours.unusual(features, [stamp], known)
        return {"neighbours": neighbours, "neighbour_words": words, "unusual_words": unusual, "similarity": wanted}

    def _seen(self, connection: Connection, campaign: Campaign, stamp: Stamp) -> Seen:
        name, row = stamp
        features = FeatureStore.from_database(connection, campaign.encoder)
        stores = Stores(campaign, features, self._sets, self._settings.store_folder, needed_views(campaign.policy))
        tasks = query(connection, "task_of_stamp", campaign=campaign.id, stamp_set=name, stamp_id=row)
        shown = selections.place_of(connection, campaign, name, row)
        blind = query(connection, "audit_stamps", campaign=campaign.id, stamp_sets=[name], stamp_ids=[row])
        task = tasks[0]["task_id"] if tasks else None
        return Seen(
            stores,
            answering_version(connection, stores),
            Place(**shown) if shown else None,
            query(connection, "votes", campaign=campaign.id),
            bool(blind),
            find_ways(connection, campaign, stamp, task, self._sets, self._settings),
        )


def _answer(seen: Seen, stamp: Stamp) -> dict[str, Any]:
    """What the model that answers says of a stamp."""
    model = None if seen.version is None else load_model(seen.version, seen.stores)
    answers = None if model is None else model.answer([stamp])
    boxes = []
    if answers is not None and answers.boxes is not None:
        config = config_of(seen.stores.campaign)
        boxes = drawn_boxes(answers.result(0, config), config)
    return {
        "boxes": boxes,
        "answer": answers.scores(0) if answers else {},
        "shares": answers is None or answers.tells_shares,
        "answer_words": answer_words(answers),
        "measures": answers.measures(0) if answers else {},
        "heat": answers is not None and answers.has_heat,
        "heat_words": heat_words(answers),
    }
