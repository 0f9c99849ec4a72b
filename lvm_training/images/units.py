"""The unit of a FITS image's pixels: by what they are multiplied to be nanomaggies.

One nanomaggy is AB magnitude 22.5, or 3.631 microjansky. What a header says is looked for in this order:

1. BUNIT, where it is a unit of flux. Units per solid angle take the pixel's area from PIXAR_SR, or from the WCS.
2. FLUXMAG0 (HSC, LSST): the counts of a source of magnitude 0.
3. A zero point (`ZERO_POINTS`): the AB magnitude of one count. One that is per second, by its comment, needs EXPTIME
   where the counts are not per second. Where neither says it and there is an exposure, the zero point that the user
   gives goes before it.
4. PHOTFNU, or PHOTFLAM with PHOTPLAM (HST): the flux of one count per second.
5. The zero point that the user gives.
"""

import re
from dataclasses import dataclass

import astropy.units as u
import numpy as np

from lvm_training.errors import StampError
from lvm_training.images.fits_file import Cards

MAGGY = u.zero_point_flux(3631 * u.Jy)  # one maggy, AB magnitude 0
NANOMAGGY = 22.5  # its AB magnitude
NANOMAGGIES = frozenset({"nanomaggy", "nanomaggies", "nmgy", "nmgys"})
ZERO_POINTS = [
    "MAGZERO",
    "MAGZPT",
    "MAGZP",
    "MAG_ZP",
    "MAG0",
    "PHOTZP",
    "PHOT_ZP",
    "ZEROPT",
    "ZEROPNT",
    "ZEROPOIN",
    "ZP",
    "ZPT",
    "ABMAGZP",
    "ABZP",
    "ZP_AB",
    "MAGZEROP",
    "MAGZPAB",
]
PER_SECOND_POINTS = ("FPA.ZP", "HIERARCH FPA.ZP")  # of a PS1 stack
EXPOSURE = ("EXPTIME", "EXPOSURE", "TEXPTIME", "EXP_TIME")
SENSIBLE = (5.0, 45.0)  # AB magnitudes of one count
ASSUMED = (
    "{key} is taken as the magnitude of one count of the pixels, not of one a second: EXPTIME says nothing of it; "
    "--zero-point goes before it"
)
OF_ZERO = "{key} 0 is not taken for a zero point; if the pixels are maggies, as of KiDS, --zero-point 0 says so"
OF_WISE = "--zero-point 25.2 of W1, 25.84 of W2"  # Vega magnitude 22.5
_COUNTS = re.compile(r"\b(electrons?|e-?|adus?|dn|counts?|ct|cps|photons?|du)\b")
_SECOND = re.compile(
    r"(/|\bper\b)\s*\(?s(ec(onds?)?)?\b|\bs(ec)?\s*(\^|\*\*)?\s*\(?-1|\bcps\b|\b1\s*s(ec(onds?)?)?\b", re.IGNORECASE
)
_SYSTEM = re.compile(r"vega|\bab(?:_?mag|_?nu)?\b", re.IGNORECASE)
_LOGARITHMIC = re.compile(r"\b(ab|st)?_?mags?\b|\bmagnitudes?\b|\bdex\b|\blog", re.IGNORECASE)
# of which no header says it; there is an observatory called Wise, too, whose telescopes have metres, bands microns
_OBSERVATORY = r"\s*(?:observatory|[0-9.]+[\s-]*(?:m|in|inch)\b)"
_WISE = re.compile(rf"WISE(?!{_OBSERVATORY})", re.IGNORECASE)
VEGA_SURVEYS = re.compile(rf"2MASS|{_WISE.pattern}|WFCAM|VIRCAM", re.IGNORECASE)
MADE_BY = ("ORIGIN", "SURVEY", "TELESCOP", "INSTRUME")
_SYSTEMS = ("MAGSYS", "ZPSYS", "PHOTSYS", "MAG_SYS", "ZP_SYS")
_VEGA = re.compile(r"\W*\bvega\b\W*", re.IGNORECASE)
_KIDS = re.compile(r"\bKIDS|OMEGACAM|\bVST\b", re.IGNORECASE)
_REMARK = re.compile(r"\s*[(\[][^)\]]*\b(?:AB|zero[ -]?points?|zp)\b[^)\]]*[)\]]", re.IGNORECASE)  # (AB mag=22.5)
_MAGGIES = re.compile(r"\b(nano|micro|milli)?magg(?:ies|y)\b", re.IGNORECASE)
_JANSKYS = re.compile(r"\b(nano|milli|mega|[unm]?)jansk(?:ys?|ies)\b", re.IGNORECASE)
_PREFIXES = {"nano": "n", "milli": "m", "mega": "M"}
_PER_PIXEL = re.compile(r"\s*(/|\bper\b)\s*pix(el)?s?\b|\s*pix(el)?\s*(\^|\*\*)?\s*\(?-1\)?", re.IGNORECASE)


