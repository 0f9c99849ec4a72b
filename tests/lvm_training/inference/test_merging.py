"""One of several: duplicates and pieces go, satellites and other classes stay, and a grid changes nothing."""

import numpy as np
import pytest

from lvm_training.inference.merging import CENTRED, INSIDE, SAME, SIMILAR, merged
from lvm_training.inference.wide_field import LARGE, WideObject


def wide(box: list[float], score: float, name: str = "galaxy", *, tile: int = 64, cut: bool = False) -> WideObject:
    return WideObject(name, score, np.array(box, dtype=float), tile, cut)


def test_duplicates_of_a_class_go_and_other_classes_stay() -> None:
    first, same = wide([0, 0, 10, 10], 0.9), wide([1, 0, 11, 10], 0.8)
    other, apart = wide([0, 0, 10, 10], 0.3, "arc"), wide([8, 8, 18, 18], 0.4)
    assert merged([other, same, apart, first]) == [first, apart, other]
    assert merged([]) == []


def test_whole_objects_stand_for_those_that_an_edge_cuts() -> None:
    whole, cut = wide([0, 0, 10, 10], 0.6), wide([0, 0, 10, 8], 0.9, cut=True)
    assert merged([cut, whole]) == [whole]


def test_boxes_of_similar_area_about_one_centre_are_one_object() -> None:
    outer = wide([0, 0, 12, 12], 0.9)
    assert merged([outer, wide([3, 3, 9.5, 9.5], 0.95)])[0].score == 0.95
    assert len(merged([outer, wide([3, 3, 9.5, 9.5], 0.95)])) == 1
    assert len(merged([outer, wide([4, 4, 8, 8], 0.95)])) == 2  # a ninth of the area
    assert len(merged([outer, wide([0, 0, 6.5, 6.5], 0.95)])) == 2  # in a corner


def test_pieces_of_a_whole_object_go_and_satellites_stay() -> None:
    galaxy = wide([0, 0, 100, 100], 0.9, tile=256)
    satellite, arm = wide([10, 10, 20, 20], 0.95), wide([10, 60, 40, 90], 0.8)
    edge, beside = wide([50, 50, 64, 64], 0.99, cut=True), wide([90, 90, 120, 120], 0.8)
    assert merged([galaxy, satellite, arm, edge, beside]) == [satellite, galaxy, beside]


@pytest.mark.parametrize(
    "holder",
    [
        wide([0, 0, 100, 100], 0.9, tile=256, cut=True),
        wide([0, 0, 100, 100], 0.5, tile=256),
        wide([0, 0, 60, 100], 0.9, tile=32),
        wide([0, 0, 100, 100], 0.9, "arc", tile=256),
    ],
)
def test_a_large_object_stays_in_what_is_cut_less_sure_finer_or_of_another_class(holder: WideObject) -> None:
    galaxy = wide([10, 60, 40, 90], 0.8)
    assert galaxy in merged([galaxy, holder])


def naive(objects: list[WideObject]) -> list[WideObject]:
    """The same rules, every object against every other one."""

    def area(box: np.ndarray) -> float:
        return float((box[2] - box[0]) * (box[3] - box[1]))

    def shared(a: np.ndarray, b: np.ndarray) -> float:
        across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        return float(max(across, 0) * max(down, 0))

    def same(one: WideObject, other: WideObject) -> bool:
        a, b = one.box, other.box
        small, large = sorted([area(a), area(b)])
        side = min(max(a[2] - a[0], b[2] - b[0]), max(a[3] - a[1], b[3] - b[1]))
        apart = np.hypot(a[0] + a[2] - b[0] - b[2], a[1] + a[3] - b[1] - b[3]) / 2
        overlap = shared(a, b) / (small + large - shared(a, b))
        return overlap >= SAME or (apart <= CENTRED * side and small >= SIMILAR * large)

    def piece(one: WideObject, other: WideObject) -> bool:
        a, b = one.box, other.box
        inside = area(b) > area(a) and shared(a, b) >= INSIDE * area(a)
        large = max(a[2] - a[0], a[3] - a[1]) >= LARGE * one.tile
        whole = not other.cut and other.tile >= one.tile and other.score >= one.score
        return bool(inside and (one.cut or (large and whole)))

    kept: list[WideObject] = []
    for one in sorted(objects, key=lambda one: (one.cut, -one.score)):
        if not any(other.name == one.name and same(one, other) for other in kept):
            kept.append(one)
    left = [one for one in kept if not any(o is not one and o.name == one.name and piece(one, o) for o in kept)]
    return sorted(left, key=lambda one: -one.score)


def crowd(count: int, extent: float, seed: int) -> list[WideObject]:
    """Boxes of many sizes, scattered, of three classes, some cut."""
    random = np.random.default_rng(seed)
    corners, tiles = random.uniform(0, extent, (count, 2)), random.choice([64, 128, 256], count, p=[0.8, 0.15, 0.05])
    sides = random.uniform(4, 40, (count, 2)) * tiles[:, None] / 64
    names, cut = random.choice(["arc", "deflector", "galaxy"], count, p=[0.1, 0.2, 0.7]), random.random(count) < 0.2
    return [
        wide([*corner, *(corner + side)], float(score), str(name), tile=int(tile), cut=bool(edge))
        for corner, side, score, name, tile, edge in zip(
            corners, sides, random.random(count), names, tiles, cut, strict=True
        )
    ]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("extent", [60, 300, 800])
def test_the_grid_keeps_what_comparing_all_with_all_keeps(seed: int, extent: float) -> None:
    objects = crowd(250, extent, seed)
    kept = merged(objects)
    assert kept == naive(objects)
    assert 0 < len(kept) < len(objects)


def test_progress_moves_to_the_end() -> None:
    calls: list[tuple[int, int]] = []
    merged(crowd(600, 5000, 0), lambda done, total: calls.append((done, total)))
    assert calls[-1] == (600, 600) and len(calls) > 2 and calls == sorted(calls)
