"""Which row of a vote table belongs to which stamp: by name, or by position on the sky."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import LabelError, StampError
from lvm_training.galaxy_zoo.trees import vote_column
from lvm_training.galaxy_zoo.votes import IDENTIFIERS, Votes
from lvm_training.importing.folder import image_files, stem
from lvm_training.stamps.stampset import StampSet
from lvm_training.tables.cells import class_name
from lvm_training.tables.position_names import is_position
from lvm_training.tables.positions import degrees, nearest, separation
from lvm_training.tables.reading import Table, read_table

Floats = NDArray[np.float64]

SAME_NAME = 0.05  # share of rows that may have the name of another; a column with more is no column of names
FEW = 3  # rows that may have it in a small table
APART = 60.0  # arcsec that a galaxy of one name may lie from itself


@dataclass(frozen=True)
class Stamps:
    """What is known of some stamps to find them in a catalogue.

    Attributes
    ----------
    name : str
        Of the stamp set, or the folder.
    names : dict of str to list of str
        Columns of names; `file` holds file names without folder and suffix.
    files : list of str or None
        The column `file` as it is.
    is_set : bool
        Whether it is a stamp set, whose rows have numbers.
    ra, dec : ndarray (N,) or None
        Degrees, ICRS; NaN where they are not known.
    count : int
        N.
    """

    name: str
    names: Mapping[str, list[str]]
    files: list[str] | None
    is_set: bool
    count: int
    ra: Floats | None = None
    dec: Floats | None = None

    @classmethod
    def of(cls, path: Path) -> "Stamps":
        """Of a stamp set, or of a folder of images, which have names alone.

        Raises
        ------
        StampError
            If there is none.
        """
        if path.is_dir():
            found, refused = image_files(path)
            files = [file for file in found if file not in refused]
            if not files:
                raise StampError(f"{path} holds no JPEG, PNG or FITS files.", "Name a stamp set or a folder of images.")
            return cls(path.name, {"file": [called(file) for file in files]}, files, False, len(files))
        with StampSet(path) as stamps:
            known = [name for name in stamps.columns if name.casefold() in IDENTIFIERS and name != "source_row"]
            names = {name: [class_name(value) for value in stamps.column(name)] for name in known}
            listed = names.get("file")
            if listed is not None:
                names["file"] = [called(file) for file in listed]
            sky = [
                degrees(stamps.column(one), right_ascension=one == "ra")
                for one in ("ra", "dec")
                if one in stamps.columns
            ]
            ra, dec = sky if len(sky) == 2 else (None, None)
            return cls(stamps.name, names, listed, True, len(stamps), ra, dec)


@dataclass
class Match:
    """Which row of the votes each stamp has.

    Attributes
    ----------
    rows : ndarray (N,)
        -1 where it has none.
    separation : ndarray (N,)
        arcsec; NaN where one of the positions is not known.
    notes : list of str
        How, and how many were left over.
    """

    rows: NDArray[np.int64]
    separation: Floats
    notes: list[str] = field(default_factory=list)


def called(name: str) -> str:
    """A file's name without folder and suffix."""
    return stem(PurePosixPath(name.replace("\\", "/")).name)


def matched(
    stamps: Stamps, votes: Votes, *, by: str | None = None, radius: float = 2.0, names: Path | None = None
) -> Match:
    """Match stamps to votes.

    Parameters
    ----------
    by : str, optional
        "name" or "position"; by default by name where one fits, else by position.
    radius : float
        arcsec, largest separation.
    names : Path, optional
        Table that says which name of a stamp is which of the votes, as `gz2_filename_mapping.csv` of Galaxy Zoo 2.

    Raises
    ------
    LabelError
        If nothing fits, or what is needed for it is not known.
    """
    if by not in (None, "name", "position"):
        raise LabelError(f"Stamps cannot be matched by {by}.", "They are matched by name or position.")
    if not 0 < radius <= 3600:
        raise LabelError(f"A radius of {radius} arcsec is none.", "Give arcsec, such as 2.")
    table = votes.table
    can_position = stamps.ra is not None and {"ra", "dec"} <= table.columns.keys()
    if by != "position":
        found = _by_name(stamps, table, _translation(stamps, table, names))
        if found is not None and (not can_position or _confirmed(found, stamps, table)):
            return _counted(found, table)
        if by == "name" or not can_position:
            raise _no_name(stamps, table, can_position)
    if not can_position:
        raise LabelError(
            f"{stamps.name if stamps.ra is None else table.name} has no positions.",
            "Columns ra and dec are needed in both; or match by name.",
        )
    return _by_position(stamps, table, radius)