@dataclass(frozen=True)
class Unit:
    """What one unit of the pixels is.

    Attributes
    ----------
    factor : float
        Nanomaggies per pixel.
    by : str
        What says so, for people; "" where nothing does, and the pixels are taken as they are.
    per_area : bool
        Whether the pixels are of surface brightness, so that `factor` holds the area of one.
    remark : str
        What was assumed.
    """

    factor: float
    by: str
    per_area: bool = False
    remark: str = ""


def find_unit(cards: Cards, area: float | None, zero_point: float | None = None) -> Unit:
    """The unit that a header says.

    Parameters
    ----------
    cards : Cards
        The header.
    area : float or None
        Of a pixel by its WCS, steradian.
    zero_point : float, optional
        AB magnitude of one count, for headers that do not say.

    Raises
    ------
    StampError
        If the header says a unit that cannot be converted.
    """
    said = cards.text("BUNIT")
    if _are_vega_nanomaggies(cards, said):
        if zero_point is None:
            raise StampError(f"its pixels are Vega nanomaggies; give the AB magnitude of one: {OF_WISE}")
        return _given(zero_point)
    name = _REMARK.sub("", said) or said
    counts = bool(_COUNTS.search(name.lower()))
    if name and not counts and not _LOGARITHMIC.search(name):
        flux = _flux(name, cards, area)
        if flux is not None:
            return Unit(flux[0], f"BUNIT {name}", flux[1])
    # surface brightness (AB mag/arcsec2), and counts (AB mag of one: 25)
    if _LOGARITHMIC.search(name if counts else said):
        raise StampError(f"BUNIT {said!r} is magnitudes or a logarithm; write fluxes in place of them")
    found = _of_counts(cards, per_second=bool(_SECOND.search(name)), named=bool(name), given=zero_point is not None)
    if found is not None and not (found.remark and zero_point is not None):
        return found
    return _given(zero_point) if zero_point is not None else _unsaid(cards, name, counts=counts)


def _given(zero_point: float) -> Unit:
    return Unit(_of_zero_point(zero_point), f"the zero point {zero_point:g} that was given")


def _unsaid(cards: Cards, name: str, *, counts: bool) -> Unit:
    """What pixels are that say neither a flux nor a zero point that is believed."""
    point = cards.number(*ZERO_POINTS)
    zero = point[0] if point is not None and point[1] == 0 else ""
    if zero == "PHOTZP" and _made_by(cards, _KIDS, "OBJECT"):
        return Unit(1e9, f"{zero} 0: maggies, as of KiDS")
    if name:
        known = f": {zero} is 0, which only maggies have (--zero-point 0)" if zero else ": no zero point is known"
        raise StampError(
            f"BUNIT {name!r} cannot be converted to nanomaggies{known if counts else ''}; "
            "give the AB magnitude of one count: --zero-point 22.5"
        )
    if cards.text("SURVEY") and cards.text("BANDS"):
        return Unit(1.0, "the Legacy Surveys viewer's nanomaggies")
    return Unit(1.0, "", remark=OF_ZERO.format(key=zero) if zero else "")


def _are_vega_nanomaggies(cards: Cards, said: str) -> bool:
    """Whether pixels are nanomaggies as unWISE has them, of Vega magnitude 22.5."""
    of_viewer = not said and bool(cards.text("SURVEY") and cards.text("BANDS"))
    if not of_viewer and _plain_flux(_VEGA.sub("", said)).lower() not in NANOMAGGIES:
        return False
    if _VEGA.search(said):
        return True
    key, _, comment = cards.number(*ZERO_POINTS) or ("", 0.0, "")
    return _is_vega(cards, key, comment, _WISE)


def _of_zero_point(magnitude: float) -> float:
    """Nanomaggies of a count."""
    return float(10 ** ((NANOMAGGY - magnitude) / 2.5))


def _flux(name: str, cards: Cards, area: float | None) -> tuple[float, bool] | None:
    """Nanomaggies per pixel of a unit of flux, and whether it is one per solid angle; None where it is none."""
    plain = _plain_flux(name)
    if plain.lower() in NANOMAGGIES:
        return 1.0, False
    said = cards.number("PIXAR_SR")
    square = cards.number("PIXAR_A2")
    if said is not None and said[1] > 0:
        area = said[1]
    elif square is not None and square[1] > 0:
        area = float((square[1] * u.arcsec**2).to_value(u.sr))
    pivot = cards.number("PHOTPLAM")
    known = u.spectral_density(pivot[1] * u.AA) if pivot else []
    for per_area, pixel in enumerate((u.dimensionless_unscaled, *(() if area is None else (area * u.sr,)))):
        for text in (plain.replace("maggy", "mgy"), _spelt(plain)):
            try:
                flux = 1.0 * u.Unit(text) * pixel
                flux = flux if flux.unit.is_equivalent(u.Unit("mgy")) else flux.to(u.Jy, equivalencies=known)
                return float(flux.to_value(u.Unit("nmgy"), equivalencies=MAGGY)), bool(per_area)
            except (ValueError, TypeError):  # no unit, or one of something else
                continue
    if area is None and _flux(name, cards, 1.0) is not None:
        raise StampError(f"BUNIT {name!r} is per solid angle, and the pixel's is unknown; give --pixel-scale")
    return None


