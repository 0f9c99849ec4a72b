"""The catalogue's table of galaxies: one row each, labelled or not."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from backend_ml.catalogue.tables.columns import (
    Batch,
    Column,
    Fact,
    Sheet,
    class_slugs,
    clean_text,
    renamed,
    text_width,
    texts,
    told_apart,
)
from backend_ml.catalogue.tables.galaxies import Galaxies, Known, Rows
from backend_ml.catalogue.tables.probabilities import Probabilities
from backend_ml.kinds.models import Model
from backend_ml.label_studio.labelling import name_column
from backend_ml.store.stamps import StampSets
from lvm_training.errors import StampError
from lvm_training.progress import Progress
from lvm_training.stamps.stampset import StampSet
from lvm_training.tables.positions import degrees

DIGITS = 6  # of a probability; its error is hundreds of times larger
PROBABILITY = "stat.probability"


class Answers(Protocol):
    """What a model says of each galaxy, as columns."""

    columns: tuple[Column, ...]

    def cells(self, name: str, rows: Rows) -> dict[str, NDArray[Any]]:
        """The cells of some rows of a stamp set."""


class NoAnswers:
    """The columns of a campaign that has no model, or is asked for labels alone: none."""

    columns: tuple[Column, ...] = ()

    def cells(self, name: str, rows: Rows) -> dict[str, NDArray[Any]]:
        """As `Answers.cells`."""
        return {}


class Probable:
    """A head's calibrated probabilities, their errors, and the most probable class."""

    def __init__(self, probabilities: Probabilities, classes: Sequence[str]) -> None:
        self._probabilities, self._classes, slugs = probabilities, list(classes), class_slugs(classes)
        self.columns = (
            Column("predicted", "text", "The most probable class", "", "meta.code.class", text_width(self._classes)),
            *(Column(f"prob_{slugs[one]}", "float", f"Probability of {one}", "", PROBABILITY) for one in classes),
            *(
                Column(f"err_prob_{slugs[one]}", "float", f"Standard error of prob_{slugs[one]}", "", "stat.error")
                for one in classes
            ),
        )

    def cells(self, name: str, rows: Rows) -> dict[str, NDArray[Any]]:
        """As `Answers.cells`; NaN where a galaxy's features are not finite."""
        found, error = self._probabilities.calibrated(name, rows)
        known = np.isfinite(found).all(axis=1)
        best = np.where(known, np.nan_to_num(found).argmax(axis=1), -1)
        values = [texts([self._classes[place] if place >= 0 else "" for place in best.tolist()])]
        values += [np.round(part, DIGITS) for part in (*found.T, *error.T)]
        return {column.name: cells for column, cells in zip(self.columns, values, strict=True)}


class Scored:
    """The best score of each kind of object that a detector found."""

    def __init__(self, model: Model, classes: Sequence[str]) -> None:
        self._model, self._classes, slugs = model, list(classes), class_slugs(classes)
        self.columns = tuple(
            Column(
                f"score_{slugs[one]}", "float", f"Best score of the detector's {one}; 0 without one", "", "stat.value"
            )
            for one in classes
        )

    def cells(self, name: str, rows: Rows) -> dict[str, NDArray[Any]]:
        """As `Answers.cells`."""
        answers = self._model.answer([(name, row) for row in rows.tolist()])
        best = [answers.scores(place) for place in range(len(rows))]
        values = [np.array([one.get(name, 0.0) for one in best]) for name in self._classes]
        return {column.name: np.round(cells, DIGITS) for column, cells in zip(self.columns, values, strict=True)}


class Measured:
    """The numbers that a model says of each galaxy, beside what `first` says.

    Parameters
    ----------
    first : Answers
        Whose columns come first.
    model : Model
        One with `quantities`.
    taken : collection of str
        Names of the table's other columns: a label config may call what it asks for as one of them.
    """

    def __init__(self, first: Answers, model: Model, taken: Collection[str]) -> None:
        self._first, self._model = first, model
        slugs = class_slugs(list(dict.fromkeys(one.name for one in model.quantities)))
        names = ["_".join(filter(None, (one.prefix, slugs[one.name]))) for one in model.quantities]
        called = told_apart(names, {*taken, *(one.name for one in first.columns)})
        self.notes = renamed(names, called)
        self._own = tuple(
            Column(name, "float", clean_text(one.about), one.unit, one.ucd)
            for name, one in zip(called, model.quantities, strict=True)
        )
        self.columns = (*first.columns, *self._own)

    def cells(self, name: str, rows: Rows) -> dict[str, NDArray[Any]]:
        """As `Answers.cells`."""
        found = self._model.answer([(name, row) for row in rows.tolist()]).quantities
        numbers = np.full((len(rows), len(self._own)), np.nan) if found is None else found
        own = {column.name: np.round(cells, DIGITS) for column, cells in zip(self._own, numbers.T, strict=True)}
        return self._first.cells(name, rows) | own


