"""HDF5 files of pictures: what is known is said, what may be meant in two ways is asked for, pixels are the file's."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.importing.importer import import_stamps
from lvm_training.importing.layouts import GALAXY10
from lvm_training.stamps.stampset import StampSet
from tests.lvm_training.importing.test_reports import REPORTS

COUNT, SIDE = 70, 12


def pictures(*shape: int, top: int = 256, dtype: type = np.uint8) -> NDArray[Any]:
    return np.random.default_rng(3).integers(0, top, shape or (COUNT, SIDE, SIDE, 3)).astype(dtype)


def write(path: Path, **datasets: object) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
    return path


def imported(path: Path, **options: Any) -> tuple[StampSet, str]:
    out = path.with_name(f"{path.stem}-set.h5")
    out.unlink(missing_ok=True)
    report = import_stamps(path, out, **options)
    return StampSet(out), "\n".join(report.notes)


def galaxy10(path: Path, **more: object) -> Path:
    return write(path, images=pictures(), ans=(np.arange(COUNT) % 11).astype(np.uint8), **more)


def test_galaxy10_decals_is_known_by_its_columns(tmp_path: Path) -> None:
    path = galaxy10(tmp_path / "some.h5", ra=np.arange(70.0), dec=np.arange(70.0), pxscale=np.full(COUNT, 0.262))
    stamps, notes = imported(path)
    with stamps:
        assert (stamps.rendering, stamps.origin, stamps.pixel_scale) == ("as-delivered", "upper", 0.262)
        np.testing.assert_array_equal(stamps.pixels(slice(None)), pictures().transpose(0, 3, 1, 2))
        names = stamps.column("galaxy10").tolist()
        assert names[:10] == list(GALAXY10["galaxy10-decals"]) and names[10] == ""
        assert set(stamps.columns) == {"ans", "dec", "galaxy10", "pxscale", "ra", "source_row"}
    assert "galaxy10-decals" in notes and "0.262 arcsec" in notes and "red, green, blue" in notes


def test_galaxy10_sdss_is_known_by_its_name_or_side(tmp_path: Path) -> None:
    named = galaxy10(tmp_path / "Galaxy10_SDSS.h5")
    sized = write(tmp_path / "Galaxy10.h5", images=pictures(20, 69, 69, 3), ans=np.arange(20) % 10)
    for path in (named, sized):
        stamps, notes = imported(path)
        with stamps:
            assert stamps.column("galaxy10")[1] == "Smooth, Completely round" and np.isnan(stamps.pixel_scale)
        assert "it is galaxy10-sdss" in notes


def test_which_galaxy10_is_asked_for_and_can_be_said(tmp_path: Path) -> None:
    path = galaxy10(tmp_path / "g.h5")
    stamps, notes = imported(path)
    with stamps:
        assert "galaxy10" not in stamps.columns and "--layout galaxy10-decals or galaxy10-sdss" in notes
    stamps, _ = imported(path, layout="galaxy10-decals")
    with stamps:
        assert stamps.column("galaxy10")[0] == "Disturbed Galaxies"
    for layout, said in (("galaxy9", "no layout 'galaxy9'"), ("galaxy10-sdss", "no file of galaxy10-sdss")):
        with pytest.raises(StampError, match=said):
            import_stamps(write(tmp_path / "x.h5", data=pictures()), tmp_path / "out.h5", layout=layout)


@pytest.mark.parametrize("answers", [np.eye(10)[np.arange(COUNT) % 10], np.array([b"spiral"] * COUNT)])
def test_answers_that_are_no_numbers_get_no_names(tmp_path: Path, answers: NDArray[Any]) -> None:
    stamps, _ = imported(write(tmp_path / "Galaxy10_DECals.h5", images=pictures(), ans=answers))
    with stamps:
        assert "galaxy10" not in stamps.columns and len(stamps) == COUNT


def test_answers_that_are_no_classes_get_none(tmp_path: Path) -> None:
    answers = np.where(np.arange(COUNT) % 2, 3.0, np.nan)
    stamps, _ = imported(write(tmp_path / "Galaxy10_DECals.h5", images=pictures(), ans=answers))
    with stamps:
        assert stamps.column("galaxy10")[:2].tolist() == ["", "In-between Round Smooth Galaxies"]


@pytest.mark.skipif(not REPORTS.is_dir(), reason="no reports here; set GALAXYLOOP_REPORTS to their folder")
def test_the_reported_galaxy10(tmp_path: Path) -> None:
    path = REPORTS / "09-galaxy10-h5" / "in" / "Galaxy10_DECals.h5"
    report = import_stamps(path, tmp_path / "out.h5")
    with StampSet(report.out) as stamps, h5py.File(path) as file:
        np.testing.assert_array_equal(stamps.pixels(slice(None)), file["images"][:].transpose(0, 3, 1, 2))
        assert [GALAXY10["galaxy10-decals"][answer] for answer in file["ans"]] == stamps.column("galaxy10").tolist()


@pytest.mark.parametrize("name", ["image", "data", "X", "train/pictures"])
def test_images_of_other_names_and_axes_are_the_same(tmp_path: Path, name: str) -> None:
    last, labels = pictures(), np.arange(COUNT)
    group = name.rpartition("/")[0]
    for axes in (last, last.transpose(0, 3, 1, 2)):
        stamps, notes = imported(write(tmp_path / "p.h5", **{name: axes, f"{group}/label".strip("/"): labels}))
        with stamps:
            np.testing.assert_array_equal(stamps.pixels(slice(None)), last.transpose(0, 3, 1, 2))
            assert stamps.column("label").tolist() == labels.tolist()
        assert f"{name} are the images" in notes


def test_one_plane_is_grey(tmp_path: Path) -> None:
    grey = pictures(COUNT, SIDE, SIDE)
    for axes in (grey, grey[..., None], grey[:, None]):
        stamps, notes = imported(write(tmp_path / "p.h5", images=axes))
        with stamps:
            np.testing.assert_array_equal(stamps.pixels(slice(None)), np.repeat(grey[:, None], 3, axis=1))
        assert "one plane is shown as grey" in notes


@pytest.mark.parametrize(
    ("images", "options", "white"),
    [
        (pictures(top=65536, dtype=np.uint16), {}, 65535),
        (pictures(top=4096, dtype=np.uint16), {}, 4095),
        (pictures(dtype=np.uint16), {}, 255),
        (pictures(dtype=np.int64), {}, 255),
        (pictures(top=1000, dtype=np.float32) / np.float32(1000), {"bands": "r,g,b"}, 1),
        (pictures(top=1000, dtype=np.float32) / np.float32(800), {"bands": "r,g,b"}, 1),
        (pictures(dtype=np.float16), {"bands": "rgb"}, 255),
        (pictures(dtype=np.float32) * np.float32(1.1), {"bands": "rgb"}, 255),
    ],
)
def test_other_depths_are_scaled_to_white(
    tmp_path: Path, images: NDArray[Any], options: dict[str, str], white: int
) -> None:
    stamps, notes = imported(write(tmp_path / "p.h5", images=images), **options)
    with stamps:
        expected = np.floor(images.astype(float) * 255 / white + 0.5).clip(0, 255).transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(stamps.pixels(slice(None)), expected)
    assert f"{white:,} is white" in notes


def test_floats_are_asked_for(tmp_path: Path) -> None:
    unit = np.random.default_rng(0).random((COUNT, SIDE, SIDE, 3)).astype(np.float32)
    for images in (unit, unit.transpose(0, 3, 1, 2), unit[..., 0], unit - 0.5):
        with pytest.raises(StampError, match=r"may be pictures or fluxes.*--bands r,g,b"):
            import_stamps(write(tmp_path / "p.h5", images=images), tmp_path / "out.h5")
    with pytest.raises(StampError, match="no picture"):
        import_stamps(write(tmp_path / "p.h5", images=unit - 0.5), tmp_path / "out.h5", bands="r,g,b")
    assert not list(tmp_path.glob("out*"))


def test_fluxes_in_another_order_of_planes(tmp_path: Path) -> None:
    fluxes = np.random.default_rng(0).normal(size=(COUNT, SIDE, SIDE, 4)).astype(np.float32)
    fluxes[..., 2] = np.nan  # i, which is not used
    path = write(tmp_path / "p.h5", cutouts=fluxes, ra=np.arange(70.0), flux=np.ones((COUNT, 3)))
    stamps, notes = imported(path, bands="z,r,i,g", pixel_scale=0.2)
    with stamps:
        assert (stamps.rendering, stamps.origin, stamps.pixel_scale) == ("nanomaggies", "lower", 0.2)
        np.testing.assert_array_equal(stamps.pixels(slice(None)), fluxes[..., [3, 1, 0]].transpose(0, 3, 1, 2))
        assert stamps.columns == ["flux_g", "flux_r", "flux_z", "ra", "source_row"]
    assert "z, r, i, g are taken as nanomaggies" in notes and "scale is unknown" not in notes
    stamps, notes = imported(path, bands="z,r,i,g")
    stamps.close()
    assert "the pixel scale is unknown" in notes
    with pytest.raises(StampError, match=r"names 3 bands.*4 planes"):
        import_stamps(path, tmp_path / "out.h5", bands="g,r,z")
    with pytest.raises(StampError, match="have 4 planes"):
        import_stamps(write(tmp_path / "q.h5", images=pictures(COUNT, SIDE, SIDE, 4)), tmp_path / "out.h5")


def test_of_several_datasets_one_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "p.h5", X_train=pictures(), X_test=pictures(9, SIDE, SIDE, 3), y_train=np.arange(COUNT))
    with pytest.raises(StampError, match=r"several datasets.*X_test .*X_train.*--images X_test"):
        import_stamps(path, tmp_path / "out.h5")
    stamps, notes = imported(path, images="X_train")
    with stamps:
        assert len(stamps) == COUNT and stamps.column("y_train").tolist() == list(range(COUNT))
    assert "X_test: left out, it has 9 rows for 70 stamps" in notes
    with pytest.raises(StampError, match=r"no images 'X'.*It has: X_test"):
        import_stamps(path, tmp_path / "out.h5", images="X")


def test_one_of_a_usual_name_is_taken_and_the_others_are_said(tmp_path: Path) -> None:
    stamps, notes = imported(write(tmp_path / "p.h5", images=pictures(), masks=pictures(COUNT, SIDE, SIDE)))
    with stamps:
        assert stamps.columns == ["source_row"]
    assert "masks may be images too" in notes


@pytest.mark.parametrize(
    ("datasets", "said"),
    [
        ({"ra": np.arange(9.0)}, "holds no images"),
        ({"images": pictures(5, 8, 8, 12, 3)}, "holds no images"),
        ({"images": pictures(5, 20, 20, 20)}, "or neither"),
        ({"images": np.array([b"a"] * 9)}, "holds no images"),
        ({"images": pictures(40, 40, 3)}, "holds no images"),
    ],
)
def test_what_holds_no_images_is_refused(tmp_path: Path, datasets: dict[str, object], said: str) -> None:
    with pytest.raises(StampError, match=said):
        import_stamps(write(tmp_path / "p.h5", **datasets), tmp_path / "out.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["p.h5"]


def test_numpy_files_are_refused_with_what_to_do(tmp_path: Path) -> None:
    np.savez(tmp_path / "g.npz", images=pictures())
    with pytest.raises(StampError, match=r"g\.npz is not read.*HDF5"):
        import_stamps(tmp_path / "g.npz", tmp_path / "out.h5")


def test_hdf5_of_any_name_is_hdf5(tmp_path: Path) -> None:
    stamps, _ = imported(write(tmp_path / "galaxies", images=pictures()))
    with stamps:
        assert len(stamps) == COUNT


def test_damaged_and_empty_pictures_are_skipped_with_their_rows(tmp_path: Path) -> None:
    images = pictures()
    images[5] = 7
    with h5py.File(tmp_path / "p.h5", "w") as file:
        data = file.create_dataset("images", data=images, chunks=(10, SIDE, SIDE, 3), compression="gzip")
        file["name"] = np.array([f"g{row}" for row in range(COUNT)], dtype=object)
        place = data.id.get_chunk_info(3).byte_offset
    content = bytearray((tmp_path / "p.h5").read_bytes())
    content[place : place + 64] = bytes(64)
    (tmp_path / "p.h5").write_bytes(content)
    report = import_stamps(tmp_path / "p.h5", tmp_path / "out.h5")
    assert [item.file for item in report.skipped] == ["row 5", *(f"row {row}" for row in range(30, 40))]
    with StampSet(report.out) as stamps:
        kept = np.setdiff1d(np.arange(COUNT), [5, *range(30, 40)])
        np.testing.assert_array_equal(stamps.pixels(slice(None)), images[kept].transpose(0, 3, 1, 2))
        assert stamps.column("name").tolist() == [f"g{row}" for row in kept]


def test_of_a_file_that_was_cut_off_the_pictures_that_are_there_are_taken(tmp_path: Path) -> None:
    path = galaxy10(tmp_path / "Galaxy10_DECals.h5")
    with h5py.File(path, "a") as file:
        file["loop"] = h5py.SoftLink("/")
        file["later/ra"] = np.arange(70.0)
        start = file["images"].id.get_offset()
    whole = path.read_bytes()
    path.write_bytes(whole[: start + int(40.5 * pictures()[0].nbytes)])
    report = import_stamps(path, tmp_path / "out.h5")
    assert report.written == 40 and [item.file for item in report.skipped] == [f"row {row}" for row in range(40, 70)]
    assert report.notes[0].startswith("the file was cut off")
    with StampSet(report.out) as stamps:
        np.testing.assert_array_equal(stamps.pixels(slice(None)), pictures()[:40].transpose(0, 3, 1, 2))


def test_pixel_scales_that_differ_are_said(tmp_path: Path) -> None:
    stamps, notes = imported(galaxy10(tmp_path / "g.h5", pxscale=np.linspace(0.2, 0.4, COUNT)))
    with stamps:
        assert np.isnan(stamps.pixel_scale) and stamps.column("pxscale")[0] == 0.2
    assert "pxscale is 0.2 to 0.4 arcsec" in notes


def test_an_interrupted_import_goes_on(tmp_path: Path) -> None:
    path = galaxy10(tmp_path / "Galaxy10_DECals.h5")

    def interrupt(done: int, total: int) -> None:
        if done == 66:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_stamps(path, tmp_path / "out.h5", progress=interrupt)
    assert (tmp_path / "out.h5.partial").is_file() and not (tmp_path / "out.h5").exists()
    report = import_stamps(path, tmp_path / "out.h5")
    whole = import_stamps(path, tmp_path / "whole.h5")
    assert report.written == COUNT
    with StampSet(report.out) as one, StampSet(whole.out) as other:
        assert one.digest == other.digest and one.column("galaxy10").tolist() == other.column("galaxy10").tolist()


def test_images_can_be_cut_to_a_size(tmp_path: Path) -> None:
    path = write(tmp_path / "p.h5", images=pictures())
    stamps, _ = imported(path, size=8)
    with stamps:
        np.testing.assert_array_equal(stamps.pixels(slice(None)), pictures().transpose(0, 3, 1, 2)[..., 2:10, 2:10])
    with pytest.raises(StampError, match="smaller than 13"):
        import_stamps(path, tmp_path / "out.h5", size=13)


def test_bands_and_galaxies_in_datasets_of_their_own_are_to_be_stacked(tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(size=(3, 16, 16)).astype(np.float32)
    with h5py.File(tmp_path / "bands.h5", "w") as file:
        for band in "grz":
            file[band] = np.stack([images[0]] * 20)
    with pytest.raises(StampError, match=r"a dataset for each band: g, r, z\. Stack them as `images`.*--bands g,r,z"):
        import_stamps(tmp_path / "bands.h5", tmp_path / "out.h5")
    with h5py.File(tmp_path / "each.h5", "w") as file:
        for number in range(4):
            file[f"galaxy{number}/image"] = images
    with pytest.raises(StampError, match=r"for each of 4 galaxies, first galaxy0/image \(3, 16, 16\)\. Stack them"):
        import_stamps(tmp_path / "each.h5", tmp_path / "out.h5")
