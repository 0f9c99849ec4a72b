"""Which plane of a FITS image is which band, and which of them stand for g, r and z.

A stamp's three planes are those that the pictures show as blue, green and red. They are filled by these rules:

- **g, r and z** where the image has them, whatever else it has.
- **A band of like wavelength** where one is missing: `STAND_INS` says from where to where, the nearest one is taken.
  So i stands for z, F606W for r, B for g.
- **In order of wavelength**, where the bands are of none of these: J, H, K are shown as blue, green and red.
- **Grey continuation** of what there is in one or two bands: the missing band shows as much light as its neighbours.
- **Colours**: planes red, green and blue, of a camera or of a picture, are shown as those. r beside g and b is red.

What the planes are is said by `--bands`, else by the header (`BANDS`, `BAND0` ..., `FILTER1` ..., or by the names of
extensions). Three nameless planes of floats are taken as g, r, z, unless they look like a picture.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.images.fits_file import Cards, is_interleaved, plane_shape
from lvm_training.images.pictures import Shape
from lvm_training.stamps.rendering import Rendering

SLOTS = {"g": 0.477, "r": 0.623, "z": 0.905}  # micrometres
STAND_INS = {"g": (0.40, 0.56), "r": (0.56, 0.72), "z": (0.72, 1.10)}  # micrometres
COLOURS = ("red", "green", "blue")
UNNAMED = "single"  # the band of a plane that nobody names
LETTERS = frozenset("ugrizybvjhk")  # bands of one letter, which a word such as grz may stand for
SKIPPED = frozenset({"a", "alpha", "-", "x", "none"})  # names of planes that are no band
WAVELENGTHS = SLOTS | {
    "u": 0.355, "i": 0.763, "y": 1.0, "b": 0.44, "v": 0.551, "vis": 0.71, "j": 1.25, "h": 1.65, "k": 2.2, "ks": 2.15
}  # fmt: skip
LONG_PASS = {
    "f200lp": 0.49,
    "f350lp": 0.585,
    "f600lp": 0.745,
    "f785lp": 0.87,
    "f850lp": 0.917,
}  # named by their blue end
BOTH = {"f410m": 0.41}  # of Hubble; Webb has one of that name at 4.1, which is far more in use
LISTS = ("BANDS", "FILTERS", "FILTER", "BAND", "CHANNELS", "CTYPE3")
CAMERA = ("BAYERPAT", "COLORTYP", "XPIXSZ", "FOCALLEN")  # cards that colour cameras write, and surveys do not
INDEXED = ("BAND", "FILTER", "FILT", "PLANE", "CHANNEL", "CHAN", "COLOR", "COLOUR", "LAYER")
WHEELS = ("FILTER1", "FILTER2")
ASK = "name them, in the header (BANDS) or by --bands r,g,b for red, green and blue, or --bands g,r,z"
_SURVEYS = (
    r"(?:sdss|sloan|des|decam|hsc|ps1|panstarrs|lsst|cfht|megacam|megaprime|bass|mzls|bok|90prime|kids|vst|omega)"
)
_SLOAN = re.compile(rf"{_SURVEYS}?([ugrizy])(?:2|p|'|\+|prime|band|mag|{_SURVEYS})?")
_FILTER = re.compile(r"f(\d{3,4})(?:w2?|lp|bw|[cmnx])")
# Filters are named by their wavelength in nm, or in units of 10 nm: in the infrared, which begins at 200 for Webb and
# for Hubble's NICMOS, and at 1,000 for Webb's MIRI (handbooks of the instruments)
_INFRARED = re.compile(
    r"f(?:20[045]w|200n|204m|207m|210m|21[256]n|222m|237m|240m|250m|277w|300m|322w2|323n|335m|356w|360m|380m|405n|410m"
    r"|430m|444w|460m|466n|470n|480m|560w|770w)"
)
_IN_NM = re.compile(r"f(?:122m|160bw|170w|185w|1[1-6]\dlp|1042m)")  # though others of such numbers are not
_CELLS = re.compile(r"[\s,;/|+]+")
_SCALES = Rendering().scales


class Plane(NamedTuple):
    """A plane of an image: its HDU, its place in the leading axes, or in the last one, and its band."""

    hdu: Any
    place: tuple[int, ...]
    interleaved: bool
    band: str

    @property
    def shape(self) -> Shape:
        """Height and width."""
        return plane_shape(self.hdu)


class Layout(NamedTuple):
    """The planes of an image, and who names them: "header", "given", "assumed" or "" where nobody does."""

    planes: tuple[Plane, ...]
    named_by: str
    unread: int  # further images of the file
    telescope: str = ""

    @property
    def bands(self) -> tuple[str, ...]:
        """The band of each plane."""
        return tuple(plane.band for plane in self.planes)

    @property
    def is_colour(self) -> bool:
        """Whether the planes are the red, green and blue of a picture."""
        return set(COLOURS) <= set(self.bands)


def band_name(text: str) -> str:
    """The one name of a band that surveys write as "g", "HSC-G", "g DECam SDSS c0001 4720.0 1520.0" or "g.MP9401"."""
    plain = text.strip().lower()
    if plain in COLOURS or plain in WAVELENGTHS or plain in SKIPPED:
        return plain
    words = re.split(r"[\s,.;_:/-]+", plain)
    for word in words:
        if _FILTER.fullmatch(word):
            return word
    for word in words:
        if found := _SLOAN.fullmatch(word):
            return found[1]
    for word in words:
        if word in WAVELENGTHS or word in COLOURS:
            return word
    return plain[:16]


def wavelength(band: str, telescope: str = "") -> float | None:
    """Central wavelength in micrometres; None of a band that is not known.

    Parameters
    ----------
    telescope : str
        As a header says it: two telescopes have a filter of one name.
    """
    if band in WAVELENGTHS:
        return WAVELENGTHS[band]
    found = _FILTER.fullmatch(band)
    if not found:
        return None
    if band in BOTH and "HST" in telescope.upper():
        return BOTH[band]
    number = int(found[1])
    infrared = not 200 <= number < 1000 and not _IN_NM.fullmatch(band)
    return LONG_PASS.get(band) or number / (100 if infrared or _INFRARED.fullmatch(band) else 1000)


def named_bands(text: str) -> tuple[str, ...]:
    """The bands that an option such as "r,g,b", "g r z" or "grz" names.

    Raises
    ------
    StampError
        If it names none, or one twice.
    """
    cells = [cell for cell in _CELLS.split(text.strip()) if cell]
    if len(cells) == 1 and len(cells[0]) > 1 and set(cells[0].lower()) <= LETTERS | {"a"}:
        cells = list(cells[0])
    names = _coloured([band_name(cell) for cell in cells])
    kept = [name for name in names if name not in SKIPPED]
    if not kept or len(set(kept)) < len(kept):
        raise StampError(
            f"{text!r} names no bands.", "Give one for each plane, as in --bands r,g,b or --bands u,g,r,i,z."
        )
    return tuple(names)


def _coloured(names: Sequence[str]) -> list[str]:
    """Names in which r beside g and b is a colour: no set of filters has those three."""
    if {"r", "g", "b"} <= set(names):
        colours = {colour[0]: colour for colour in COLOURS}
        return [colours.get(name, name) for name in names]
    return list(names)


def find_layout(images: Sequence[Any], cards: Cards, given: tuple[str, ...] = ()) -> Layout:
    """The planes of the first of some images, or of all of them where each is a band of its own.

    Raises
    ------
    StampError
        If its shape is not that of planes, or nothing says what they are.
    """
    return _layout(images, cards, given)._replace(telescope=cards.text("TELESCOP"))


def _layout(images: Sequence[Any], cards: Cards, given: tuple[str, ...]) -> Layout:
    first = images[0]
    if [n for n in first.shape[:-2] if n > 1]:
        return _cube(images, cards, given)
    alike = [hdu for hdu in images if hdu.shape == first.shape]
    if len(given) == len(alike) > 1:
        return _planes([_whole(hdu) for hdu in alike], given, "given", len(images) - len(alike))
    names = _coloured([_extension_band(hdu) for hdu in alike])
    named = {name: hdu for name, hdu in zip(reversed(names), reversed(alike), strict=True) if _is_band(name)}
    if len(named) > 1:
        places = [_whole(hdu) for hdu in reversed(named.values())]
        return _planes(places, list(reversed(named)), "header", len(images) - len(named))
    if given and len(given) != 1:
        raise StampError(f"--bands names {len(given)} bands, and the image has one plane")
    band = given[0] if given else _extension_band(first) or _single_band(cards)
    return _planes([_whole(first)], [band], "given" if given else "header", len(images) - 1)


def _single_band(cards: Cards) -> str:
    """The band of a file of one plane; of two filter wheels, as Hubble's ACS has them, one is mostly clear."""
    wheels = (band_name(cards.text(key)) for key in WHEELS)
    return band_name(cards.text("BAND", "FILTER", "FPA.FILTERID")) or next(filter(_is_band, wheels), UNNAMED)