def _plain_flux(name: str) -> str:
    """A unit of flux per pixel as it is looked up: `NanoMaggies / pixel` is `nanomaggy`."""
    plain = _MAGGIES.sub(lambda found: f"{found[1] or ''}maggy".lower(), _PER_PIXEL.sub("", name.strip()))
    return plain.replace("micro", "u")


def _spelt(name: str) -> str:
    """Janskys in capitals or in words as astropy spells them; MJY alone may be milli or mega."""
    spelt = _JANSKYS.sub(lambda found: f"{_PREFIXES.get(found[1].lower(), found[1])}Jy", name)
    spelt = re.sub(r"\b([un]?)JY\b", lambda found: f"{found[1].lower()}Jy", spelt, flags=re.IGNORECASE)
    return re.sub(r"/\s*SR\b", "/sr", re.sub(r"\bMJY(?=\s*/\s*SR\b)", "MJy", spelt))


def _of_counts(cards: Cards, *, per_second: bool, named: bool, given: bool) -> Unit | None:
    """The unit of counts by FLUXMAG0, a zero point, or the flux of one count per second.

    A zero point in Vega magnitudes is refused, unless another one is `given`.
    """
    zero_flux = cards.number("FLUXMAG0")
    if zero_flux is not None and zero_flux[1] > 0:
        return Unit(1e9 / zero_flux[1], f"FLUXMAG0 {zero_flux[1]:.4g}")
    point = cards.number(*ZERO_POINTS, *PER_SECOND_POINTS)
    if point is not None and SENSIBLE[0] < point[1] < SENSIBLE[1]:
        key, magnitude, comment = point
        if _is_vega(cards, key, comment):
            if given:
                return None
            of_nanomaggies = magnitude == NANOMAGGY and _made_by(cards, _WISE)
            example = OF_WISE if of_nanomaggies else "--zero-point 25"
            raise StampError(f"{key} is a Vega magnitude; give the AB magnitude of one count: {example}")
        rate = key in PER_SECOND_POINTS or bool(_SECOND.search(comment))
        seconds, said = _seconds(cards, key) if rate and not per_second else (1.0, "")
        remark = "" if rate or per_second or not _exposed(cards) else ASSUMED.format(key=key)
        return Unit(_of_zero_point(magnitude) / seconds, f"{key} {magnitude:g}{said}", remark=remark)
    flux = _flux_of_a_count(cards)
    if flux is None:
        return None
    # drizzled images, which say nothing else, are counts per second
    seconds, said = (1.0, "") if per_second or not named else _seconds(cards, flux[0])
    return Unit(flux[1] / seconds, f"{flux[0]} {flux[2]:.4g}{said}")


def _is_vega(cards: Cards, key: str, comment: str, surveys: re.Pattern[str] = VEGA_SURVEYS) -> bool:
    """Whether a zero point is Vega's: a card goes before its keyword, that before its comment, and there the first.

    Where none says it, the survey does. Nanomaggies are Vega's of WISE alone: who makes them of others means AB.
    """
    said = _SYSTEM.search(f"{cards.text(*_SYSTEMS)} {'AB' if 'AB' in key else ''} {comment}")
    if said is None:
        return _made_by(cards, surveys)
    return said[0].lower() == "vega"


def _made_by(cards: Cards, surveys: re.Pattern[str], *more: str) -> bool:
    """Whether one of some surveys made an image, by `MADE_BY` and more cards."""
    return any(surveys.search(cards.text(maker)) for maker in (*MADE_BY, *more))


def _exposed(cards: Cards) -> bool:
    """Whether counts in all and counts per second are two things, by the exposure that the header says."""
    exposure = cards.number(*EXPOSURE)
    return exposure is not None and exposure[1] > 0 and exposure[1] != 1


def _seconds(cards: Cards, key: str) -> tuple[float, str]:
    exposure = cards.number(*EXPOSURE)
    if exposure is None or exposure[1] <= 0:
        raise StampError(
            f"{key} is per second, and EXPTIME is missing; give the AB magnitude of one count: --zero-point 25"
        )
    return exposure[1], f" per second of {exposure[0]} {exposure[1]:g}"


def _flux_of_a_count(cards: Cards) -> tuple[str, float, float] | None:
    """Keyword, nanomaggies and value of the flux of one count per second."""
    density = cards.number("PHOTFNU")
    if density is not None and density[1] > 0:
        return "PHOTFNU", float((density[1] * u.Jy).to_value(u.Unit("nmgy"), equivalencies=MAGGY)), density[1]
    flam, pivot = cards.number("PHOTFLAM"), cards.number("PHOTPLAM")
    if flam is None or pivot is None or flam[1] <= 0 or pivot[1] <= 0:
        return None
    unit = u.erg / u.s / u.cm**2 / u.AA
    flux = (flam[1] * unit).to(u.Jy, equivalencies=u.spectral_density(pivot[1] * u.AA))
    return "PHOTFLAM", float(flux.to_value(u.Unit("nmgy"), equivalencies=MAGGY)), flam[1]


def steradian(scale: float) -> float:
    """Area of a square pixel of `scale` degrees."""
    return float(np.radians(scale) ** 2)
