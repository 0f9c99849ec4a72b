"""Files that can be one stamp set: of one kind, in the same bands, of one pixel scale, in a known unit or none."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lvm_training.errors import StampError
from lvm_training.images.pictures import Shape
from lvm_training.images.sky import SAME_SCALE
from lvm_training.stamps.stampset import RenderingKind

UNKNOWN = float("nan")
LOOK = "Give `galaxyloop data import` the option that a reason names, or look at the files."
TOLD = 3  # reasons in an error


@dataclass(frozen=True)
class FileFacts:
    """What is known of an image file before its pixels are read; as `FitsFacts`, and for pictures too.

    Attributes
    ----------
    bands : str
        "" of a picture.
    one_band : bool
        Whether it is shown as grey.
    """

    shape: Shape
    pixel_scale: float = UNKNOWN
    is_fits: bool = False
    rendering: RenderingKind = "as-delivered"
    bands: str = ""
    one_band: bool = False
    unit: str = ""
    white: float | None = None
    telescope: str = ""
    remarks: tuple[str, ...] = ()


class Kind(NamedTuple):
    """What the files of a group have in common; `pixel_scale` is None where it is not known."""

    is_fits: bool
    rendering: RenderingKind
    bands: str
    pixel_scale: float | None
    unit_known: bool

    def __str__(self) -> str:
        parts = ["FITS" if self.is_fits else "pictures"]
        if self.is_fits:
            parts += [self.bands, *(() if self.unit_known or self.rendering == "as-delivered" else ("unit unknown",))]
            parts.append("pixel scale unknown" if self.pixel_scale is None else f"{self.pixel_scale:g} arcsec")
        return ", ".join(parts)

    def difference(self, other: "Kind") -> str:
        """Why a file of this kind cannot be among those of another."""
        if self.is_fits != other.is_fits:
            return "a FITS image among pictures" if self.is_fits else "a picture among FITS images"
        if (self.rendering, self.bands) != (other.rendering, other.bands):
            return f"{self.bands} in a set of {other.bands}"
        if self.pixel_scale != other.pixel_scale:
            here = "unknown" if self.pixel_scale is None else f"{self.pixel_scale:g} arcsec"
            there = "unknown pixel scale" if other.pixel_scale is None else f"{other.pixel_scale:g}"
            mend = "--pixel-scale says it" if self.pixel_scale is None else "--resample brings all to one"
            return f"pixel scale {here} in a set of {there} ({mend})"
        return (
            "its unit is known in a set where it is not"
            if self.unit_known
            else "its unit is unknown in a set of nanomaggies (--zero-point says it)"
        )


@dataclass(frozen=True)
class Group:
    """Files of one kind.

    Attributes
    ----------
    kind : Kind
    files : sequence of str
        In the order of the folder.
    telescopes : tuple of str
        That the headers name.
    """

    kind: Kind
    files: Sequence[str]
    telescopes: tuple[str, ...] = ()

    def __str__(self) -> str:
        made_by = f" ({', '.join(self.telescopes)})" if self.telescopes else ""
        return f"{self.kind}{made_by}: {len(self.files)} files"


def grouped(facts: Mapping[str, FileFacts]) -> list[Group]:
    """The groups of some files, the largest first; of two as large that whose scale and unit are known."""
    members: dict[Kind, list[str]] = {}
    same = _same_scales(one.pixel_scale for one in facts.values())
    for file, one in facts.items():
        known = bool(one.unit) or one.rendering == "as-delivered"
        bands = "one band" if one.one_band else one.bands
        kind = Kind(one.is_fits, one.rendering, bands, same.get(one.pixel_scale), known)
        members.setdefault(kind, []).append(file)
    groups = [Group(kind, files, _telescopes(files, facts)) for kind, files in members.items()]
    return sorted(groups, key=lambda g: (-len(g.files), g.kind.pixel_scale is None, not g.kind.unit_known))


def _same_scales(scales: object) -> dict[float, float]:
    """Each scale that is known, and the most common one that it is the same as."""
    counts = Counter(scale for scale in scales if scale == scale)  # type: ignore[attr-defined]
    same: dict[float, float] = {}
    for scale, _ in counts.most_common():
        same[scale] = next((one for one in same.values() if abs(scale - one) <= SAME_SCALE * one), scale)
    return same


def _telescopes(files: Sequence[str], facts: Mapping[str, FileFacts]) -> tuple[str, ...]:
    return tuple(name for name, _ in Counter(facts[file].telescope for file in files).most_common(3) if name)


def chosen(groups: Sequence[Group], asked: str | None) -> Group:
    """The largest group, or the one that is asked for by its number, from 1, or by words of its description.

    Raises
    ------
    StampError
        If none or several are meant.
    """
    if asked is None:
        return groups[0]
    words = asked.casefold().replace(",", " ").split()
    if asked.isdecimal():
        fitting = list(groups[int(asked) - 1 : int(asked)]) if int(asked) else []
    else:
        fitting = [group for group in groups if words and all(word in str(group).casefold() for word in words)]
    if len(fitting) == 1:
        return fitting[0]
    listed = "; ".join(f"{number}: {group}" for number, group in enumerate(groups, start=1))
    what = "No group is" if not fitting else "Several groups are"
    raise StampError(f"{what} {asked!r}.", f"Give one by its number, as in --group 1, of {listed}.")


def told(reasons: Mapping[str, str]) -> str:
    """Why files are left out, {file: reason}: each reason once, with the first file that has it."""
    files: dict[str, list[str]] = {}
    for file, reason in reasons.items():
        files.setdefault(reason, []).append(file)
    ordered = sorted(files.items(), key=lambda item: -len(item[1]))[:TOLD]
    more = {reason: f" and {len(named) - 1} others" if len(named) > 1 else "" for reason, named in ordered}
    return "; ".join(f"{named[0]}{more[reason]}: {reason}" for reason, named in ordered)
