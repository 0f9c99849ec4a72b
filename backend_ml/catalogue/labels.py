"""A campaign's labels for others, with what they are of and by whom: rows of a CSV, and what COCO's images show."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from backend_ml.catalogue.tables.columns import renamed, told_apart
from backend_ml.catalogue.tables.galaxies import Galaxies, Known, read_galaxies
from backend_ml.catalogue.tables.table import Places
from backend_ml.kinds.kind import Coco
from backend_ml.kinds.models import Stamp
from backend_ml.labels.agreed import IMPORTED
from backend_ml.labels.people import People
from backend_ml.queue import selections
from backend_ml.settings import Settings
from backend_ml.store.database import Connection, query
from backend_ml.store.records import Campaign
from backend_ml.store.stamps import StampSets, UnknownStampError
from lvm_training.errors import StampError
from lvm_training.galaxy_zoo.vote_table import VoteTable
from lvm_training.parameters.number_table import NumberTable
from lvm_training.parameters.parameter import PARAMETERS
from lvm_training.tables.snapshot import COLUMNS

LABEL_COLUMNS = (*COLUMNS, "votes", "latest", "file", "ra", "dec", "annotators")
BETWEEN = "; "  # annotators of one galaxy


class Tabled(NamedTuple):
    """A table for others: names of columns, rows, and what a reader should know."""

    header: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    notes: list[str]


@dataclass(frozen=True)
class Exported:
    """The labelled galaxies of a campaign.

    Attributes
    ----------
    galaxies : Galaxies
    places : Places or None
        None where a stamp set is gone, as the notes say: labels are worth more than their files' names.
    names : dict
        What annotators called themselves on the search page, by their id.
    people : People
        What Label Studio calls the others.
    notes : tuple of str
    """

    galaxies: Galaxies
    places: Places | None
    names: dict[int, str]
    people: People
    notes: tuple[str, ...] = field(default=())

    @classmethod
    def read(cls, connection: Connection, campaign: Campaign, sets: StampSets, settings: Settings) -> "Exported":
        """The labels as they stand."""
        galaxies = read_galaxies(connection, campaign)
        names, people = selections.annotator_names(connection, campaign), People(settings)
        aside = [row["person"] for row in query(connection, "people_aside", campaign=campaign.id)]
        notes = (f"Without the labels of {', '.join(aside)}, which are set aside.",) if aside else ()
        try:
            return cls(galaxies, Places(galaxies, sets), names, people, notes)
        except (StampError, UnknownStampError) as error:
            left_out = f"{error.message} So files and positions are left out."
            return cls(galaxies, None, names, people, (*notes, left_out))

    def rows(self) -> list[tuple[Any, ...]]:
        """A row of `LABEL_COLUMNS` for each galaxy with a label, by set and row."""
        return [
            (*stamp, one.label, one.votes[one.label], one.latest, *self._place(stamp), BETWEEN.join(self._who(one)))
            for stamp, one in sorted(self.galaxies.known.items())
            if one.label
        ]

    def tabled(self, found: VoteTable | NumberTable) -> Tabled:
        """A table of votes, or of numbers; what is called as another column stands under a name of its own."""
        header, rows = self._voted(found) if isinstance(found, VoteTable) else self._measured(found)
        called = told_apart(header)
        return Tabled(tuple(called), rows, renamed(header, called))

    def _voted(self, votes: VoteTable) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Header and rows of a vote table: stamps, files, positions and people as in `rows`, then the votes.

        `label` is the answer that most people gave to the first question.
        """
        nobody = Known()
        rows = [
            (
                *stamp,
                label,
                *self._place(stamp),
                BETWEEN.join(self._who(self.galaxies.known.get(stamp, nobody))),
                *cells,
            )
            for stamp, label, cells in zip(votes.stamps, votes.first, votes.rows(), strict=True)
        ]
        return (*COLUMNS, "file", "ra", "dec", "annotators", *votes.columns), rows

    def _measured(self, numbers: NumberTable) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Header and rows of numbers: stamps, files, positions and who gave them, then the numbers with their units."""
        units = {name: PARAMETERS[name].unit if name in PARAMETERS else "" for name in numbers.names}
        names = [f"{name}_{unit}" if unit else name for name, unit in units.items()]
        words = list(zip(*numbers.words.values(), strict=True)) or [()] * len(numbers)
        rows = [
            (*stamp, *self._place(stamp), self.named(person) if person else "", *said, *cells)
            for stamp, person, said, cells in zip(numbers.stamps, numbers.people, words, numbers.rows(), strict=True)
        ]
        return (*COLUMNS[:2], "file", "ra", "dec", "annotators", *numbers.words, *names), rows

    def described(self, document: Coco) -> Coco:
        """A COCO document with file, name, position, label and annotators of each of its images `stamp_set/stamp_id`.

        `file_name` becomes the imported file's, where the set knows it; `stamp` keeps set and row.
        """
        return document | {"images": [image | self._about(image["file_name"]) for image in document["images"]]}

    def named(self, person: int | str) -> str:
        """Who somebody is: an id of Label Studio's, the name on the search page, or the starting labels."""
        if isinstance(person, str):
            return person
        return self.names.get(person) or self.people.name(person)

    def _who(self, one: Known) -> Sequence[str]:
        return sorted(self.named(person) for person in one.people if person != IMPORTED) or [IMPORTED]

    def _place(self, stamp: Stamp) -> tuple[str, float | None, float | None]:
        if self.places is None:
            return "", None, None
        row = np.array([stamp[1]])
        (ra,), (dec,) = self.places.position(stamp[0], row)
        known = np.isfinite(ra)
        return self.places.names(stamp[0], row)[0], float(ra) if known else None, float(dec) if known else None

    def _about(self, name: str) -> dict[str, Any]:
        stamp_set, _, row = name.rpartition("/")
        one = self.galaxies.known.get((stamp_set, int(row)), Known())
        file, ra, dec = self._place((stamp_set, int(row)))
        about = {"stamp": name, "name": file, "ra": ra, "dec": dec, "grade": one.label or None}
        if self.places is not None and self.places.named[stamp_set] == "file":
            about["file_name"] = file
        return about | {"annotators": self._who(one) if one.people else []}
