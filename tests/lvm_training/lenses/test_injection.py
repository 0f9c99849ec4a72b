"""Arcs on given stamps: the truth lies on what was added, everything else stays, and the files read as simulated ones.

Early types stand in for real galaxies; the last test takes real ones.
"""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.importing.importer import import_stamps
from lvm_training.lenses import injection as module
from lvm_training.lenses.deflectors import sky_noise
from lvm_training.lenses.injection import InjectedLenses, inject_lenses, write_injected_lenses
from lvm_training.lenses.lens_sets import SPLITS, lens_rendering, read_lenses
from lvm_training.lenses.lens_stamps import ARC_SIGNIFICANCE, FIELD, SIZE, LensPopulation, draw_lens_stamps
from lvm_training.lenses.lookalikes import LENS
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE, StampSet, StampWriter

POPULATION = LensPopulation()
EARLY_TYPES = LensPopulation(lens_share=0, look_alikes=(0, 0, 0, 0, 1, 0))
WIDE, MARGIN = 80, 8  # pixels of the stamps given, and what is cut from each side


def wide(count: int) -> NDArray[np.float32]:
    field = WIDE * LEGACY_PIXEL_SCALE
    return draw_lens_stamps(count, np.random.default_rng(0), EARLY_TYPES, size=WIDE, field=field).bands


def written(path: Path, bands: NDArray[np.float32], **attributes: object) -> StampSet:
    writer = StampWriter(path, bands.shape[2:], **({"origin": "upper"} | attributes))  # type: ignore[arg-type]
    writer.append(bands, {"number": np.arange(len(bands))})
    return StampSet(writer.finish())


def middle(bands: NDArray[np.float32]) -> NDArray[np.float32]:
    return bands[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN]


@pytest.fixture(scope="module")
def bands() -> NDArray[np.float32]:
    return wide(8)


