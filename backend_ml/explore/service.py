"""What the routes of the search page do, from the database to plain values."""

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend_ml.acquisition.policy import POLICIES
from backend_ml.kinds.simulated import kept_wanted_prior
from backend_ml.label_studio import labelling
from backend_ml.labels.agreed import agreed_labels
from backend_ml.labels.people import People
from backend_ml.pictures.framing import framing_words
from backend_ml.queue import selections
from backend_ml.queue.selections import LoggedSelection
from backend_ml.search import example_lists, feature_plane, history, rounds, searches, sending, simulated
from backend_ml.search.labels import PersonLabels, begin_with
from backend_ml.search.rounds import Examples
from backend_ml.serving.uploads import embed_upload, picture_scale
from backend_ml.sign_in.access import Pages
from backend_ml.sign_in.person import Person
from backend_ml.store.campaigns import all_campaigns
from backend_ml.store.database import Connection, query
from backend_ml.store.encoders import encoder_folder, is_ours
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign
from backend_ml.why.neighbours import Neighbours, labels_by_stamp
from lvm_training.files import write_rows
from lvm_training.heads.preference import NO, YES
from lvm_training.pool.features import Features
from lvm_training.stamps.conditions import fitting

FOUND = ("stamp_set", "stamp_id", "name", "ra", "dec", "label", "probability", "labelled_by")
EXAMPLES_SHOWN = 200
UNUSUAL = "unusual"