def _whole(hdu: Any) -> tuple[Any, tuple[int, ...], bool]:
    """The one plane of an image, whose further axes are of length 1."""
    return hdu, (0,) * (len(hdu.shape) - 2), False


def _planes(places: Sequence[tuple[Any, tuple[int, ...], bool]], names: Sequence[str], by: str, unread: int) -> Layout:
    return Layout(tuple(Plane(*place, name) for place, name in zip(places, names, strict=True)), by, unread)


def _cube(images: Sequence[Any], cards: Cards, given: tuple[str, ...]) -> Layout:
    hdu = images[0]
    outer = [n for n in hdu.shape[:-2] if n > 1]
    if len(outer) > 1:
        raise StampError(f"wrong-shaped: {hdu.shape} is not (3, H, W)")
    interleaved = is_interleaved(hdu)
    count = hdu.shape[-1] if interleaved else outer[0]
    if count > len(WAVELENGTHS) and not given:
        raise StampError(f"wrong-shaped: {hdu.shape} is not (3, H, W), and has more planes than there are bands")
    names, by = _plane_names(hdu, count, cards, given)
    axis = next((place for place, n in enumerate(hdu.shape[:-2]) if n > 1), 0)
    leading = len(hdu.shape) - 2
    places = [
        (hdu, (plane,) if interleaved else tuple(plane if i == axis else 0 for i in range(leading)), interleaved)
        for plane in range(count)
    ]
    return _planes(places, names, by, len(images) - 1)