class Places:
    """Names and positions of galaxies, as their stamp sets have them.

    Raises
    ------
    UnknownStampError, StampError
        If a stamp set is gone, or shorter than what is known of it.
    """

    def __init__(self, galaxies: Galaxies, sets: StampSets) -> None:
        self._sets: dict[str, StampSet] = {}
        for name, rows in galaxies.rows.items():
            if len(rows) or name == galaxies.campaign.stamp_set:
                self._sets[name] = opened(sets, name, int(rows.max(initial=-1)))
        self.named = {name: name_column(stamps.columns) or "" for name, stamps in self._sets.items()}

    def names(self, name: str, rows: Rows) -> list[str]:
        """File names or other names of some rows; "" where the set has none."""
        column = self.named[name]
        if not column:
            return [""] * len(rows)
        return [clean_text(value) for value in self._column(name, column, rows).tolist()]

    def position(self, name: str, rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Right ascension and declination, degrees; both NaN where one of them is not there, or no angle."""
        found = []
        for column, across in (("ra", True), ("dec", False)):
            has = column in self._sets[name].columns
            values = self._column(name, column, rows) if has else np.full(len(rows), np.nan)
            found.append(degrees(values, right_ascension=across))
        nowhere = np.isnan(found[0]) | np.isnan(found[1])
        return np.where(nowhere, np.nan, found[0]), np.where(nowhere, np.nan, found[1])

    def _column(self, name: str, column: str, rows: Rows) -> NDArray[Any]:
        first = int(rows[0])
        # rows ascend: a run of the file is read at once, and what lies between them dropped
        return self._sets[name].column(column, slice(first, int(rows[-1]) + 1))[rows - first]


def opened(sets: StampSets, name: str, last: int = -1) -> StampSet:
    """A stamp set that has a row `last`.

    Raises
    ------
    UnknownStampError, StampError
        If it is gone or shorter.
    """
    try:
        stamps = sets.find(name)
    except StampError as error:
        raise StampError(
            f"The stamp set {name!r} is not where it was: {error.message}",
            f"Move it back, or register its new place with `galaxyloop explore FOLDER/{name}.h5`.",
        ) from error
    if last >= len(stamps):
        raise StampError(
            f"The stamp set {name!r} has {len(stamps)} stamps; the campaign knows of stamp {last}.",
            "It was replaced by another one: move the old one back.",
        )
    return stamps


def galaxy_sheet(
    galaxies: Galaxies, places: Places, answers: Answers, facts: Sequence[Fact], progress: Progress
) -> Sheet:
    """The table of galaxies; its rows are made as they are written."""
    slugs = class_slugs(galaxies.answers)
    total = len(galaxies)
    widest = max((text_width(places.names(name, rows)) for name, rows in galaxies.blocks()), default=1)
    columns = (*_columns(galaxies, slugs, widest), *answers.columns, *_chosen_columns(galaxies))

    def batches() -> Iterator[Batch]:
        done = 0
        for name, rows in galaxies.blocks():
            known = galaxies.of(name, rows)
            yield {
                **_identity(places, name, rows),
                **_labels(galaxies, slugs, known),
                **answers.cells(name, rows),
                **_chosen(galaxies, bool(answers.columns), name, rows, known),
            }
            done += len(rows)
            progress(done, total)

    return Sheet("galaxies", columns, total, batches, facts)


def own_columns(galaxies: Galaxies) -> list[str]:
    """Names of the columns that the table has of any campaign's galaxies, whatever a model answers."""
    return [one.name for one in (*_columns(galaxies, class_slugs(galaxies.answers), 1), *_chosen_columns(galaxies))]


def identity_columns(sets: Sequence[str], last: int, widest: int) -> tuple[Column, ...]:
    """The columns that say which galaxy it is."""
    longest, digits = text_width(sets), len(str(last))
    return (
        Column("id", "text", "Stamp set and row: names the galaxy", "", "meta.id;meta.main", longest + 1 + digits),
        Column("stamp_set", "text", "Stamp set", "", "meta.dataset", longest),
        Column("stamp_id", "long", "Row of the stamp set, from 0", "", "meta.record"),
        Column("name", "text", "File or name, as the stamp set has it", "", "meta.id", widest),
    )


def identity_cells(stamp_set: str, rows: Rows, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Their cells, of some rows of a set; a set is called as its file, which may have any name."""
    called = clean_text(stamp_set)
    return {
        "id": texts([f"{called}/{row}" for row in rows.tolist()]),
        "stamp_set": texts([called] * len(rows)),
        "stamp_id": rows,
        "name": texts(names),
    }


def _columns(galaxies: Galaxies, slugs: dict[str, str], widest: int) -> tuple[Column, ...]:
    rows = galaxies.rows
    last = max(int(one.max(initial=0)) for one in rows.values())
    return (
        *identity_columns(list(rows), last, widest),
        Column("ra", "float", "Right ascension of the stamp's centre, ICRS", "deg", "pos.eq.ra;meta.main"),
        Column("dec", "float", "Declination of the stamp's centre, ICRS", "deg", "pos.eq.dec;meta.main"),
        Column("label", "text", "What the annotators agree on", "", "meta.code.class", text_width(galaxies.answers)),
        Column("label_rule", "text", "How they agree", "", "meta.code", text_width([galaxies.campaign.consensus])),
        Column("n_votes", "int", "Labels that count", "", "meta.number"),
        *(
            Column(f"votes_{slug}", "int", f"Votes for {clean_text(name)}", "", "meta.number")
            for name, slug in slugs.items()
        ),
        Column("n_annotators", "int", "People who gave them; starting labels count as one", "", "meta.number"),
        Column("agreement", "float", "Share of the votes that is for the label", "", "stat.value;arith.ratio"),
        Column("labelled_at", "text", "When the last vote for the label was given, ISO 8601", "", "time.epoch", 32),
        Column("n_annotations", "int", "Annotations in Label Studio, of objects too", "", "meta.number"),
        Column("n_skipped", "int", "Times it was skipped", "", "meta.number"),
        Column("n_set_aside", "int", "Annotations that cannot be read", "", "meta.number"),
    )


def _chosen_columns(galaxies: Galaxies) -> tuple[Column, ...]:
    version = galaxies.version.version if galaxies.version else ""
    policies = [one.policy for one in galaxies.known.values()]
    return (
        Column("model_version", "text", "The version that answered", "", "meta.version", text_width([version])),
        Column("in_pool", "bool", "Whether the campaign may show it", "", "meta.code"),
        Column("audit", "bool", "Whether it is of the audit slice: drawn at random, labelled blind", "", "meta.code"),
        Column(
            "selected_by",
            "text",
            "Policy that chose it to be shown; the audit slice is drawn",
            "",
            "meta.code",
            text_width(policies),
        ),
        Column("selection", "text", "push of the queue, slice of the pool, or round of a search", "", "meta.code", 5),
        Column("propensity", "float", "How likely that was: 1 for a ranking without chance", "", PROBABILITY),
    )


def _identity(places: Places, name: str, rows: Rows) -> dict[str, NDArray[Any]]:
    ra, dec = places.position(name, rows)
    return {
        **identity_cells(name, rows, places.names(name, rows)),
        "ra": ra,
        "dec": dec,
    }


def _labels(galaxies: Galaxies, slugs: dict[str, str], known: Sequence[Known]) -> dict[str, NDArray[Any]]:
    def numbers(value: Callable[[Known], float]) -> NDArray[np.int64]:
        return np.array([value(one) for one in known], dtype=np.int64)

    rule = galaxies.campaign.consensus
    return {
        "label": texts([clean_text(one.label) for one in known]),
        "label_rule": texts([rule if one.label else "" for one in known]),
        "n_votes": numbers(lambda one: one.votes.total()),
        **{f"votes_{slug}": np.array([one.votes[name] for one in known]) for name, slug in slugs.items()},
        "n_annotators": numbers(lambda one: len(one.people)),
        "agreement": np.array([one.agreement for one in known]),
        "labelled_at": texts([one.latest for one in known]),
        "n_annotations": numbers(lambda one: one.annotations),
        "n_skipped": numbers(lambda one: one.skipped),
        "n_set_aside": numbers(lambda one: one.aside),
    }


def _chosen(
    galaxies: Galaxies, answered: bool, name: str, rows: Rows, known: Sequence[Known]
) -> dict[str, NDArray[Any]]:
    version = galaxies.version.version if galaxies.version and answered else ""
    return {
        "model_version": texts([version] * len(rows)),
        "in_pool": galaxies.in_pool(name, rows),
        "audit": np.array([one.audit for one in known], dtype=bool),
        "selected_by": texts([one.policy for one in known]),
        "selection": texts([one.source for one in known]),
        "propensity": np.array([one.propensity for one in known]),
    }
