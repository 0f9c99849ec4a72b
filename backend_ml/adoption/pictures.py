"""Pictures of tasks become a stamp set: fetched, imported, embedded; what was interrupted goes on."""

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend_ml.adoption.fetching import Fetched, Limits, PictureFetcher
from backend_ml.adoption.plan import AdoptionPlan
from backend_ml.adoption.tasks import Stamp, UnknownTask
from backend_ml.label_studio.client import LabelStudio
from backend_ml.settings import Settings
from backend_ml.store.database import Database
from backend_ml.store.records import CampaignError
from lvm_training.errors import StampError
from lvm_training.images.pictures import picture_shape
from lvm_training.importing.importer import ImportReport, import_stamps
from lvm_training.progress import Steps
from lvm_training.stamps.stampset import StampSet

DIGITS = 10  # of a task's id, with which the folder of its picture begins


@dataclass(frozen=True)
class AdoptedPictures:
    """Pictures that became stamps.

    Attributes
    ----------
    stamps : Path or None
        The stamp set; None where no task had a picture to fetch.
    rows : dict
        The stamp of each task.
    failures : dict
        Why a task has none.
    notes : tuple of str
        What was assumed of the pictures.
    """

    stamps: Path | None
    rows: dict[int, Stamp]
    failures: dict[int, str]
    notes: tuple[str, ...] = ()


class PictureTaker:
    """Makes stamp sets of the pictures of a project's tasks, in the store.

    Parameters
    ----------
    limits : Limits, optional
        What one picture may cost.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        label_studio: LabelStudio,
        steps: Steps,
        limits: Limits | None = None,
    ) -> None:
        self._settings, self._database, self._label_studio = settings, database, label_studio
        self._steps, self._limits = steps, limits

    def folder(self, project: int) -> Path:
        """Where what is made of a project's tasks is kept."""
        return self._settings.store_folder / "adopted" / str(project)

    def take(self, plan: AdoptionPlan, tasks: Sequence[UnknownTask], *, whole: bool) -> AdoptedPictures:
        """Fetch and import the pictures of some tasks.

        Parameters
        ----------
        whole : bool
            Whether stamps must show pictures whole, since boxes are drawn on them.

        Raises
        ------
        StampError
            If there is a picture to fetch, and none can be read.
        CampaignError
            If pictures that must be shown whole are not square and of one size.
        """
        addresses = {task.id: task.address for task in tasks if task.address is not None}
        if not addresses:
            return AdoptedPictures(None, {}, {})
        fetcher = PictureFetcher(self._label_studio.url, self._label_studio.authorization, plan.allowed, self._limits)
        out = self._place(plan.project)
        pictures = out.with_suffix("")
        with self._steps("Fetching pictures") as progress:
            fetched = fetcher.fetch(addresses, pictures, progress)
        if not fetched.files:
            raise StampError(
                "No picture of the project could be fetched.", "; ".join(sorted(set(fetched.failures.values()))[:3])
            )
        if whole:
            _check_whole(pictures, fetched.files.values())
        with self._steps("Importing pictures") as progress:
            # of an import whose campaign was never made
            out.unlink(missing_ok=True)
            report = import_stamps(pictures, out, fit=plan.fit, pixel_scale=plan.pixel_scale, progress=progress)
        return _matched(out, fetched, report)

    def forget_pictures(self, made: AdoptedPictures) -> None:
        """Delete the files of pictures that are stamps of a campaign now."""
        if made.stamps is not None:
            shutil.rmtree(made.stamps.with_suffix(""), ignore_errors=True)

    def _place(self, project: int) -> Path:
        """The next stamp set of a project: names are unique, and a set that is registered stays."""
        taken = {row["name"] for row in self._database.rows("stamp_sets")}
        names = (f"project_{project}" if number == 1 else f"project_{project}_{number}" for number in range(1, 1 << 20))
        return self.folder(project) / f"{next(name for name in names if name not in taken)}.h5"


def _matched(out: Path, fetched: Fetched, report: ImportReport) -> AdoptedPictures:
    with StampSet(out) as stamps:
        rows = {int(str(file)[:DIGITS]): (out.stem, row) for row, file in enumerate(stamps.column("file"))}
    skipped = {int(item.file[:DIGITS]): item.reason for item in report.skipped}
    return AdoptedPictures(out, rows, {**fetched.failures, **skipped}, report.notes)


def _check_whole(folder: Path, files: Collection[str]) -> None:
    shapes = {picture_shape(folder / file) for file in files if file.endswith((".png", ".jpg"))}
    if len(shapes) == 1 and len(set(next(iter(shapes)))) == 1:
        return
    sizes = ", ".join(f"{width} x {height}" for height, width in sorted(shapes)[:4]) or "FITS files"
    raise CampaignError(
        f"Boxes need pictures that are square, of one size, PNG or JPEG; these are {sizes}.",
        "Boxes are in per cent of the picture that people see, and models see squares.",
    )
