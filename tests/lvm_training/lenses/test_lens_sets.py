"""Sets of simulated lenses: written once, read back by split, the truth on the stamps it belongs to."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from lvm_training.errors import StampError
from lvm_training.lenses import lens_sets as module
from lvm_training.lenses.lens_sets import (
    SPLITS,
    draw_pool,
    lens_rendering,
    population_of,
    read_lenses,
    simulated_pictures,
    write_lenses,
)
from lvm_training.lenses.lens_stamps import LensPopulation, draw_lens_stamps
from lvm_training.lenses.lookalikes import LENS, LOOK_ALIKES
from lvm_training.params import LensesParams, load_params
from lvm_training.stamps.render import frame, render
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE, StampSet

PARAMS = LensesParams(
    train=8,
    validation=4,
    test=6,
    lens_share=0.5,
    einstein_radius=(1.0, 3.0),
    signal_to_noise=(50, 400),
    look_alikes={"any": 0.1, "ring": 0.2, "spiral": 0.2, "merger": 0.2, "neighbours": 0.2, "early_type": 0.1},
    seed=3,
)
RENDERING = lens_rendering(64)
PARAMETERS = Path(__file__).parents[3] / "params.yaml"
PROFILES = [name for name, section in yaml.safe_load(PARAMETERS.read_text()).items() if isinstance(section, dict)]


def written(folder: Path) -> tuple[Path, Path]:
    paths = folder / "lenses.h5", folder / "lenses.json"
    write_lenses(*paths, PARAMS)
    return paths


def test_the_truth_is_on_pictures_of_any_size(tmp_path: Path) -> None:
    paths = written(tmp_path)
    small, large = (read_lenses(*paths, "test", lens_rendering(size)) for size in (64, 128))
    for one, other, picture in zip(small.truths, large.truths, large.images, strict=True):
        assert other.shape == tuple(picture.shape[1:]) == (128, 128)
        np.testing.assert_array_equal(other.masks, one.masks.repeat(2, axis=1).repeat(2, axis=2))
        np.testing.assert_array_equal(other.boxes, 2 * one.boxes)


def test_boxes_and_masks_of_enlarged_pictures_map_back_to_the_stamps_pixels(tmp_path: Path) -> None:
    """Pixel by pixel: each of the stamp's is four of the picture's, and nothing moves by half of one."""
    paths = written(tmp_path)
    small, large = (read_lenses(*paths, "train", lens_rendering(size)) for size in (64, 128))
    there = frame((64, 64), lens_rendering(128), pixel_scale=LEGACY_PIXEL_SCALE, origin="upper")
    for one, other in zip(small.truths, large.truths, strict=True):
        corners = [[there.to_stamp(*box[:2]), there.to_stamp(*box[2:])] for box in other.boxes]
        np.testing.assert_array_equal(np.array(corners).reshape(-1, 4), one.boxes)
        np.testing.assert_array_equal(other.on_grid(64).masks, one.masks)
    # a stamp on which one pixel shines: the picture shines most where that pixel went
    rng = np.random.default_rng(0)
    for row, column in rng.integers(2, 62, (6, 2)):
        bands = np.zeros((1, 3, 64, 64), np.float32)
        bands[0, :, row, column] = 1.0
        picture = render(bands, lens_rendering(128), kind="nanomaggies", origin="upper")[0].mean(0)
        bright = {tuple(place) for place in (picture == picture.max()).nonzero().tolist()}
        assert bright <= {(2 * row + down, 2 * column + right) for down in (0, 1) for right in (0, 1)}
        x, y = there.from_stamp(column + 0.5, row + 0.5)
        middle = (picture - picture.min()).double()
        weight = middle / middle.sum()
        places = np.arange(128) + 0.5
        assert float((weight.sum(0).numpy() * places).sum()) == pytest.approx(x, abs=1e-3)
        assert float((weight.sum(1).numpy() * places).sum()) == pytest.approx(y, abs=1e-3)


def test_the_share_asked_for_is_shown_as_other_surveys_would() -> None:
    """They are other stamps, of another population; the rest is drawn as without them, and each keeps its truth."""
    count, rendering = 40, lens_rendering(64)
    (plain, truths), (mixed, both), (other, _) = (
        simulated_pictures(drawn, np.random.default_rng(6), LensPopulation(), rendering, realism=realism)
        for drawn, realism in ((count // 2, 0.0), (count, 0.5), (count // 2, 1.0))
    )
    assert len(mixed) == len(both) == count and len(other) == count // 2
    assert mixed.isfinite().all() and mixed.min() >= 0 and mixed.max() <= 1
    same = (plain[:, None] == mixed[None]).flatten(2).all(2)
    assert same.sum(1).tolist() == [1] * len(plain)
    ours = same.int().argmax(1).tolist()
    assert ours != sorted(ours)
    for row, truth in zip(ours, truths, strict=True):
        assert both[row].classes == truth.classes and np.array_equal(both[row].masks, truth.masks)
    # a survey's marks do not move a galaxy: the middle shines, whatever star shines beside it
    light = mixed[[row for row in range(count) if row not in ours]].mean(1)
    assert (light[:, 28:36, 28:36].mean((1, 2)) > light.mean((1, 2))).float().mean() > 0.9


@pytest.mark.parametrize(("count", "realism", "lenses"), [(1, 0.5, 0), (10, 0.04, 5), (10, 1.0, 5), (0, 0.5, 0)])
def test_any_number_of_pictures_can_be_asked_for(count: int, realism: float, lenses: int) -> None:
    pictures, truths = simulated_pictures(
        count, np.random.default_rng(1), LensPopulation(), lens_rendering(64), realism=realism
    )
    assert pictures.shape == (count, 3, 64, 64)
    assert sum("arc" in truth.classes for truth in truths) == lenses


def test_what_was_drawn_is_read_by_split(tmp_path: Path) -> None:
    stamps, truth = written(tmp_path)
    for place, split in enumerate(SPLITS):
        drawn = draw_lens_stamps(getattr(PARAMS, split), np.random.default_rng((3, place)), population_of(PARAMS))
        read = read_lenses(stamps, truth, split, RENDERING)
        assert read.kinds.tolist() == drawn.kinds.tolist()
        assert read.positive.sum() == len(drawn.kinds) // 2
        for one, expected in zip(read.truths, drawn.objects, strict=True):
            assert one.classes == expected.classes
            np.testing.assert_array_equal(one.masks, expected.masks)
            np.testing.assert_allclose(one.boxes, expected.boxes)
        # the truth lies where the light is
        for picture, one in zip(read.images, read.truths, strict=True):
            for name, mask in zip(one.classes, one.masks, strict=True):
                if name != "galaxy":
                    grey = picture.mean(0).numpy()
                    assert grey[mask].mean() > np.median(grey)
    with StampSet(stamps) as opened:
        radii, kinds = opened.column("einstein_radius"), opened.column("kind")
        assert (np.isfinite(radii) == (kinds == LENS)).all()
        assert ((radii[kinds == LENS] >= 0.99) & (radii[kinds == LENS] <= 3)).all()
    first = read_lenses(stamps, truth, "train", RENDERING, limit=3)
    assert len(first.images) == len(first.truths) == len(first.kinds) == 3


def test_a_killed_run_gives_the_same_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = written(tmp_path / "whole")
    real, calls = draw_lens_stamps, []

    def stops(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "draw_lens_stamps", stops)
    with pytest.raises(KeyboardInterrupt):
        written(tmp_path / "killed")
    assert not (tmp_path / "killed" / "lenses.json").exists()
    again = written(tmp_path / "killed")
    assert again[1].read_bytes() == whole[1].read_bytes()
    with StampSet(again[0]) as second, StampSet(whole[0]) as first:
        assert second.digest == first.digest and len(second) == 18


def test_splits_that_are_too_small_and_truth_of_another_set_are_refused(tmp_path: Path) -> None:
    stamps, truth = written(tmp_path)
    with pytest.raises(StampError, match=r"'train'.*8 stamps"):
        read_lenses(stamps, truth, "train", RENDERING, limit=9)
    with pytest.raises(StampError, match="0 stamps"):
        read_lenses(stamps, truth, "pool", RENDERING)
    document = json.loads(truth.read_text())
    document["images"].pop()
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] < 18]
    truth.write_text(json.dumps(document))
    with pytest.raises(StampError, match=r"17 stamps.*18"):
        read_lenses(stamps, truth, "train", RENDERING)


@pytest.mark.parametrize("damage", ["", '{"images": [', "\ufffd"])
def test_truth_that_is_no_json_is_refused(damage: str, tmp_path: Path) -> None:
    stamps, truth = written(tmp_path)
    truth.write_text(damage)
    with pytest.raises(StampError, match="no readable truth"):
        read_lenses(stamps, truth, "train", RENDERING)
    truth.unlink()
    with pytest.raises(StampError, match="no readable truth"):
        read_lenses(stamps, truth, "train", RENDERING)


@pytest.mark.parametrize("profile", PROFILES)
def test_rehearsal_draws_from_the_population_that_detectors_were_trained_on(profile: str) -> None:
    """Fine-tuning rehearses `LensPopulation()`, training draws what params.yaml says."""
    assert population_of(load_params(PARAMETERS, profile=profile).lenses) == LensPopulation()


def test_parameters_name_every_look_alike() -> None:
    population = population_of(PARAMS)
    assert dict(zip(LOOK_ALIKES, population.look_alikes, strict=True)) == PARAMS.look_alikes
    with pytest.raises(StampError, match="ring, spiral"):
        population_of(PARAMS.model_copy(update={"look_alikes": {"ring": 1.0}}))


def test_a_pool_holds_as_many_lenses_as_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POOL_BATCH", 20)
    batches = list(draw_pool(30, 0.1, LensPopulation(), RENDERING, seed=0))
    assert [len(images) for images, _ in batches] == [20, 10]
    assert [int(lens.sum()) for _, lens in batches] == [2, 1]
    assert all(images.shape[1:] == (3, 64, 64) and images.isfinite().all() for images, _ in batches)
