"""What is known of a survey's cutout service: a TOML file, ours for some surveys or a person's own."""

import ipaddress
import string
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lvm_training.errors import SurveyError, problems

PLACES = frozenset(
    "ra dec size width scale arcsec half_arcsec degrees half_degrees layer bands band".split()  # noqa: SIM905
)
"""What an address may hold in braces: degrees; pixels; arcsec per pixel; the width and half of it; names."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Degrees = Annotated[float, Field(ge=-90, le=90)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServiceAddress(_Part):
    """Where cutouts are asked for.

    Attributes
    ----------
    url : str
        An address with `PLACES` in braces; with `{band}` each band is asked for by itself.
    answers : str
        "fits", or "picture" for JPEG and PNG.
    layers : tuple of str
        What `{layer}` may be, the default first.
    account : str
        "netrc" where user name and password are needed: they are looked up in ~/.netrc.
    """

    url: str
    answers: Literal["fits", "picture"] = "fits"
    layers: tuple[str, ...] = ()
    account: Literal["", "netrc"] = ""

    @field_validator("url")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        parsed = [(place, form or conversion) for _, place, form, conversion in string.Formatter().parse(url)]
        places = {place for place, _ in parsed if place is not None}
        if strange := sorted(places - PLACES):
            raise ValueError(f"{{{strange[0]}}} is none of {', '.join(sorted(PLACES))}")
        if formats := sorted(str(place) for place, form in parsed if form):
            raise ValueError(f"{{{formats[0]}}} stands alone in its braces")
        if missing := sorted({"ra", "dec"} - places):
            raise ValueError(f"{{{missing[0]}}} is missing")
        parts = urlsplit(url)
        if parts.username or parts.password:
            raise ValueError("it holds a user name or password; set account = 'netrc' and write them into ~/.netrc")
        if not parts.hostname or "{" in parts.netloc:
            raise ValueError("it names no host")
        if parts.scheme != "https" and not (parts.scheme == "http" and is_here(parts.hostname)):
            raise ValueError("it must begin with https://; http:// is for this machine alone")
        return url

    @property
    def by_band(self) -> bool:
        """Whether each band is a request of its own."""
        return "{band}" in self.url

    @property
    def host(self) -> str:
        """The service's host."""
        return urlsplit(self.url).hostname or ""


class Pixels(_Part):
    """A survey's pixels.

    Attributes
    ----------
    scale : float
        arcsec, of the survey's own pixels.
    size : int
        Side of a stamp unless another is asked for; pixels.
    zero_point : float or None
        AB magnitude of one unit; None where the files say their unit.
    interpolated : bool
        Whether the service makes pixels of any scale, by interpolation.
    margin : int
        Pixels by which the service may answer more than was asked for, on each side.
    """

    scale: Positive
    size: Annotated[int, Field(ge=8)] = 152
    zero_point: float | None = None
    interpolated: bool = False
    margin: Annotated[int, Field(ge=0, le=64)] = 0


class Bands(_Part):
    """A survey's bands, and which three of them stand as g, r, z of a stamp unless others are asked for."""

    known: tuple[str, ...]
    planes: tuple[str, str, str]

    @model_validator(mode="after")
    def _are_known(self) -> "Bands":
        if strange := [band for band in self.planes if band not in self.known]:
            raise ValueError(f"planes: {strange[0]!r} is none of the known bands {', '.join(self.known)}")
        return self


class Limits(_Part):
    """How much is asked of a service.

    Attributes
    ----------
    size : int
        Largest side of a stamp, pixels.
    rate, most_rate : float
        Requests a second unless another rate is asked for, and at most.
    connections : int
        Requests at a time.
    tries : int
        How often one request is made.
    wait, longest_wait : float
        Seconds before the second try, doubled for each further one, and at most. A service that asks for a longer
        wait stops the work.
    timeout : float
        Seconds that one request may take.
    failures : int
        Stamps that fail one after another before the service counts as failing.
    """

    size: Annotated[int, Field(ge=8, le=4096)]
    rate: Positive = 1.0
    most_rate: Positive = 5.0
    connections: Annotated[int, Field(ge=1, le=16)] = 2
    tries: Annotated[int, Field(ge=1, le=10)] = 4
    wait: Positive = 1.0
    longest_wait: Positive = 300.0
    timeout: Positive = 120.0
    failures: Annotated[int, Field(ge=1)] = 10

    @model_validator(mode="after")
    def _rate_is_allowed(self) -> "Limits":
        if self.rate > self.most_rate:
            raise ValueError(f"rate: {self.rate:g} is above most_rate, {self.most_rate:g}")
        return self


class Footprint(_Part):
    """Where a survey has looked.

    Attributes
    ----------
    note : str
        In words.
    declination : tuple of float
        Degrees; positions beyond are not asked for.
    probe : tuple of float or None
        A position that the survey surely has. It is asked for when many stamps fail in a row: some services answer
        with an error where they have nothing.
    """

    note: str = ""
    declination: tuple[Degrees, Degrees] = (-90.0, 90.0)
    probe: tuple[Annotated[float, Field(ge=0, lt=360)], Degrees] | None = None


class Survey(_Part):
    """A survey as its description says; `name` is the file's name without its suffix."""

    name: str
    title: str
    citation: str = ""
    example: bool = False
    service: ServiceAddress
    pixels: Pixels
    bands: Bands
    limits: Limits
    footprint: Footprint = Footprint()

    @model_validator(mode="after")
    def _fits_together(self) -> "Survey":
        if "{layer}" in self.service.url and not self.service.layers:
            raise ValueError("service.layers: the address has {layer}, so name at least one")
        if self.pixels.size > self.limits.size:
            raise ValueError(f"pixels.size: {self.pixels.size} is above limits.size, {self.limits.size}")
        return self


def is_here(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def find_survey(name: str) -> Survey:
    """A survey by the name of one of our descriptions, or by the path of a file.

    Raises
    ------
    SurveyError
        If there is no such description, or it is wrong; file and field are named.
    """
    if name in known_surveys():
        return read_survey(Path(str(files(__package__) / "descriptions" / f"{name}.toml")))
    if name.endswith(".toml") or Path(name).is_file():
        return read_survey(Path(name))
    raise SurveyError(
        f"There is no survey {name!r}.", f"Known are {', '.join(known_surveys())}; or name a file, such as my.toml."
    )


def known_surveys() -> list[str]:
    """Names of the descriptions that come along."""
    here = files(__package__) / "descriptions"
    return sorted(entry.name.removesuffix(".toml") for entry in here.iterdir() if entry.name.endswith(".toml"))


def read_survey(path: Path) -> Survey:
    """Read a description.

    Raises
    ------
    SurveyError
        If it cannot be read, is no TOML, or a field is missing, unknown or wrong.
    """
    hint = "docs/howto/survey-cutouts.md says what a description holds."
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SurveyError(f"{path} cannot be read ({error}).", hint) from error
    except tomllib.TOMLDecodeError as error:
        raise SurveyError(f"{path.name} is no TOML: {error}.", hint) from error
    try:
        return Survey.model_validate({**document, "name": path.stem})
    except ValidationError as error:
        raise SurveyError(f"{path.name}: {'; '.join(problems(error))}.", hint) from error
