"""Objects that several tiles of a wide image show, made one."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lvm_training.inference.wide_field import LARGE, WideObject
from lvm_training.progress import Progress

SAME = 0.5  # intersection over union of two boxes of one object
INSIDE = 0.8  # part of the smaller box within the larger one: a piece of an object
SIMILAR = 0.25  # area of the smaller of two boxes about one centre over that of the larger: one object
CENTRED = 0.25  # distance of two centres about which boxes are concentric, in sides of the larger box
REPORT = 256  # objects from one call of `progress` to the next

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class _Columns:
    """Objects as arrays, N long."""

    names: Sequence[str]
    boxes: Floats
    scores: Floats
    tiles: Integers
    cut: NDArray[np.bool_]

    @classmethod
    def of(cls, objects: Sequence[WideObject]) -> Self:
        tiles, cut = np.array([one.tile for one in objects]), np.array([one.cut for one in objects])
        boxes, scores = np.stack([one.box for one in objects]), np.array([one.score for one in objects])
        return cls([one.name for one in objects], boxes, scores, tiles, cut)

    @cached_property
    def sides(self) -> Floats:
        return self.boxes[:, 2:] - self.boxes[:, :2]

    @cached_property
    def middles(self) -> Floats:
        return (self.boxes[:, :2] + self.boxes[:, 2:]) / 2

    @cached_property
    def areas(self) -> Floats:
        areas: Floats = self.sides.prod(axis=1)
        return areas

    @cached_property
    def large(self) -> NDArray[np.bool_]:
        large: NDArray[np.bool_] = self.sides.max(axis=1) >= LARGE * self.tiles
        return large


class _Grid:
    """Objects kept so far, found again by the cells that their boxes touch."""

    def __init__(self, seen: _Columns) -> None:
        self.seen = seen
        self.places: list[int] = []
        self.cells: dict[tuple[str, int, int], list[int]] = defaultdict(list)
        # cells as large as the boxes are on average: their number grows as the number of objects does
        self.size = max(1.0, float(np.sqrt((seen.sides**2).mean())))

    def _touched(self, place: int) -> list[tuple[str, int, int]]:
        left, top, right, bottom = (int(edge) for edge in self.seen.boxes[place] // self.size)
        name = self.seen.names[place]
        return [(name, x, y) for x, y in product(range(left, right + 1), range(top, bottom + 1))]

    def add(self, place: int) -> None:
        self.places.append(place)
        for cell in self._touched(place):
            self.cells[cell].append(place)

    def near(self, place: int) -> Integers:
        """Kept objects of the same class, itself left out, whose boxes may overlap that of `place`."""
        found = {other for cell in self._touched(place) for other in self.cells.get(cell, ())} - {place}
        return np.array(sorted(found), dtype=np.int64)


def merged(objects: Sequence[WideObject], progress: Progress | None = None) -> list[WideObject]:
    """Each object once, best first; time grows as the number of objects.

    First go duplicates. Objects are taken in order: whole ones before those that an edge cuts, then by score. One is
    dropped if one taken before it is of its class and their boxes overlap by half (intersection over union), or have
    about the same centre and similar areas.

    Then go pieces: what lies by four fifths in a larger box of its class, if an edge cuts it; or if it is large for its
    tile while the other one is whole, was seen on a tile at least as large and has at least its score. Any other object
    within another one stays: a satellite.

    Parameters
    ----------
    objects : sequence of WideObject
        What tiles show.
    progress : callable, optional
        Called with the objects done and their number.
    """
    if not objects:
        return []
    seen = _Columns.of(objects)
    kept = _Grid(seen)
    for done, place in enumerate(np.lexsort((-seen.scores, seen.cut))):
        if not _repeated(seen, place, kept.near(place)):
            kept.add(place)
        if progress and (done + 1 == len(objects) or done % REPORT == 0):
            progress(done + 1, len(objects))
    chosen = [place for place in kept.places if not _piece(seen, place, kept.near(place))]
    return [objects[place] for place in sorted(chosen, key=lambda place: -seen.scores[place])]


def _shared(seen: _Columns, place: int, others: Integers) -> Floats:
    """Area that the box of `place` shares with each of others (M,)."""
    one, boxes = seen.boxes[place], seen.boxes[others]
    sides = np.minimum(one[2:], boxes[:, 2:]) - np.maximum(one[:2], boxes[:, :2])
    shared: Floats = sides.clip(min=0).prod(axis=1)
    return shared


def _repeated(seen: _Columns, place: int, others: Integers) -> bool:
    """Whether the object of `place` is one of others (M,)."""
    shared, area, areas = _shared(seen, place, others), seen.areas[place], seen.areas[others]
    apart = np.linalg.norm(seen.middles[place] - seen.middles[others], axis=1)
    reach = CENTRED * np.maximum(seen.sides[place], seen.sides[others]).min(axis=1)
    concentric = (apart <= reach) & (np.minimum(area, areas) >= SIMILAR * np.maximum(area, areas))
    return bool(((shared >= SAME * (area + areas - shared)) | concentric).any())


def _piece(seen: _Columns, place: int, others: Integers) -> bool:
    """Whether the object of `place` is a piece of one of others (M,)."""
    inside = (seen.areas[others] > seen.areas[place]) & (_shared(seen, place, others) >= INSIDE * seen.areas[place])
    whole = ~seen.cut[others] & (seen.tiles[others] >= seen.tiles[place]) & (seen.scores[others] >= seen.scores[place])
    return bool((inside & (seen.cut[place] | (seen.large[place] & whole))).any())