class SearchService:
    """One search, seen by one person.

    Parameters
    ----------
    pages : Pages
        The search page.
    search_id : int
        Id of the search; closed ones can be read.
    person : Person
        Who looks.
    """

    def __init__(self, pages: Pages, search_id: int, person: Person) -> None:
        self._pages, self._settings, self._person = pages, pages.settings, person
        with pages.database.transaction() as connection:
            self.search = searches.find(connection, search_id)
            self._features = FeatureStore.from_database(connection, self.search.encoder)

    @property
    def pool(self) -> Features:
        """The features that are searched."""
        return self._features.shard(self.search.stamp_set)

    def state(self) -> dict[str, Any]:
        """How the search stands: its labels, its pictures, and this person's latest round."""
        with self._pages.database.transaction() as connection:
            examples = history.read_examples(connection, self.search, self._features)
            last = selections.latest(connection, self.search, "round", person=self._person.name)
            shown = self._shown(connection, last) if last else None
            pictures = query(connection, "examples", campaign=self.search.id)
            began = simulated.described(self._settings, connection, self.search)
            if began is not None and began["problem"] is None and self.search.state == "open":
                # what was drawn once may be gone from the store, or be of what an earlier Galaxy Loop drew
                simulated.have_drawn(self._settings, connection, self.search)
        return {
            **described(self.search),
            "stamps": len(self.pool.matrix),
            "labels": history.counts(examples),
            "examples": self._given(examples),
            "pictures": [{name: row[name] for name in ("id", "name", "person")} for row in pictures],
            "policies": rounds.OFFERED,
            "titles": {name: policy.title for name, policy in POLICIES.items() if policy.title},
            "label_studio": self._settings.label_studio_url if self.search.project else None,
            "round": shown,
            "simulated": began,
        }

    def next_round(self, size: int, policy: str, where: Sequence[str] = (), unseen: bool = False) -> dict[str, Any]:
        """Choose, record and show the next round, of stamps that fit conditions and, if `unseen`, were in no round."""
        self._check_open()
        simulated.check_drawn(self._settings, self.search)
        with self._pages.database.transaction() as connection:
            examples = self._examples(connection)
            aside = selections.before_others(connection, self.search, self._person.name)
            seed = self.search.seed + selections.count(connection, self.search, "round")
            seen = selections.shown_stamps(connection, self.search) if unseen else []
        allowed: NDArray[np.bool_] = np.ones(len(self.pool.matrix), dtype=bool)
        if where:
            allowed = fitting(self._pages.database.stamp_sets.find(self.search.stamp_set), where)
        allowed[[row for row in seen if row < len(allowed)]] = False
        limits: dict[str, Any] = {"aside": aside, "allowed": allowed, "shows": self._show_galaxies}
        chosen = rounds.choose(self.pool, examples, policy=policy, size=size, seed=seed, **limits)
        with self._pages.database.transaction() as connection:
            made = history.record_round(connection, self.search, self._person, chosen, seed)
            shown = self._shown(connection, made)
        found = {name: getattr(chosen, name) for name in ("left_out", "prior_share", "set_apart")}
        return {**shown, **found, "labels": history.counts(examples)}

    def history(self) -> dict[str, Any]:
        """Rounds, their precision, and who said what when."""
        with self._pages.database.transaction() as connection:
            return history.history(connection, self.search)

    def add_examples(self, text: str) -> list[int]:
        """Label the stamps that a list names as wanted."""
        self._check_open()
        searched = self._pages.database.stamp_sets.find(self.search.stamp_set)
        stamps = example_lists.find_stamps(text, searched, self.pool)
        begin_with(self._pages.database, self.search, self._person, stamps)
        return stamps

    def add_picture(self, data: bytes, name: str) -> None:
        """Look for what a picture shows."""
        self._check_open()
        stamps = self._pages.database.stamp_sets.find(self.search.stamp_set)
        store, scale = self._settings.store_folder, picture_scale(data, stamps)
        features = embed_upload(data, store, self.search.encoder, scale)
        values = {"name": name, "person": self._person.name, "features": features.astype("<f4").tobytes()}
        self._pages.database.rows("put_example", campaign=self.search.id, **values)

    def remove_picture(self, example: int) -> bool:
        """Take a picture of one's own back; False if there is none."""
        self._check_open()
        who = {"campaign": self.search.id, "id": example, "person": self._person.name}
        return bool(self._pages.database.rows("delete_example", **who))

    def stamp(self, stamp_id: int) -> dict[str, Any]:
        """What is known of a stamp: its catalogue, and what people say of it."""
        stamps = self._pages.database.stamp_sets.holding(self.search.stamp_set, stamp_id)
        columns = {name: values[stamp_id] for name, values in labelling.catalogue_columns(stamps).items()}
        with self._pages.database.transaction() as connection:
            given = history.stamp_labels(connection, self.search, self._person)
        catalogue = labelling.catalogue(self.search.stamp_set, stamp_id, columns)
        said = given.get(stamp_id, {"mine": None, "others": []})
        known = {"stamp_id": stamp_id, "name": labelling.called(stamps, [stamp_id])[0], "why": self._why(stamp_id)}
        framing = framing_words(self.search.rendering, stamps)
        links = {"legacy": labelling.legacy_url(columns), "framing": framing, "restores": self._restores()}
        row = np.array([stamp_id])
        cells = {name: _told(stamps.column(name, row)[0]) for name in stamps.columns}
        return {**known, "catalogue": catalogue, "columns": cells, **links, **said}

    def _restores(self) -> bool:
        """Whether the encoder has a decoder, as others' have not."""
        store, encoder = self._pages.settings.store_folder, self.search.encoder
        return encoder_folder(store, encoder).is_dir() and is_ours(store, encoder)

    def found(self) -> str:
        """What was found, as CSV: every labelled stamp with its name, position, labels and probability."""
        with self._pages.database.transaction() as connection:
            examples = self._examples(connection)
            given = history.stamp_labels(connection, self.search, self._person)
        stamps = self._pages.database.stamp_sets.find(self.search.stamp_set)
        chances = rounds.probabilities(self.pool, examples, seed=self.search.seed)
        rows, columns = sorted(examples.labels), labelling.catalogue_columns(stamps)
        found: list[Sequence[object]] = [FOUND]
        for row, name in zip(rows, labelling.called(stamps, rows), strict=True):
            place = [f"{columns[axis][row]:.6f}" if axis in columns else "" for axis in ("ra", "dec")]
            said = given.get(row, {"mine": None, "others": []})
            own = [f"{self._person.name}: {said['mine']}"] if said["mine"] else []
            people = "; ".join([*own, *(f"{one['person']}: {one['label']}" for one in said["others"])])
            chance = "" if chances is None or np.isnan(chances[row]) else f"{chances[row]:.4f}"
            found.append([self.search.stamp_set, row, name, *place, examples.labels[row], chance, people])
        written = io.StringIO()
        write_rows(written, found)
        return written.getvalue()

    def _given(self, examples: Examples) -> list[dict[str, Any]]:
        """The stamps labelled yes, with their names; the first `EXAMPLES_SHOWN`."""
        rows = examples.rows(YES)[:EXAMPLES_SHOWN]
        names = labelling.called(self._pages.database.stamp_sets.find(self.search.stamp_set), rows)
        return [{"stamp_id": row, "name": name} for row, name in zip(rows, names, strict=True)]

    def label(self, stamp_id: int, label: str) -> None:
        """Label a stamp."""
        self._pages.database.stamp_sets.holding(self.search.stamp_set, stamp_id)
        self._labels().put(stamp_id, label)

    def withdraw(self, stamp_id: int) -> None:
        """Take back what this person said of a stamp."""
        self._labels().withdraw(stamp_id)

    def undo(self) -> int:
        """Take back this person's latest label; the stamp it was for."""
        return self._labels().undo()

    def send(self, top: int) -> Campaign:
        """Make this search a campaign in Label Studio."""
        self._check_open()
        simulated.check_drawn(self._settings, self.search)
        with self._pages.database.transaction() as connection:
            examples = self._examples(connection)
            unsettled = sending.undecided(connection, self.search)
        rows = sending.tasks_of(self.pool, examples, unsettled, top=top, seed=self.search.seed)
        return sending.send(self._pages.database, self._settings, self.search, self._person, rows)

    def plane(self) -> dict[str, Any]:
        """The map: [stamp, x, y] of each point shown, x and y from 0 to 1, and the labels."""
        with self._pages.database.transaction() as connection:
            examples = history.read_examples(connection, self.search, self._features)
        rows = feature_plane.shown_rows(self.pool, sorted(examples.labels))
        places = np.round(feature_plane.coordinates(self.pool, rows), 4)
        points = [[int(row), float(x), float(y)] for row, (x, y) in zip(rows, places, strict=True)]
        return {"points": points, "stamps": len(self.pool.matrix), "labels": examples.labels}

    def _examples(self, connection: Connection) -> Examples:
        """The labels as they stand, and what simulated stamps say."""
        examples = history.read_examples(connection, self.search, self._features)
        return replace(examples, prior=kept_wanted_prior(self.search, self._features, self._settings.store_folder))

    def _shown(self, connection: Connection, made: LoggedSelection) -> dict[str, Any]:
        shown = history.shown_round(connection, self.search, self._person, made)
        stamps = self._pages.database.stamp_sets.find(self.search.stamp_set)
        columns = labelling.catalogue_columns(stamps)
        names = labelling.called(stamps, [stamp["stamp_id"] for stamp in shown["stamps"]])
        reasons = self._reasons(connection, shown) if made.policy == UNUSUAL else {}
        for stamp, name in zip(shown["stamps"], names, strict=True):
            row = stamp["stamp_id"]
            place = {axis: float(columns[axis][row]) for axis in ("ra", "dec") if axis in columns}
            known = len(place) == 2 and np.isfinite(list(place.values())).all()
            stamp |= {"reason": reasons.get(row)}
            stamp |= {"why": self._why(row), "name": name, "position": place if known else None}
        return shown

    def _reasons(self, connection: Connection, shown: dict[str, Any]) -> dict[int, str]:
        """How unusual each stamp of a round is, by its row."""
        votes = query(connection, "votes", campaign=self.search.id)
        labels = labels_by_stamp(votes, self.search, People(self._settings))
        known = {stamp: label for stamp, label in labels.items() if not label.hidden}
        said = Neighbours(self._settings, self._pages.database.stamp_sets)
        rows = [stamp["stamp_id"] for stamp in shown["stamps"]]
        stamps = [(self.search.stamp_set, row) for row in rows]
        return dict(zip(rows, said.unusual(self._features, stamps, known), strict=True)) if rows else {}

    def _show_galaxies(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        name = self.search.stamp_set
        return self._pages.database.stamp_sets.show_galaxies([(name, int(row)) for row in rows])

    def _why(self, stamp_id: int) -> str:
        return labelling.why_url((self.search.stamp_set, stamp_id), self.search.links, self._settings)

    def _labels(self) -> PersonLabels:
        self._check_open()
        return PersonLabels(self._pages.database, self._settings, self.search, self._person)

    def _check_open(self) -> None:
        if self.search.is_closed:
            raise searches.ClosedSearchError(
                f"The search {self.search.name!r} is closed.", "What was found stays; begin a new one."
            )


def described(search: Campaign) -> dict[str, Any]:
    """A search in a few words."""
    names = ("id", "name", "stamp_set", "state", "project", "created_at")
    return {name: getattr(search, name) for name in names}


def listed(pages: Pages) -> dict[str, Any]:
    """All searches, the newest first, and the stamp sets that can be searched."""
    pools = [
        {
            "name": name,
            "stamps": len(pool.matrix),
            "encoder": pool.encoder,
            "simulated": simulated.measurements(pages.settings, pool),
        }
        for name, pool in searches.pools(pages.database).items()
    ]
    with pages.database.transaction() as connection:
        found = [campaign for campaign in all_campaigns(connection) if campaign.kind == searches.KIND]
        listed = [_counted(connection, search) for search in reversed(found)]
    return {"searches": listed, "pools": pools, "simulated": simulated.offered(pages.settings)}


def _told(value: Any) -> str:
    """A cell of a catalogue column, its digits as far as they say anything."""
    if not isinstance(value, float | np.floating):
        return str(value)
    return "–" if np.isnan(value) else f"{value:.7g}"


def _counted(connection: Connection, search: Campaign) -> dict[str, Any]:
    given = Counter(one.label for one in agreed_labels(connection, search))
    rounds_shown = selections.count(connection, search, "round")
    return described(search) | {"rounds": rounds_shown, YES: given[YES], NO: given[NO]}


def begin(pages: Pages, person: Person, name: str, stamp_set: str, examples: str, concept: str = "") -> Campaign:
    """A new search that begins with the stamps `examples` names, and with what the simulator draws of a concept.

    None is made if one of the stamps cannot be found, or the concept not be drawn.
    """
    pool = searches.find_pool(pages.database, stamp_set)
    wanted = example_lists.find_stamps(examples, pages.database.stamp_sets.find(stamp_set), pool)
    columns = simulated.columns(pages.settings, concept)
    if columns:
        simulated.check_drawable(pages.settings, pool.encoder)
    search = searches.begin(pages.database, pages.settings, name, stamp_set, **columns)
    begin_with(pages.database, search, person, wanted)
    with pages.database.transaction() as connection:
        simulated.have_drawn(pages.settings, connection, search)
    return search
