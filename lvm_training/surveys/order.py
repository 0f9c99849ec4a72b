"""What is asked of a survey's service: layer, bands, size, scale and pace, within the survey's limits."""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import numpy as np

from lvm_training.errors import SurveyError
from lvm_training.stamps.stampset import Origin, RenderingKind
from lvm_training.surveys.description import Survey

SAME_SCALE = 1e-4  # relative
HEADER = 1 << 18  # bytes of FITS headers and further small units that an answer may have
WIDEST_PIXEL = 8  # bytes: float64
PLANES = 3


@dataclass(frozen=True)
class Order:
    """Stamps of one kind from one survey.

    Attributes
    ----------
    survey : Survey
        Where they come from.
    layer : str
        "" where the survey has none.
    bands : tuple of str
        Which bands stand as g, r, z.
    size : int
        Side in pixels.
    scale : float
        arcsec per pixel.
    rate : float
        Requests a second.
    """

    survey: Survey
    layer: str
    bands: tuple[str, ...]
    size: int
    scale: float
    rate: float

    @classmethod
    def of(
        cls,
        survey: Survey,
        *,
        layer: str | None = None,
        bands: str | None = None,
        size: int | None = None,
        scale: float | None = None,
        rate: float | None = None,
    ) -> Self:
        """An order with the survey's own values where none is given.

        Parameters
        ----------
        bands : str, optional
            Three names with commas between them, or three letters.

        Raises
        ------
        SurveyError
            If the survey has no such layer or band, or its limits do not allow it.
        """
        if survey.example:
            raise SurveyError(
                f"{survey.name} is an example: it has no address to ask.",
                "Copy its file, write your access point's address into `url`, and name the copy with --survey.",
            )
        made = cls(
            survey,
            _one_of(survey, "layer", layer or next(iter(survey.service.layers), ""), survey.service.layers or ("",)),
            _three(survey, bands),
            size or survey.pixels.size,
            scale or survey.pixels.scale,
            rate or survey.limits.rate,
        )
        made._check()
        return made

    def _check(self) -> None:
        limits, pixels = self.survey.limits, self.survey.pixels
        if not 8 <= self.size <= limits.size:
            raise SurveyError(f"{self.survey.name} makes stamps of 8 to {limits.size} pixels, not {self.size}.")
        if not 0 < self.rate <= limits.most_rate:
            raise SurveyError(
                f"{self.survey.name} may be asked {limits.most_rate:g} times a second at most, not {self.rate:g}.",
                "Its description says so (most_rate), for the sake of everybody else who uses it.",
            )
        if not 0 < self.scale < 3600:
            raise SurveyError(f"{self.scale} arcsec is no pixel scale.", "Give arcsec per pixel, such as 0.262.")
        if not self.own_scale and not pixels.interpolated:
            raise SurveyError(
                f"{self.survey.name} has pixels of {pixels.scale:g} arcsec, and its service makes no others.",
                "Leave --scale out.",
            )

    @property
    def shown_bands(self) -> str:
        """What a stamp's column `bands` says, as an import writes it."""
        return ("" if all(len(band) == 1 for band in self.bands) else "+").join(self.bands)

    @property
    def own_scale(self) -> bool:
        """Whether the pixels are the survey's own."""
        return abs(self.scale / self.survey.pixels.scale - 1) <= SAME_SCALE

    @property
    def rendering(self) -> RenderingKind:
        """How a stamp set of such stamps is shown."""
        return "nanomaggies" if self.survey.service.answers == "fits" else "as-delivered"

    @property
    def origin(self) -> Origin:
        """Where row 0 is."""
        return "lower" if self.survey.service.answers == "fits" else "upper"

    @property
    def zero_point(self) -> float | None:
        """AB magnitude of one unit of the survey's own pixels, for files that do not say it."""
        return self.survey.pixels.zero_point

    @property
    def area(self) -> float:
        """What values are to be multiplied by, so that a galaxy keeps its light at another scale than the survey's own.

        An interpolated image keeps the values of the survey's own pixels. Where the description leaves the unit to the
        files, it may be one of surface brightness, and nothing is assumed.
        """
        kept = self.own_scale or self.zero_point is None
        return 1.0 if kept else (self.scale / self.survey.pixels.scale) ** 2

    @property
    def requests(self) -> int:
        """Requests for one stamp."""
        return len(self.bands) if self.survey.service.by_band else 1

    @property
    def largest_side(self) -> int:
        """Pixels that an answer's side may have."""
        return self.size + 4 * self.survey.pixels.margin

    @property
    def largest_answer(self) -> int:
        """Bytes that one answer may have."""
        planes = 1 if self.survey.service.by_band else PLANES
        return planes * self.largest_side**2 * WIDEST_PIXEL + HEADER

    @property
    def stamp_bytes(self) -> int:
        """Bytes of a stamp in a set."""
        return PLANES * self.size**2 * (4 if self.rendering == "nanomaggies" else 1)

    def addresses(self, ra: float, dec: float) -> list[tuple[str, tuple[str, ...]]]:
        """The addresses of a position's cutout (degrees), each with the bands it is asked for."""
        side = self.size + 2 * self.survey.pixels.margin
        arcsec = side * self.scale
        values: dict[str, Any] = {
            "ra": f"{ra % 360:.7f}",
            "dec": f"{dec:.7f}",
            "size": side,
            "width": side,
            "scale": f"{self.scale:g}",
            "arcsec": f"{arcsec:.4f}",
            "half_arcsec": f"{arcsec / 2:.4f}",
            "degrees": f"{arcsec / 3600:.8f}",
            "half_degrees": f"{arcsec / 7200:.8f}",
            "layer": quote(self.layer),
        }
        joined = "" if all(len(band) == 1 for band in self.bands) else ","
        groups = [(band,) for band in self.bands] if self.survey.service.by_band else [self.bands]
        return [
            (self.survey.service.url.format(**values, band=quote(group[0]), bands=quote(joined.join(group))), group)
            for group in groups
        ]

    def fingerprint(self, catalogue: str) -> str:
        """What an unfinished set must have been made of to be gone on with: the same catalogue and the same stamps."""
        service, own = self.survey.service.url, self.survey.pixels.scale  # which says what a pixel of this scale holds
        asked = (catalogue, service, self.layer, self.bands, self.size, f"{self.scale:g}", self.zero_point, own)
        state = hashlib.sha256("|".join(map(str, asked)).encode())
        return f"{self.survey.name} {state.hexdigest()[:12]}"

    def about(self) -> dict[str, Any]:
        """What a set keeps of where its stamps come from."""
        survey = self.survey
        return {
            "survey": survey.name,
            "title": survey.title,
            "citation": survey.citation,
            "service": survey.service.url,
            "layer": self.layer,
            "bands": dict(zip("grz", self.bands, strict=True)),
            "size": self.size,
            "scale": self.scale,
            "interpolated": not self.own_scale,
            "zero_point": self.zero_point,
            "multiplied_by_area": float(np.round(self.area, 9)),
        }

    def notes(self) -> list[str]:
        """What a reader of the set should know."""
        found = []
        if self.bands != ("g", "r", "z"):
            found.append(f"{', '.join(self.bands)} stand as g, r, z")
        if not self.own_scale:
            found.append(
                f"pixels of {self.scale:g} arcsec are interpolated by the service; the survey's own have "
                f"{self.survey.pixels.scale:g}"
            )
        if self.rendering == "as-delivered":
            found.append("pictures do not say where they were taken: position and scale are not verified")
        return found

    def refuse_small_disk(self, folder: Path, count: int) -> None:
        """Refuse more stamps than the disk has room for, while the set is written from its journal.

        Raises
        ------
        SurveyError
            If there is too little room.
        """
        present = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
        needed, free = 2 * count * self.stamp_bytes, shutil.disk_usage(present).free
        if needed > free:
            raise SurveyError(
                f"{count} stamps need {needed / 1e9:.1f} GB while they are written, and {present} has "
                f"{free / 1e9:.1f} GB free.",
                "Choose another place for --out, smaller stamps, or fetch the catalogue in parts.",
            )


def _one_of(survey: Survey, what: str, name: str, known: Sequence[str]) -> str:
    if name not in known:
        raise SurveyError(
            f"{survey.name} has no {what} {name!r}.", f"Its description names {', '.join(known) or 'none'}."
        )
    return name


def _three(survey: Survey, text: str | None) -> tuple[str, ...]:
    if text is None:
        return survey.bands.planes
    names = tuple(part.strip() for part in text.split(",")) if "," in text else tuple(text.strip())
    for name in names:
        _one_of(survey, "band", name, survey.bands.known)
    if len(set(names)) != PLANES:
        raise SurveyError(
            f"A stamp has three bands, and {text!r} names {len(set(names))}.",
            "Name those that stand as g, r, z, such as grz or HSC-G,HSC-R,HSC-Z.",
        )
    return names