def _ids(table: Table) -> tuple[dict[str, list[str]], list[str]]:
    """Columns of names as texts, and what is odd of them."""
    found: dict[str, list[str]] = {}
    notes = []
    for name, column in table.columns.items():
        if vote_column(name) is not None or is_position(name):
            continue
        if column.lost_digits:
            notes.append(f"{name}: its numbers went through floats and have lost digits; they are no names any more")
            continue
        texts = [called(text) for text in column.texts()]
        if _are_names(texts):
            found[name] = texts
    return found, notes


def _are_names(texts: Sequence[str]) -> bool:
    """Whether nearly every row has a name of its own; surveys count objects anew in each field."""
    known = [text for text in texts if text]
    return len(known) - len(set(known)) <= max(FEW, SAME_NAME * len(known))


def _translation(stamps: Stamps, table: Table, path: Path | None) -> dict[str, str]:
    """Names of the votes by those of stamps, as a table of both says."""
    if path is None:
        return {}
    both = {name: [called(text) for text in column.texts()] for name, column in read_table(path).columns.items()}
    ours = {one for texts in stamps.names.values() for one in texts}
    theirs = {one for texts in _ids(table)[0].values() for one in texts}

    def overlap(known: set[str]) -> str:
        return max(both, key=lambda name: len(set(both[name]) & known))

    one, other = overlap(ours), overlap(theirs)
    if one == other or not set(both[one]) & ours or not set(both[other]) & theirs:
        raise LabelError(
            f"{path.name} says of no stamp of {stamps.name} what it is called in {table.name}.",
            "It needs a column of the names of each.",
        )
    return {ours: theirs for ours, theirs in zip(both[one], both[other], strict=True) if ours and theirs}


def _by_name(stamps: Stamps, table: Table, translation: Mapping[str, str]) -> Match | None:
    """The match by the two columns that have most names in common; None where none has."""
    ids, odd = _ids(table)
    best: tuple[int, str, str] | None = None
    for own, texts in stamps.names.items():
        wanted = {translation.get(text, text) for text in texts} - {""}
        for name, rows in ids.items():
            # numbers of a column of another name are other things, but a file is called by any of them
            if not _are_names(texts) or (own != "file" and own.casefold() != name.casefold() and not translation):
                continue
            common = len(wanted & set(rows))
            if common and (best is None or common > best[0]):
                best = common, own, name
    if best is None:
        return None
    _, own, name = best
    first: dict[str, int] = {}
    twins = 0
    for row, text in enumerate(ids[name]):
        twins += bool(text) and first.setdefault(text, row) != row
    found = [first.get(translation.get(text, text), -1) if text else -1 for text in stamps.names[own]]
    match = Match(
        np.array(found), np.full(len(found), np.nan), [f"matched by name: {own} and {name} of {table.name}", *odd]
    )
    if twins:
        match.notes.append(f"{name}: {twins} rows have the name of an earlier one, which counts")
    return match


def _confirmed(match: Match, stamps: Stamps, table: Table) -> bool:
    """Drop pairs of one name that lie apart; whether half of those whose positions are known are left."""
    if stamps.ra is None or stamps.dec is None:
        return True
    place = np.flatnonzero(match.rows >= 0)
    ra, dec = (column[match.rows[place]] for column in _sky(table))
    arcsec = 3600 * separation(stamps.ra[place], stamps.dec[place], ra, dec)
    match.separation[place] = arcsec
    place, arcsec = place[np.isfinite(arcsec)], arcsec[np.isfinite(arcsec)]
    apart = arcsec > APART
    if apart.any():
        match.notes.append(
            f"{int(apart.sum())} stamps lie more than {APART:g} arcsec from the row of their name: not matched"
        )
        match.rows[place[apart]], match.separation[place[apart]] = -1, np.nan
    return 2 * int(apart.sum()) <= len(place)


def _sky(table: Table) -> tuple[Floats, Floats]:
    """Right ascension and declination, degrees; NaN where they are missing."""
    ra, dec = (np.where(table.columns[name].missing, np.nan, table.columns[name].values) for name in ("ra", "dec"))
    return ra, dec