def _plane_names(hdu: Any, count: int, cards: Cards, given: tuple[str, ...]) -> tuple[Sequence[str], str]:
    if given:
        if len(given) != count:
            raise StampError(f"--bands names {len(given)} bands, and the image has {count} planes")
        return given, "given"
    if names := _header_names(cards, count):
        return _coloured(names), "header"
    if count not in (3, 4):
        raise StampError(
            f"wrong-shaped: {hdu.shape} is not (3, H, W), and BANDS does not name the planes; "
            "name them: --bands u,g,r,i,z"
        )
    if _is_integer(hdu) or count == 4 or cards.text(*CAMERA):
        depth = f"{hdu.header['BITPIX']}-bit integers" if _is_integer(hdu) else "floats"
        raise StampError(f"{count} planes of {depth} whose bands nobody says, as of a colour camera; {ASK}")
    return "grz", "assumed"


def refuse_counts(layout: Layout, unit: str) -> None:
    """Refuse integers of which nothing says the unit: they are counts or a picture, and no nanomaggies.

    Parameters
    ----------
    unit : str
        What says it; "" where nothing does.

    Raises
    ------
    StampError
        If they are.
    """
    if not unit and not layout.is_colour and any(_is_integer(plane.hdu) for plane in layout.planes):
        depth = abs(layout.planes[0].hdu.header["BITPIX"])
        picture = "name the planes of a picture: --bands r,g,b" if len(layout.planes) > 1 else "save a picture as PNG"
        raise StampError(
            f"{depth}-bit integers without a unit (BUNIT) or zero point are counts or a picture; give the AB magnitude "
            f"of one count: --zero-point 22.5; or {picture}"
        )


def _is_integer(hdu: Any) -> bool:
    return bool(hdu.header["BITPIX"] > 0 and float(hdu.header.get("BSCALE", 1)).is_integer())


def _header_names(cards: Cards, count: int) -> list[str]:
    for key in LISTS:
        text = cards.text(key)
        cells = [cell for cell in _CELLS.split(text) if cell]
        if len(cells) == 1 and len(text) == count and set(text.lower()) <= LETTERS:
            cells = list(text)
        if len(cells) == count:
            return [band_name(cell) for cell in cells]
    for key in INDEXED:
        for start in (0, 1):
            names = [cards.text(f"{key}{i}") for i in range(start, start + count)]
            if all(names):
                return [band_name(name) for name in names]
    return []