@pytest.fixture(scope="module")
def stamps(bands: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> StampSet:
    return written(tmp_path_factory.mktemp("given") / "given.h5", bands)


@pytest.fixture(scope="module")
def drawn(stamps: StampSet) -> InjectedLenses:
    return inject_lenses(stamps, range(8), POPULATION, 3)


def test_most_early_types_get_arcs_and_every_one_its_truth(drawn: InjectedLenses) -> None:
    assert 5 <= len(drawn.rows) == 8 - len(drawn.notes)
    assert drawn.bands.shape == (len(drawn.rows), 3, SIZE, SIZE) and drawn.bands.dtype == np.float32
    for truth, lens in zip(drawn.objects, drawn.lenses, strict=True):
        assert truth.classes == ("arc", "deflector") and truth.shape == (SIZE, SIZE)
        assert truth.masks[1, SIZE // 2 - 1 : SIZE // 2 + 1, SIZE // 2 - 1 : SIZE // 2 + 1].all()
        assert POPULATION.einstein_radius[0] <= lens.einstein_radius <= POPULATION.einstein_radius[1]


def test_light_is_added_where_the_truth_says(bands: NDArray[np.float32], drawn: InjectedLenses) -> None:
    for row, stamp, truth in zip(drawn.rows, drawn.bands, drawn.objects, strict=True):
        added = (stamp - middle(bands)[row]) / sky_noise(bands[row])[:, None, None]
        significance = np.sqrt(np.square(added).sum(axis=0))
        arc = truth.masks[0]
        assert significance[arc].mean() > ARC_SIGNIFICANCE > significance[~arc].mean()
        total = np.sqrt(np.square(added[:, arc]).sum())
        assert 0.5 * POPULATION.signal_to_noise[0] < total < 1.5 * POPULATION.signal_to_noise[1]


def test_a_stamp_depends_on_seed_and_row_alone(stamps: StampSet, drawn: InjectedLenses) -> None:
    row = int(drawn.rows[-1])
    alone, other = inject_lenses(stamps, [row], POPULATION, 3), inject_lenses(stamps, [row], POPULATION, 4)
    assert np.array_equal(alone.bands[0], drawn.bands[-1]) and alone.lenses[0] == drawn.lenses[-1]
    assert other.lenses != alone.lenses


def test_what_is_missing_stays_missing(tmp_path: Path, bands: NDArray[np.float32], drawn: InjectedLenses) -> None:
    row, holed = int(drawn.rows[0]), bands.copy()
    holed[:, 1, MARGIN + 20 : MARGIN + 24, MARGIN + 5 : MARGIN + 60] = np.nan
    found = inject_lenses(written(tmp_path / "holed.h5", holed), [row], POPULATION, 3)
    assert np.array_equal(np.isnan(found.bands[0]), np.isnan(middle(holed)[row]))
    assert np.isfinite(found.bands[0][[0, 2]]).all()
    assert not found.objects[0].masks[:, 20:24, 5:60].any()


def test_stamps_from_south_to_north_are_turned_up(
    tmp_path: Path, bands: NDArray[np.float32], drawn: InjectedLenses
) -> None:
    row = int(drawn.rows[0])
    southern = written(tmp_path / "southern.h5", np.ascontiguousarray(bands[:, :, ::-1]), origin="lower")
    found = inject_lenses(southern, [row], POPULATION, 3)
    assert np.array_equal(found.bands[0], drawn.bands[0])
    assert np.array_equal(found.objects[0].masks, drawn.objects[0].masks)


def test_fluxes_keep_the_unit_of_their_pixels(
    tmp_path: Path, bands: NDArray[np.float32], drawn: InjectedLenses
) -> None:
    """Half as wide pixels, a quarter of the flux in each: the same sky, on twice as many pixels."""
    row = int(drawn.rows[0])
    fine = np.repeat(np.repeat(bands[[row]], 2, axis=2), 2, axis=3) / np.float32(4)
    found = inject_lenses(written(tmp_path / "fine.h5", fine, pixel_scale=LEGACY_PIXEL_SCALE / 2), [0], POPULATION, 3)
    assert found.bands.shape == (1, 3, 2 * SIZE, 2 * SIZE)
    cut = fine[0, :, 2 * MARGIN : -2 * MARGIN, 2 * MARGIN : -2 * MARGIN]
    added = (found.bands[0] - cut) / sky_noise(fine[0])[:, None, None]
    total = np.sqrt(np.square(added[:, found.objects[0].masks[0]]).sum())
    assert 0.5 * POPULATION.signal_to_noise[0] < total < 1.5 * POPULATION.signal_to_noise[1]


def test_stamps_without_a_galaxy_or_without_sky_are_left_out(tmp_path: Path) -> None:
    blank = np.random.default_rng(0).normal(0, 0.01, (3, 3, SIZE, SIZE)).astype(np.float32)
    blank[1] = 0
    blank[2, 2] = np.nan
    stamps = written(tmp_path / "blank.h5", blank)
    found = inject_lenses(stamps, range(3), POPULATION, 0)
    assert len(found.rows) == len(found.objects) == 0 and found.bands.shape == (0, 3, SIZE, SIZE)
    assert found.notes == tuple(f"Stamp {row} was left out: no galaxy in its middle stands out." for row in range(3))
    with pytest.raises(StampError, match="None of 3 stamps of blank"):
        write_injected_lenses(stamps, tmp_path / "out", POPULATION)
    assert not (tmp_path / "out" / "lenses.json").exists()


def test_a_galaxy_that_outshines_all_arcs_is_left_out(stamps: StampSet, drawn: InjectedLenses) -> None:
    faint = LensPopulation(signal_to_noise=(1.0, 2.0))
    row = int(drawn.rows[0])
    assert inject_lenses(stamps, [row], faint, 0).notes == (
        f"Stamp {row} was left out: its galaxy outshines all arcs drawn.",
    )


def test_sets_that_arcs_cannot_be_added_to(tmp_path: Path, bands: NDArray[np.float32]) -> None:
    pictures = np.zeros((1, 3, SIZE, SIZE), np.uint8)
    for name, pixels, attributes, message in (
        ("pictures", pictures, {"rendering": "as-delivered"}, "no fluxes of a known pixel scale"),
        ("unknown", bands[:1], {"pixel_scale": float("nan")}, "no fluxes of a known pixel scale"),
        ("narrow", bands[:1, :, :60, :60], {}, f"narrower than {FIELD}"),
        ("oblong", bands[:1, :, :70], {}, "70 x 80 pixels are not square"),
    ):
        given = written(tmp_path / f"{name}.h5", pixels, **attributes)  # type: ignore[arg-type]
        with pytest.raises(StampError, match=message):
            inject_lenses(given, [0], POPULATION, 0)
    with pytest.raises(StampError, match="row 9"):
        inject_lenses(written(tmp_path / "few.h5", bands), [9], POPULATION, 0)


def test_the_files_read_as_simulated_lenses_do(tmp_path: Path, stamps: StampSet, drawn: InjectedLenses) -> None:
    count, notes = write_injected_lenses(stamps, tmp_path, POPULATION, seed=3)
    assert (count, notes) == (len(drawn.rows), drawn.notes)
    paths = tmp_path / "lenses.h5", tmp_path / "lenses.json"
    with StampSet(paths[0]) as whole:
        assert np.array_equal(whole.pixels(slice(None)), drawn.bands) and whole.origin == "upper"
        assert np.array_equal(whole.column("row"), drawn.rows)
        splits = whole.column("split").tolist()
    read = 0
    for split in sorted(set(splits)):
        assert split in SPLITS
        found = read_lenses(*paths, split, lens_rendering(SIZE))
        assert (found.kinds == LENS).all() and found.images.shape == (splits.count(split), 3, SIZE, SIZE)
        places = [place for place, one in enumerate(splits) if one == split]
        for place, truth in zip(places, found.truths, strict=True):
            assert np.array_equal(truth.masks, drawn.objects[place].masks)
            assert np.array_equal(truth.boxes, drawn.objects[place].boxes)
        read += len(found.truths)
    assert read == count


def test_a_killed_run_gives_the_same_files(
    tmp_path: Path, stamps: StampSet, drawn: InjectedLenses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 3)

    def killed(done: int, total: int) -> None:
        assert total == 8
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_injected_lenses(stamps, tmp_path, POPULATION, seed=3, progress=killed)
    assert not (tmp_path / "lenses.json").exists()
    write_injected_lenses(stamps, tmp_path, POPULATION, seed=3)
    with StampSet(tmp_path / "lenses.h5") as whole:
        assert np.array_equal(whole.pixels(slice(None)), drawn.bands)


def test_real_galaxies_get_arcs(tmp_path: Path, real_data: Path) -> None:
    import_stamps(real_data / "desi-dr9-fits", tmp_path / "real.h5")
    with StampSet(tmp_path / "real.h5") as real:
        drawn = inject_lenses(real, range(len(real)), POPULATION, 7)
        assert len(drawn.rows) >= 3 and len(drawn.rows) + len(drawn.notes) == len(real)
        start = (real.shape[0] - SIZE) // 2
        given = real.pixels(drawn.rows)[:, :, ::-1][:, :, start : start + SIZE, start : start + SIZE]
        noise = np.stack([sky_noise(one) for one in real.pixels(drawn.rows)])
    significance = np.sqrt(np.square((drawn.bands - given) / noise[:, :, None, None]).sum(axis=1))
    for one, truth in zip(significance, drawn.objects, strict=True):
        assert one[truth.masks[0]].mean() > ARC_SIGNIFICANCE > one[~truth.masks[0]].mean()
        assert truth.masks[1, SIZE // 2, SIZE // 2]
