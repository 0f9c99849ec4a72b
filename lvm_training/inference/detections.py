"""Detection files: the objects a detector found on each stamp of a set, one line of JSON per stamp, resumable."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from lvm_training.errors import GalaxyLoopError
from lvm_training.inference.mask_views import check_views, seen_in_views, view_disagreement
from lvm_training.objects.instances import InstanceError, Instances
from lvm_training.objects.run_lengths import RunLengths, pack_mask, unpack_mask
from lvm_training.progress import Progress
from lvm_training.stamps.render import render_set
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet

Written = dict[str, Any]
"""An object as JSON values."""
HINT = "Remove it, and detect again."


class DetectionsError(GalaxyLoopError):
    """A detection file that is missing, truncated, or not the one asked for."""

    code = "bad_detections"


class ObjectDetector(Protocol):
    """What fills a detection file: a detector, or anything that answers like one."""

    @property
    def digest(self) -> str:
        """12 hex digits of all that its answers depend on."""

    @property
    def rendering(self) -> Rendering:
        """How its pictures are made."""

    def predict(self, images: torch.Tensor) -> list[Instances]:
        """The objects of each picture (N, 3, S, S)."""


class Header(BaseModel):
    """The first line of a detection file.

    Attributes
    ----------
    name, stamps : str
        Name and digest of the stamp set.
    detector : str
        Digest of the detector.
    rows, size : int
        Stamps, and pixels along one side of their pictures.
    views : int
        Symmetries of each picture that were looked at; beyond one, lines say how much masks disagree among them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    stamps: str
    detector: str
    rows: int
    size: int
    views: int = 1

    def line(self) -> str:
        """The header as it is written; a single view goes without saying."""
        return self.model_dump_json(exclude_defaults=True) + "\n"


class _Object(BaseModel):
    name: str = Field(alias="class")
    score: float
    box: tuple[float, float, float, float]
    mask: str


class _Seen(BaseModel):
    """A line of a file in several views."""

    objects: list[_Object]
    disagreement: dict[str, float]


_LINE = TypeAdapter[list[_Object] | _Seen](list[_Object] | _Seen)


