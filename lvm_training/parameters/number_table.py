"""Numbers that people gave of galaxies, as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Stamp = tuple[str, int]


@dataclass(frozen=True, eq=False)
class NumberTable:
    """Numbers by galaxy.

    Attributes
    ----------
    names : tuple of str
        The parameters, keys of `PARAMETERS`, or what is rated.
    stamps : sequence of (str, int)
        Stamp set and row of each galaxy.
    values : ndarray (N, P)
        In the parameters' units, or stars; NaN where nobody said one.
    people : sequence of int
        Who gave them, by Label Studio's id; 0 where nobody knows.
    words : mapping of str to sequence of str
        What else they said of each galaxy, by question; "" where they said nothing.
    """

    names: tuple[str, ...]
    stamps: Sequence[Stamp]
    values: NDArray[np.float64]
    people: Sequence[int]
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.stamps)

    def joined(self, other: "NumberTable") -> "NumberTable":
        """These and others, by set and row."""
        stamps, people = [*self.stamps, *other.stamps], [*self.people, *other.people]
        values = np.concatenate([self.values, other.values])
        order = sorted(range(len(stamps)), key=lambda place: stamps[place])
        return NumberTable(self.names, [stamps[i] for i in order], values[order], [people[i] for i in order])

    def rows(self) -> list[tuple[Any, ...]]:
        """The values of each galaxy as cells; empty where there is none."""
        return [tuple(None if np.isnan(one) else float(one) for one in row) for row in self.values]
