"""Figures, read back from their pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image

from lvm_training.errors import LabelError, StampError
from lvm_training.evaluation.plots import COLOURS, few_shot_figure, picture_grid
from lvm_training.evaluation.probes import Curve

FLAT = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}


def curve(*areas: float, draws: int = 3) -> Curve:
    """A curve around the given means."""
    offsets = np.linspace(-0.02, 0.02, draws)[:, None] if draws > 1 else 0
    return Curve(tuple(10 * 3**step for step in range(len(areas))), np.array([areas]) + offsets)


def pixels(path: Path) -> NDArray[np.float64]:
    """R, G, B of a PNG, shape (H, W, 3) in [0, 1]."""
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB")) / 255


def places(image: NDArray[np.float64], colour: tuple[float, float, float]) -> NDArray[np.int64]:
    """Rows and columns of the pixels of a colour, shape (n, 2)."""
    return np.argwhere((np.abs(image - colour) < 0.02).all(axis=2))


def tile(colour: str) -> torch.Tensor:
    """A picture of one colour."""
    return torch.tensor(FLAT[colour])[:, None, None].expand(3, 16, 16)


def test_each_model_has_a_line_where_its_curve_is(tmp_path: Path) -> None:
    curves = {"features": curve(0.75, 0.85, 0.95), "pixels": curve(0.55, 0.6, 0.65)}
    path = few_shot_figure(curves, tmp_path / "new" / "curve.png", title="Rings")
    image = pixels(path)
    assert image.shape == (675, 1050, 3)
    upper, lower = (places(image[:, :700], to_rgb(colour)) for colour in COLOURS[:2])
    assert upper[:, 0].max() < lower[:, 0].min()
    # both rise to the right
    for line in (upper, lower):
        left, right = (line[line[:, 1] == edge][:, 0].mean() for edge in (line[:, 1].min(), line[:, 1].max()))
        assert right < left
    assert not places(image, to_rgb(COLOURS[2])).size
    assert not (tmp_path / "new" / "curve.png.partial").exists()


def test_the_band_is_the_spread(tmp_path: Path) -> None:
    """The same mean with and without a spread differ by a pale band alone."""
    wide = pixels(few_shot_figure({"it": curve(0.6, 0.8)}, tmp_path / "wide.png", title="Rings"))
    single = pixels(few_shot_figure({"it": curve(0.6, 0.8, draws=1)}, tmp_path / "single.png", title="Rings"))
    pale = tuple(0.85 + 0.15 * part for part in to_rgb(COLOURS[0]))
    band = places(wide, pale)  # type: ignore[arg-type]
    line = places(wide, to_rgb(COLOURS[0]))
    assert len(band) > 2000
    middles = {column: line[line[:, 1] == column][:, 0].mean() for column in set(line[:, 1]) & set(band[:, 1])}
    above = [row < middles[column] for row, column in band if column in middles]
    assert np.mean(above) == pytest.approx(0.5, abs=0.1)
    assert len(places(single, pale)) < 100  # type: ignore[arg-type]


def test_the_target_is_a_dashed_line(tmp_path: Path) -> None:
    heights = []
    for target in (0.9, 0.6):
        path = few_shot_figure({"it": curve(0.55, 0.95)}, tmp_path / "curve.png", title="Rings", target=target)
        grey = places(pixels(path), (0.45, 0.45, 0.45))
        rows, counts = np.unique(grey[:, 0], return_counts=True)
        assert counts.max() > 300
        heights.append(rows[counts.argmax()])
    assert heights[0] < heights[1]


def test_no_label_stands_left_of_the_fewest(tmp_path: Path) -> None:
    without = Curve((0, 10, 30), np.array([[0.88, 0.88, 0.88]]))
    curves = {"prior": without, "labels": curve(0.86, 0.86, draws=1)}
    image = pixels(few_shot_figure(curves, tmp_path / "zero.png", title="Rings", target=0.5))[:400]  # above the legend
    (prior, labels) = (places(image, to_rgb(colour))[:, 1] for colour in COLOURS[:2])
    assert prior.min() < labels.min() - 100 and abs(prior.max() - labels.max()) < 10


def test_more_models_than_colours_are_drawn(tmp_path: Path) -> None:
    curves = {f"model {place}": curve(0.6 + 0.02 * place, 0.8) for place in range(len(COLOURS) + 2)}
    assert few_shot_figure(curves, tmp_path / "many.png", title="Rings").is_file()


def test_no_curve_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="no curve"):
        few_shot_figure({}, tmp_path / "none.png", title="Rings")


def test_pictures_stand_in_their_rows_and_columns(tmp_path: Path) -> None:
    rows = [[tile("red"), tile("green")], [tile("green"), tile("blue")], [tile("blue"), tile("blue")]]
    image = pixels(picture_grid(rows, ("input", "clean"), tmp_path / "grid.png", title="Grid", field=25.0))
    middle = image.shape[1] / 2
    red, green, blue = (places(image, FLAT[name]) for name in ("red", "green", "blue"))
    assert red[:, 1].max() < middle < green[green[:, 0] <= red[:, 0].max()][:, 1].min()
    assert green[green[:, 0] > red[:, 0].max()][:, 1].max() < middle
    assert red[:, 0].max() < blue[:, 0].min()
    assert len(blue) > 2.9 * len(red)


def test_rows_may_stand_beside_one_another(tmp_path: Path) -> None:
    rows = [[tile("red"), tile("green")], [tile("blue"), tile("red")], [tile("blue"), tile("green")]]
    path = picture_grid(rows, ("input", "clean"), tmp_path / "grid.png", title="Grid", field=25.0, across=2)
    image = pixels(path)
    assert image.shape[1] > image.shape[0]
    found = {name: places(image, FLAT[name]) for name in FLAT}
    half = found["blue"][:, 0].mean()
    above = {name: spots[spots[:, 0] < half][:, 1] for name, spots in found.items()}
    below = {name: spots[spots[:, 0] > half][:, 1] for name, spots in found.items()}
    # red, green, a gap, blue, red; and the last row alone on the left
    left, right = np.sort(above["red"])[[0, -1]]
    assert left < above["green"].min() < above["green"].max() < above["blue"].min() < above["blue"].max() < right
    side = np.ptp(above["green"])
    assert 0.1 * side < above["blue"].min() - above["green"].max() < 0.3 * side
    assert not below["red"].size and below["blue"].max() < below["green"].min() < image.shape[1] / 2
    # nothing, not even a frame, where there is no row
    assert (image[int(found["green"][:, 0].max()) - 40 :, image.shape[1] // 2 + 20 :] == 1).all()


def test_no_wider_than_there_are_rows(tmp_path: Path) -> None:
    single = picture_grid([[tile("red")]], ("it",), tmp_path / "one.png", title="G", field=25.0)
    wide = picture_grid([[tile("red")]], ("it",), tmp_path / "four.png", title="G", field=25.0, across=4)
    np.testing.assert_array_equal(pixels(single), pixels(wide))


def test_row_zero_is_at_the_top_and_values_are_clipped(tmp_path: Path) -> None:
    picture = torch.full((3, 16, 16), -1.0)
    picture[0, :8] = 7.0
    image = pixels(picture_grid([[picture]], ("it",), tmp_path / "grid.png", title="Grid", field=25.0))
    red = places(image, FLAT["red"])
    black = places(image, (0.0, 0.0, 0.0))
    inside = black[(black[:, 1] > red[:, 1].min() + 5) & (black[:, 1] < red[:, 1].max() - 5)]
    assert red[:, 0].max() < np.median(inside[:, 0])


@pytest.mark.parametrize(("field", "share"), [(25.0, 5 / 25), (6.0, 2 / 6), (400.0, 100 / 400)])
def test_the_bar_is_a_round_number_of_arcseconds(tmp_path: Path, field: float, share: float) -> None:
    dark = torch.zeros(3, 16, 16)
    dark[2] = 1.0
    image = pixels(picture_grid([[dark]], ("it",), tmp_path / "grid.png", title="Grid", field=field))
    blue = places(image, FLAT["blue"])
    top, left = blue.min(axis=0)
    bottom, right = blue.max(axis=0)
    white = places(image[top : bottom + 1, left : right + 1], (1.0, 1.0, 1.0))
    rows, counts = np.unique(white[:, 0], return_counts=True)
    assert counts.max() / (right - left) == pytest.approx(share, abs=0.02)
    assert rows[counts.argmax()] > 0.8 * (bottom - top)


def test_captions_stand_below(tmp_path: Path) -> None:
    paths = [
        picture_grid([[tile("red")] * 2], "ab", tmp_path / f"{name}.png", title="Grid", field=25.0, captions=captions)
        for name, captions in (("plain", ()), ("written", [["28.1 dB", ""]]))
    ]
    below = []
    for path in paths:
        image = pixels(path)
        bottom = places(image, FLAT["red"])[:, 0].max()
        below.append(int((image[bottom + 8 :, : image.shape[1] // 2] < 0.5).all(axis=2).sum()))
    assert below[0] == 0
    assert below[1] > 50


def test_bad_grids_are_refused(tmp_path: Path) -> None:
    red, path = tile("red"), tmp_path / "grid.png"
    broken = red.clone()
    broken[0, 0, 0] = torch.nan
    for rows, captions, match in (
        ([], [], "rows of"),
        ([[red, red], [red]], [], r"rows of \[1, 2\]"),
        ([[red, red]], [["a"]], r"rows of \[1, 2\]"),
        ([[red, red]] * 2, [["a", "b"]], "captions for 1 of 2"),
        ([[red, broken]], [], "finite pictures"),
        ([[red, red[0]]], [], r"not \(16, 16\)"),
    ):
        with pytest.raises(StampError, match=match):
            picture_grid(rows, ("input", "clean"), path, title="Grid", field=25.0, captions=captions)
    assert not path.exists()