class Detections:
    """The objects on each stamp of a set.

    Attributes
    ----------
    header : Header
        What was looked at, and by whom.
    """

    def __init__(self, header: Header, lines: Sequence[str]) -> None:
        self.header, self._lines = header, lines

    def __len__(self) -> int:
        return self.header.rows

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a complete file.

        Raises
        ------
        DetectionsError
            If it is missing or truncated.
        """
        try:
            first, *lines = path.read_text(encoding="utf-8").splitlines()
            header = Header.model_validate_json(first)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DetectionsError(f"There are no complete detections at {path}.", HINT) from error
        except (ValueError, ValidationError) as error:
            raise DetectionsError(f"{path} is no detection file ({error}).", HINT) from error
        if len(lines) != header.rows:
            raise DetectionsError(f"{path} holds {len(lines)} stamps of {header.rows}.", HINT)
        return cls(header, lines)

    def objects(self, row: int) -> Instances:
        """The objects on a stamp's picture, best first.

        Raises
        ------
        DetectionsError
            If there is no such stamp, or its line is damaged.
        """
        found = _objects(self._line(row))
        try:
            return _read(found, self.header.size)
        except InstanceError as error:
            raise self._damaged(row, error.message) from error

    def best_scores(self, name: str) -> NDArray[np.float64]:
        """The best score of an object of class `name` on each stamp (N,); 0 where there is none.

        Raises
        ------
        DetectionsError
            If a line is damaged.
        """
        parsed = (_objects(self._line(row)) for row in range(len(self)))
        return np.array([max((one.score for one in found if one.name == name), default=0.0) for found in parsed])

    def disagreement(self, row: int, name: str) -> float:
        """How much the masks of a stamp's best object of class `name` disagree among views, as `view_disagreement`.

        Raises
        ------
        DetectionsError
            If there is no such stamp, its line is damaged, or only one view of each was looked at.
        """
        if self.header.views == 1:
            raise DetectionsError(
                f"{self.header.name} was looked at in a single view.",
                "Campaigns with the policy `masks` detect in several.",
            )
        line = self._line(row)
        if isinstance(line, list):
            raise self._damaged(row, "it does not say how views disagree")
        return line.disagreement.get(name, 0.0)

    def _line(self, row: int) -> list[_Object] | _Seen:
        if not 0 <= row < len(self):
            raise DetectionsError(f"{self.header.name} has stamps 0 to {len(self) - 1}, not {row}.")
        try:
            return _LINE.validate_json(self._lines[row])
        except ValidationError as error:
            raise self._damaged(row, error.errors()[0]["msg"]) from error

    def _damaged(self, row: int, why: str) -> DetectionsError:
        return DetectionsError(f"The detections of {self.header.name} are damaged at stamp {row}: {why}.", HINT)


def detections_path(stamps: StampSet, detector: ObjectDetector, folder: Path, views: int = 1) -> Path:
    """Where `detect_set` keeps the detections of this set by this detector in so many views."""
    suffix = "" if views == 1 else f"-views{views}"
    return folder / f"{stamps.name}-{stamps.digest}-{detector.digest}{suffix}.jsonl"


def detect_set(
    stamps: StampSet,
    detector: ObjectDetector,
    folder: Path,
    *,
    views: int = 1,
    batch: int = 32,
    progress: Progress | None = None,
) -> Detections:
    """Detections of a stamp set, from a file in `folder` named by set, detector and views; made if it is not there.

    A run that was killed goes on behind the last complete stamp.

    Parameters
    ----------
    views : int
        Beyond one, also how much masks disagree among so many symmetries of each picture; each costs a detection. The
        objects are those of the picture as it is.
    batch : int
        Pictures that go through the detector at a time.
    progress : callable, optional
        Called with the stamps done and their number.

    Raises
    ------
    ParamsError
        If `views` is not 1 to 8.
    """
    check_views(views)
    path = detections_path(stamps, detector, folder, views)
    if path.is_file():
        return Detections.open(path)
    header = Header(
        name=stamps.name,
        stamps=stamps.digest,
        detector=detector.digest,
        rows=len(stamps),
        size=detector.rendering.size,
        views=views,
    )
    partial = path.with_name(path.name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    done = _resumed(partial, header)
    with partial.open("a", encoding="utf-8") as stream:
        # whoever has to stop is heard between two steps, so these take no longer with more views
        step = max(1, batch // views)
        for start in range(done, len(stamps), step):
            rows = slice(start, min(start + step, len(stamps)))
            found = seen_in_views(detector.predict, render_set(stamps, rows, detector.rendering), views)
            stream.writelines(json.dumps(_written_line(one)) + "\n" for one in found)
            stream.flush()
            if progress is not None:
                progress(rows.stop, len(stamps))
    partial.replace(path)
    return Detections.open(path)


def _resumed(partial: Path, header: Header) -> int:
    """Stamps of the unfinished file that can be kept; it is cut behind its last complete line, or begun anew."""
    first = header.line().encode()
    lines = partial.read_bytes().splitlines(keepends=True) if partial.is_file() else []
    whole = [line for line in lines if line.endswith(b"\n")]
    if not whole or whole[0] != first:
        whole = [first]
    partial.write_bytes(b"".join(whole))
    return len(whole) - 1


def _written_line(views: Sequence[Instances]) -> list[Written] | dict[str, Any]:
    """The objects of a picture; with several views also how much they disagree, by class."""
    objects = _written(views[0])
    if len(views) == 1:
        return objects
    names = sorted({name for found in views for name in found.classes})
    disagreement = {name: round(view_disagreement(views, name), 5) for name in names}
    return {"objects": objects, "disagreement": disagreement}


def _objects(line: list[_Object] | _Seen) -> list[_Object]:
    return line if isinstance(line, list) else line.objects


def _written(found: Instances) -> list[Written]:
    """Objects as JSON values; masks as COCO's compressed runs."""
    masks = [pack_mask(mask)["counts"] for mask in found.masks]
    return [
        {"class": name, "score": round(float(score), 5), "box": [round(float(edge), 2) for edge in box], "mask": mask}
        for name, score, box, mask in zip(found.classes, found.scores, found.boxes, masks, strict=True)
    ]


def _read(found: Sequence[_Object], size: int) -> Instances:
    masks = np.zeros((len(found), size, size), dtype=bool)
    for mask, one in zip(masks, found, strict=True):
        mask[:] = unpack_mask(RunLengths(size=(size, size), counts=one.mask), (size, size))
    boxes = np.array([one.box for one in found], dtype=float).reshape(-1, 4)
    scores = np.array([one.score for one in found], dtype=float)
    return Instances(tuple(one.name for one in found), boxes, masks, scores)