def _extension_band(hdu: Any) -> str:
    name = str(hdu.header.get("BAND") or hdu.header.get("FILTER") or ("" if hdu.name == "PRIMARY" else hdu.name))
    band = band_name(name)
    return band if _is_band(band) or hdu.header.get("BAND") or hdu.header.get("FILTER") else ""


def _is_band(name: str) -> bool:
    return name in COLOURS or wavelength(name) is not None


def shown(layout: Layout) -> tuple[NDArray[np.float64], str, tuple[str, ...]]:
    """How planes become the three of a stamp.

    Returns
    -------
    weights : ndarray (3, N)
        What each of the N planes adds to g, r and z.
    bands : str
        What a stamp's column `bands` says: "grz", the bands that stand for them, or the one or two there are.
    remarks : tuple of str
        What was assumed.

    Raises
    ------
    StampError
        If they cannot stand for g, r and z.
    """
    names = list(layout.bands)
    weights = np.zeros((3, len(names)))
    if layout.is_colour:
        for slot, colour in enumerate(reversed(COLOURS)):
            weights[slot, names.index(colour)] = 1
        return weights, "rgb", ("red, green and blue are shown as those",)
    known = [name for name in names if name not in SKIPPED]
    if len(known) == 1:
        weights[:, names.index(known[0])] = grey(1)
        return weights, known[0], ()
    lengths = {name: wavelength(name, layout.telescope) for name in known}
    chosen = _chosen(lengths)
    if len(chosen) < min(len(known), 3) and not set(SLOTS) & set(known):
        chosen = _in_order(lengths)
    lacking = [slot for slot in SLOTS if slot not in chosen]
    if (len(known) > 2 and lacking) or not chosen:
        raise StampError(f"wrong bands: {_joined(known)} where g, r and z are needed, or bands of like wavelength")
    for place in range(len(SLOTS)):
        for filled, scale in _fillings(place, chosen):
            weights[place, names.index(chosen[filled])] += scale
    stands = [f"{band} stands for {slot}" for slot, band in chosen.items() if band != slot]
    stands += [f"{slot} is missing and continued in grey" for slot in lacking]
    used = list(dict.fromkeys(chosen.values()))
    return weights, _joined(used), tuple(stands)


def _joined(bands: Sequence[str]) -> str:
    return ("" if all(len(band) == 1 for band in bands) else "+").join(bands)


def _chosen(lengths: Mapping[str, float | None]) -> dict[str, str]:
    """The band that stands for each of g, r and z, of bands and their wavelengths."""
    chosen = {slot: slot for slot in SLOTS if slot in lengths}
    for slot, (low, high) in STAND_INS.items():
        others = {name: found for name, found in lengths.items() if name not in chosen.values()}
        fitting = {name: found for name, found in others.items() if found is not None and low <= found < high}
        if slot not in chosen and fitting:
            chosen[slot] = min(fitting, key=lambda name: abs(fitting[name] - SLOTS[slot]))
    return {slot: chosen[slot] for slot in SLOTS if slot in chosen}


def _in_order(lengths: Mapping[str, float | None]) -> dict[str, str]:
    """The bluest, the middle and the reddest band; the first and the last slot of two."""
    if None in lengths.values():
        return {}
    ordered = sorted(lengths, key=lambda name: lengths[name] or 0)
    middle = ordered[len(ordered) // 2] if len(ordered) > 2 else None
    picked = {"g": ordered[0], "r": middle, "z": ordered[-1]}
    return {slot: band for slot, band in picked.items() if band is not None}


def _fillings(place: int, chosen: dict[str, str]) -> list[tuple[str, float]]:
    """Which slots fill the slot at `place`, and by what they are multiplied to show as much light there."""
    slots = list(SLOTS)
    if slots[place] in chosen:
        return [(slots[place], 1.0)]
    below = [slot for slot in slots[:place] if slot in chosen][-1:]
    above = [slot for slot in slots[place + 1 :] if slot in chosen][:1]
    near = below + above
    return [(slot, float(grey(slots.index(slot))[place]) / len(near)) for slot in near]


def grey(place: int) -> NDArray[np.float32]:
    """What g, r and z are to be multiplied by to show as much light as one of them, as float32."""
    return np.array([_SCALES[place] / scale for scale in _SCALES], np.float32)
