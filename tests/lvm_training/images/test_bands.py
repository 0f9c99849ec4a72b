"""Bands: what planes are called, which of them stand for g, r and z, and colours that are never taken for bands."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from astropy.io import fits

from lvm_training.errors import StampError
from lvm_training.images.bands import band_name, named_bands, wavelength
from lvm_training.images.fits import Reading, fits_facts, read_fits, read_frame
from lvm_training.stamps.render import render
from lvm_training.stamps.rendering import Rendering
from tests.lvm_training.images.images import camera, planes, sky_header, write

RGB = Reading(bands=named_bands("r,g,b"))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32])
def test_nameless_planes_of_integers_are_refused_with_the_mend(tmp_path: Path, dtype: Any) -> None:
    path = write(tmp_path / "f.fits", camera(dtype=dtype, white=200))
    for read in (read_fits, fits_facts):
        with pytest.raises(StampError, match=r"bands nobody says.*--bands r,g,b"):
            read(path)


@pytest.mark.parametrize("card", ["BAYERPAT", "XPIXSZ", "FOCALLEN"])
def test_floats_of_a_colour_camera_are_asked_about(tmp_path: Path, card: str) -> None:
    with pytest.raises(StampError, match=r"3 planes of floats.*--bands r,g,b"):
        read_fits(write(tmp_path / "f.fits", planes(), None, **{card: "RGGB" if card == "BAYERPAT" else 3.8}))


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535), (np.int16, 4095), (np.float32, 1)])
def test_colours_are_shown_as_they_are(tmp_path: Path, dtype: Any, white: int, alpha: bool, interleaved: bool) -> None:
    data = camera(dtype=np.float64, white=white)
    data = np.concatenate([data, np.full_like(data[:1], white)])[: 4 if alpha else 3].astype(dtype)
    path = write(tmp_path / "f.fits", np.moveaxis(data, 0, -1) if interleaved else data)
    with pytest.raises(StampError, match="--bands"):
        read_fits(path)
    reading = Reading(bands=named_bands("r,g,b,a")) if alpha else RGB
    stamp, facts = read_fits(path, reading=reading), fits_facts(path, reading)
    assert (facts.rendering, facts.bands, stamp.bands, facts.shape) == ("as-delivered", "rgb", "rgb", (24, 24))
    assert stamp.pixels.dtype == np.uint8 and facts.white == (None if dtype == np.uint8 else white)
    np.testing.assert_allclose(stamp.pixels, data[:3] * (255.0 / white), atol=1)
    # a red galaxy is red to the eye, and not white
    picture = render(stamp.pixels[None], Rendering(), kind="as-delivered", origin="lower")[0]
    red, green, blue = picture.amax(dim=(1, 2)).tolist()
    assert red > 1.5 * green > 2 * blue and red <= 1


def test_a_resampled_picture_a_little_brighter_than_white_is_not_black(tmp_path: Path) -> None:
    data = camera(dtype=np.float32, white=1) * np.float32(1.2)
    stamp = read_fits(write(tmp_path / "f.fits", data), reading=RGB)
    np.testing.assert_allclose(stamp.pixels, np.clip(data, 0, 1) * 255, atol=1)


@pytest.mark.parametrize("order", ["r,g,b", "b,g,r", "g,b,r"])
def test_the_order_of_colours_is_the_one_that_is_given(tmp_path: Path, order: str) -> None:
    data = dict(zip("rgb", camera(), strict=True))
    path = write(tmp_path / "f.fits", np.stack([data[name] for name in order.split(",")]))
    stamp = read_fits(path, reading=Reading(bands=named_bands(order)))
    np.testing.assert_array_equal(stamp.pixels, read_fits(write(tmp_path / "g.fits", camera()), reading=RGB).pixels)


@pytest.mark.parametrize(
    "cards",
    [
        {"BANDS": "RGB"},
        {"BAND1": "R", "BAND2": "G", "BAND3": "B"},
        {"CHANNEL0": "red", "CHANNEL1": "green", "CHANNEL2": "blue"},
        {"CTYPE3": "RGB"},
    ],
)
def test_a_header_may_name_colours(tmp_path: Path, cards: dict[str, str]) -> None:
    stamp = read_fits(write(tmp_path / "f.fits", camera(dtype=np.uint8, white=255), **cards))
    assert stamp.bands == "rgb"
    np.testing.assert_array_equal(stamp.pixels, camera(dtype=np.uint8, white=255))


@pytest.mark.parametrize("word", ["VIS", "red", "NUV"])
def test_a_filter_of_three_letters_is_not_three_bands(tmp_path: Path, word: str) -> None:
    with pytest.raises(StampError, match="--bands"):
        read_fits(write(tmp_path / "f.fits", camera(), FILTER=word))
    assert read_fits(write(tmp_path / "g.fits", planes(), FILTER=word)).bands == "grz"


def test_colours_in_a_unit_are_fluxes_of_red_green_and_blue_bands(tmp_path: Path) -> None:
    data = planes()
    stamp = read_fits(write(tmp_path / "f.fits", data, BANDS="RGB", BUNIT="nanomaggy"))
    assert (stamp.pixels.dtype, stamp.bands) == (np.float32, "rgb")
    np.testing.assert_array_equal(stamp.pixels, data[::-1])


def test_nameless_floats_are_g_r_z_unless_they_look_like_a_picture(tmp_path: Path) -> None:
    path = write(tmp_path / "f.fits", planes())
    np.testing.assert_array_equal(read_fits(path).pixels, planes())
    assert any("taken as g, r, z" in remark for remark in fits_facts(path).remarks)
    positive = np.abs(planes())
    with pytest.raises(StampError, match="without a value below zero"):
        read_fits(write(tmp_path / "f.fits", positive))
    for told in ({"BUNIT": "nanomaggy"}, {"BANDS": "grz"}):
        np.testing.assert_array_equal(read_fits(write(tmp_path / "f.fits", positive, **told)).pixels, positive)
    given = read_fits(write(tmp_path / "f.fits", positive), reading=Reading(bands=("z", "r", "g")))
    np.testing.assert_array_equal(given.pixels, positive[::-1])


def test_integers_with_a_scale_are_fluxes(tmp_path: Path) -> None:
    hdu = fits.PrimaryHDU(planes())
    hdu.scale("int16", bscale=0.001, bzero=1)
    hdu.writeto(tmp_path / "f.fits")
    np.testing.assert_allclose(read_fits(tmp_path / "f.fits").pixels, planes(), atol=1e-3)


@pytest.mark.parametrize(
    ("cards", "picked"),
    [
        ({"BANDS": "ugriz"}, [1, 2, 4]),
        ({"BANDS": "z,i,r,g,u"}, [3, 2, 0]),
        ({f"FILTER{i + 1}": f"HSC-{band}" for i, band in enumerate("GRIZY")}, [0, 1, 3]),
        ({"FILTERS": "sdss_u sdss_g sdss_r sdss_i sdss_z"}, [1, 2, 4]),
    ],
)
def test_five_named_bands_give_three(tmp_path: Path, cards: dict[str, str], picked: list[int]) -> None:
    stamp = read_fits(write(tmp_path / "f.fits", planes(5), **cards))
    np.testing.assert_array_equal(stamp.pixels, planes(5)[picked])
    assert stamp.bands == "grz"


def test_five_nameless_planes_ask(tmp_path: Path) -> None:
    path = write(tmp_path / "f.fits", planes(5))
    with pytest.raises(StampError, match=r"wrong-shaped.*--bands u,g,r,i,z"):
        read_fits(path)
    np.testing.assert_array_equal(
        read_fits(path, reading=Reading(bands=named_bands("ugriz"))).pixels, planes(5)[[1, 2, 4]]
    )
    with pytest.raises(StampError, match="names 3 bands, and the image has 5 planes"):
        read_fits(path, reading=RGB)


@pytest.mark.parametrize(
    ("bands", "order", "said"),
    [
        ("g,r,i", [0, 1, 2], "gri"),
        ("i,r,g", [2, 1, 0], "gri"),
        ("F814W,F606W,F435W", [2, 1, 0], "f435w+f606w+f814w"),
        ("V,R,I", [0, 1, 2], "vri"),
        ("K,J,H", [1, 2, 0], "jhk"),
        ("F444W,F277W,F150W", [2, 1, 0], "f150w+f277w+f444w"),
    ],
)
def test_bands_of_like_wavelength_stand_for_missing_ones(
    tmp_path: Path, bands: str, order: list[int], said: str
) -> None:
    path = write(tmp_path / "f.fits", planes(), BANDS=bands)
    stamp, facts = read_fits(path), fits_facts(path)
    np.testing.assert_array_equal(stamp.pixels, planes()[order])
    assert stamp.bands == facts.bands == said
    assert any("stands for" in remark for remark in facts.remarks)


@pytest.mark.parametrize("bands", ["u,g,r", "g,r,halpha", "x1,x2,x3"])
def test_bands_that_cannot_stand_for_others_are_refused(tmp_path: Path, bands: str) -> None:
    with pytest.raises(StampError, match="wrong bands"):
        read_fits(write(tmp_path / "f.fits", planes(), BANDS=bands))


@pytest.mark.parametrize(("bands", "missing"), [("gr", 2), ("rz", 0), ("gz", 1)])
def test_two_bands_are_continued_in_grey(tmp_path: Path, bands: str, missing: int) -> None:
    path = write(tmp_path / "f.fits", planes(2), BANDS=bands)
    stamp = read_fits(path)
    scaled = stamp.pixels * np.array(Rendering().scales, np.float32)[:, None, None]
    near = [place for place in (missing - 1, missing + 1) if 0 <= place < 3]
    np.testing.assert_allclose(scaled[missing], scaled[near].mean(axis=0), rtol=1e-4, atol=1e-6)
    assert stamp.bands == bands
    kept = [place for place in range(3) if place != missing]
    np.testing.assert_array_equal(stamp.pixels[kept], planes(2))


def test_one_band_is_grey_to_the_eye(tmp_path: Path) -> None:
    for data, reading in ((planes(1)[0], Reading(bands=("g",))), (planes(1), Reading())):
        stamp = read_fits(write(tmp_path / "f.fits", data), reading=reading)
        picture = render(stamp.pixels[None], Rendering(), kind="nanomaggies")[0]
        torch.testing.assert_close(picture[0], picture[2])


@pytest.mark.parametrize("wheels", [("CLEAR1L", "F814W"), ("F435W", "CLEAR2L")])
def test_one_of_two_filter_wheels_is_clear(tmp_path: Path, wheels: tuple[str, str]) -> None:
    path = write(tmp_path / "f.fits", planes(1)[0], None, FILTER1=wheels[0], FILTER2=wheels[1])
    assert read_fits(path).bands == next(name.lower() for name in wheels if name.startswith("F"))


def test_extensions_are_bands_by_their_names_or_as_given(tmp_path: Path) -> None:
    def extensions(*names: str) -> Path:
        hdus = [fits.ImageHDU(plane, name=name) for plane, name in zip(planes(len(names)), names, strict=True)]
        weights = fits.ImageHDU(np.ones((24, 24), np.float32), name="WEIGHT")
        fits.HDUList([fits.PrimaryHDU(), *hdus, weights]).writeto(tmp_path / "f.fits", overwrite=True)
        return tmp_path / "f.fits"

    np.testing.assert_array_equal(read_fits(extensions("z", "r", "g")).pixels, planes()[::-1])
    assert read_fits(extensions("red", "green", "blue")).bands == "rgb"
    one = fits_facts(extensions("SCI", "OTHER", "MORE"))
    assert one.one_band and any("2 further images of the file are not read" in remark for remark in one.remarks)
    given = read_fits(extensions("A1", "A2", "A3"), reading=Reading(bands=("z", "r", "g")))
    np.testing.assert_array_equal(given.pixels, planes()[::-1])


@pytest.mark.parametrize("names", ["ERR_{} SCI_{}", "{}_model {}_image", "var-{} {}", "{}.ivar {}.sci"])
def test_errors_and_models_of_each_band_are_no_images(tmp_path: Path, names: str) -> None:
    hdus = [fits.PrimaryHDU()]
    for band, plane in zip("GRZ", planes(), strict=True):
        other, image = (name.format(band) for name in names.split())
        hdus += [fits.ImageHDU(plane * 0.5 + 1, name=other), fits.ImageHDU(plane, name=image)]
    fits.HDUList(hdus).writeto(tmp_path / "f.fits")
    np.testing.assert_array_equal(read_fits(tmp_path / "f.fits").pixels, planes())


def test_images_whose_sky_or_psf_was_taken_care_of_are_images(tmp_path: Path) -> None:
    names = ("G_BKG_SUB", "R_PSF_MATCHED", "Z")
    hdus = [fits.ImageHDU(plane, name=name) for plane, name in zip(planes(), names, strict=True)]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "f.fits")
    given = read_fits(tmp_path / "f.fits", reading=Reading(bands=("g", "r", "z")))
    np.testing.assert_array_equal(given.pixels, planes())


@pytest.mark.parametrize(("names", "image"), [("MASK MODEL", 1), ("RESIDUAL WEIGHT", 0), ("BKG_SUB VAR", 0)])
def test_a_model_is_the_image_where_there_is_no_other(tmp_path: Path, names: str, image: int) -> None:
    hdus = [fits.ImageHDU(plane, name=name) for plane, name in zip(planes(), names.split(), strict=False)]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "f.fits")
    np.testing.assert_array_equal(read_fits(tmp_path / "f.fits").pixels[1], planes()[image])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("g DECam SDSS c0001 4720.0 1520.0", "g"),
        ("HSC-I2", "i"),
        ("r.MP9601", "r"),
        ("MegaPrime i", "i"),
        ("F814W", "f814w"),
        ("ACS/WFC F606W", "f606w"),
        ("SDSS z'", "z"),
        ("i-band", "i"),
        ("Green", "green"),
        ("DECam_zband", "z"),
        ("rSDSS", "r"),
        ("z_PS1", "z"),
        ("gDECam", "g"),
        ("N921", "n921"),
    ],
)
def test_bands_have_one_name(text: str, name: str) -> None:
    assert band_name(text) == name


def test_frames_are_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(StampError, match="holds no fluxes"):
        read_frame(write(tmp_path / "f.fits", camera(), BANDS="RGB"))
    with pytest.raises(StampError, match="--bands"):
        read_frame(write(tmp_path / "f.fits", camera()))


def test_wavelengths_order_filters() -> None:
    names = ["u", "F435W", "g", "V", "r", "F814W", "z", "y", "F160W", "F277W", "F444W"]
    found = [wavelength(band_name(name)) for name in names]
    assert found == sorted(found, key=lambda value: value or 0) and None not in found
    assert wavelength("halpha") is None


@pytest.mark.parametrize(
    ("names", "micrometres"),
    [
        # JWST User Documentation: NIRCam, NIRISS and MIRI filters
        ("F070W F090W F115W F140M F150W F162M F182M F187N", "0.70 0.90 1.15 1.40 1.50 1.62 1.82 1.87"),
        ("F200W F210M F212N F250M F277W F300M F322W2 F323N", "2.00 2.10 2.12 2.50 2.77 3.00 3.22 3.23"),
        ("F335M F356W F360M F380M F405N F430M F444W F460M F466N F470N F480M",
         "3.35 3.56 3.60 3.80 4.05 4.30 4.44 4.60 4.66 4.70 4.80"),
        ("F560W F770W F1000W F1130W F1280W F1500W F1800W F2100W F2550W", "5.6 7.7 10 11.3 12.8 15 18 21 25.5"),
        ("F1065C F2300C", "10.65 23"),
        # WFC3, ACS, WFPC2 and NICMOS Instrument Handbooks
        ("F218W F225W F250W F275W F300W F300X F336W F380W F390M", ".218 .225 .25 .275 .3 .3 .336 .38 .39"),
        ("F435W F467M F475X F555W F606W F702W F775W F814W F953N", ".435 .467 .475 .555 .606 .702 .775 .814 .953"),
        ("F200LP F350LP F600LP F785LP F850LP", ".49 .585 .745 .87 .917"),
        ("F105W F110W F125W F140W F160W F164N F204M F222M F237M", "1.05 1.1 1.25 1.4 1.6 1.64 2.04 2.22 2.37"),
        ("F122M F160BW F170W F185W F165LP F1042M", ".122 .16 .17 .185 .165 1.042"),
    ],
)  # fmt: skip
def test_filters_of_hubble_and_webb_have_their_wavelengths(names: str, micrometres: str) -> None:
    found = [wavelength(band_name(name)) for name in names.split()]
    assert found == pytest.approx([float(one) for one in micrometres.split()], abs=0.006)


def test_a_filter_of_both_telescopes_is_that_of_the_header(tmp_path: Path) -> None:
    path = write(tmp_path / "f.fits", planes(), BANDS="F410M,F606W,F814W", TELESCOP="HST")
    np.testing.assert_array_equal(read_fits(path).pixels, planes())
    path = write(tmp_path / "f.fits", planes(), BANDS="F410M,F277W,F150W", TELESCOP="JWST")
    np.testing.assert_array_equal(read_fits(path).pixels, planes()[::-1])
    assert wavelength("f410m") == 4.1 and wavelength("f410m", "HST") == 0.41


def test_bands_of_webb_do_not_change_places(tmp_path: Path) -> None:
    path = write(tmp_path / "f.fits", planes(), BANDS="F200W,F300M,F770W")
    np.testing.assert_array_equal(read_fits(path).pixels, planes())
    path = write(tmp_path / "f.fits", planes(), BANDS="F1000W,F560W,F770W")
    np.testing.assert_array_equal(read_fits(path).pixels, planes()[[1, 2, 0]])


@pytest.mark.parametrize("text", ["", " , ", "g,g,r", "a,-"])
def test_bands_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(StampError, match="--bands"):
        named_bands(text)


def test_the_filter_of_a_pan_starrs_stack(tmp_path: Path) -> None:
    assert fits_facts(write(tmp_path / "f.fits", planes(1)[0], **{"HIERARCH FPA.FILTERID": "i.00000"})).bands == "i"


@pytest.mark.parametrize("card", ["EXTTYPE", "IMAGETYP", "IMTYPE"])
def test_a_mask_without_a_name_is_known_by_its_type(tmp_path: Path, card: str) -> None:
    mask = fits.ImageHDU((planes(1)[0] > 0.5).astype(np.int32), sky_header())
    mask.header[card] = "MASK"
    image = fits.ImageHDU(planes(1)[0], sky_header())
    fits.HDUList([fits.PrimaryHDU(), mask, image]).writeto(tmp_path / "f.fits")
    np.testing.assert_allclose(read_fits(tmp_path / "f.fits").pixels[1], planes(1)[0], rtol=1e-6)


@pytest.mark.parametrize("bands", ["grz", "irg", ""])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16])
def test_integers_without_a_unit_are_no_nanomaggies(tmp_path: Path, bands: str, dtype: Any) -> None:
    data = camera(dtype=dtype, white=200)
    path = write(tmp_path / "f.fits", data if bands else data[0], sky_header(), **({"BANDS": bands} if bands else {}))
    picture = "--bands r,g,b" if bands else "save a picture as PNG"
    with pytest.raises(StampError, match=rf"-bit integers without a unit.*--zero-point 22\.5.*{picture}"):
        fits_facts(path)
    assert fits_facts(path, Reading(zero_point=22.5)).rendering == "nanomaggies"
    if bands:
        assert fits_facts(path, RGB).rendering == "as-delivered"