def _no_name(stamps: Stamps, table: Table, can_position: bool) -> LabelError:
    ids, odd = _ids(table)
    ours = "; ".join(f"{name} {texts[0]!r}" for name, texts in stamps.names.items() if texts) or "no column of names"
    theirs = "; ".join(f"{name} {texts[0]!r}" for name, texts in ids.items() if texts) or "no column of names"
    hint = "--by position matches by ra and dec." if can_position else "--names is a table that has both names."
    return LabelError(
        f"No stamp of {stamps.name} ({ours}) is named in {table.name} ({theirs}).", " ".join([*odd, hint])
    )


def _counted(match: Match, table: Table) -> Match:
    found = int((match.rows >= 0).sum())
    unused = len(table) - len(set(match.rows[match.rows >= 0].tolist()))
    match.notes.append(f"{found} of {len(match.rows)} stamps have votes; {unused} rows of {table.name} have no stamp")
    return match


def _by_position(stamps: Stamps, table: Table, radius: float) -> Match:
    if stamps.ra is None or stamps.dec is None:  # told before
        raise LabelError(f"{stamps.name} has no positions.")
    ours, theirs = (stamps.ra, stamps.dec), _sky(table)
    unknown = [int((~np.isfinite(ra + dec)).sum()) for ra, dec in (ours, theirs)]
    for count, name, missing in zip((stamps.count, len(table)), (stamps.name, table.name), unknown, strict=True):
        if missing == count:
            raise LabelError(f"{name} has no position that is known.", "Give some.")
    match = Match(np.full(stamps.count, -1), np.full(stamps.count, np.nan))
    match.notes.append(f"matched by position within {radius:g} arcsec")
    rows, apart = nearest(*ours, *theirs)
    near = np.flatnonzero(3600 * apart <= radius)
    lost = _nearest_wins(match, near, rows[near], 3600 * apart[near])
    for missing, what in zip(unknown, (f"stamps of {stamps.name}", f"rows of {table.name}"), strict=True):
        if missing:
            match.notes.append(f"{missing} {what} have no position")
    if not len(near):
        raise LabelError(
            f"No stamp of {stamps.name} lies within {radius:g} arcsec of a row of {table.name}; the nearest is "
            f"{3600 * np.nanmin(apart):,.0f} arcsec away.",
            _suspicion(*ours, *theirs, radius) or "Give a larger --radius, or look at the coordinates.",
        )
    if lost:
        match.notes.append(f"{lost} stamps are near a row that is nearer to another stamp, which has it")
    second, _ = nearest(*ours, *theirs, within=radius / 3600, rank=2)
    if several := int((second >= 0).sum()):
        match.notes.append(f"{several} stamps have several rows within the radius: the nearest counts")
    found = match.separation[match.rows >= 0]
    match.notes.append(f"separation: median {np.median(found):.2f}, largest {found.max():.2f} arcsec")
    return _counted(match, table)


def _nearest_wins(match: Match, own: NDArray[np.int64], rows: NDArray[np.int64], apart: Floats) -> int:
    """Give each row to the stamp nearest to it; how many stamps get none."""
    taken: set[int] = set()
    lost = 0
    for place in np.argsort(apart, kind="stable"):
        row = int(rows[place])
        if row in taken:
            lost += 1
            continue
        taken.add(row)
        match.rows[own[place]], match.separation[own[place]] = row, apart[place]
    return lost


def _suspicion(our_ra: Floats, our_dec: Floats, ra: Floats, dec: Floats, radius: float) -> str:
    """What the coordinates of the votes are instead, if stamps lie there."""
    from astropy import units as u
    from astropy.coordinates import SkyCoord

    tries = (
        ("Its right ascensions are hours: write them as 10h or multiply them by 15", ra * 15, dec, "icrs"),
        ("Its ra and dec have changed places", dec % 360, ra, "icrs"),
        ("Its ra and dec are galactic coordinates: call them glon and glat", ra, dec, "galactic"),
    )
    for words, one, other, frame in tries:
        known = np.isfinite(one + other)
        if np.abs(other[known]).max() > 90 or np.abs(one[known]).max() > 360:
            continue
        sky = SkyCoord(one[known] * u.deg, other[known] * u.deg, frame=frame).icrs
        rows, _ = nearest(our_ra, our_dec, sky.ra.deg, sky.dec.deg, within=radius / 3600)
        if count := int((rows >= 0).sum()):
            return f"{words}: then {count} stamps fit."
    return ""
