"""Fetches the stamps of a catalogue into a set: several at a time, and each of them once, whatever ends the work.

Stamps go through the journal of the set, the others into the list beside it; what is in neither is asked for again. A
stamp that failed is listed only once the service has answered another one: when the service itself fails, nothing is
said against the stamps.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np

from lvm_training.errors import SurveyError
from lvm_training.files import try_writing
from lvm_training.progress import Progress
from lvm_training.stamps.stampset import Pixels, StampSet, StampWriter
from lvm_training.surveys.cutout import Cutout, Reader
from lvm_training.surveys.order import Order
from lvm_training.surveys.service import NoStamp, Outside, Service
from lvm_training.surveys.skipped import SkippedList, skipped_path
from lvm_training.surveys.targets import Left, Targets

BATCH = 16  # stamps
LONGEST = 2.0  # seconds that a stamp waits for the others of its batch: what a kill may cost
COPIED = 64  # stamps at a time
ABOUT = "survey"  # what the set keeps it under


@dataclass(frozen=True)
class FetchReport:
    """What a run did.

    Attributes
    ----------
    out : Path
        The finished set.
    stamps : int
        In the set.
    fetched : int
        Of them, by this run.
    partly : int
        Of them, those with uncovered pixels.
    left : dict of str to int
        How many could not be had, by kind of reason.
    skipped : Path or None
        The list of them, if there are any.
    requests, received : int
        Requests of this run, and bytes of their answers.
    seconds : float
        What this run took.
    """

    out: Path
    stamps: int
    fetched: int
    partly: int
    left: dict[str, int]
    skipped: Path | None
    requests: int = 0
    received: int = 0
    seconds: float = 0.0


def fetch(
    targets: Targets, order: Order, out: Path, *, retry: bool = False, progress: Progress | None = None
) -> FetchReport:
    """Fetch the stamps of a catalogue into the set `out`; a run that was killed, stopped or cut off goes on.

    What cannot be had is listed with its reason in `skipped_path(out)`. A set that is whole already is left as it is.

    Parameters
    ----------
    retry : bool
        Whether to ask again for what is listed there.
    progress : callable, optional
        Called with the number of stamps dealt with and their total.

    Raises
    ------
    SurveyError
        If `out` is something else, the service cannot be used or fails again and again, or no stamp could be had. What
        is done is kept.
    StampError
        If the disk is full; what is done is kept.
    KeyboardInterrupt
        As it came; what is done is kept.
    """
    source = order.fingerprint(targets.digest)
    whole = _finished(out, source)
    unfinished = out.with_name(out.name + ".partial").exists()
    if whole is not None and not unfinished and not retry:
        return whole
    try:
        try_writing(out.parent)
    except OSError as error:
        raise SurveyError(f"{out} cannot be written: {error.strerror}.", "Choose another place for --out.") from error
    order.refuse_small_disk(out.parent, len(targets))
    with ExitStack() as stack:
        writer = StampWriter(
            out,
            (order.size, order.size),
            rendering=order.rendering,
            pixel_scale=order.scale,
            origin=order.origin,
            source=source,
        )
        stack.callback(writer.close)
        # a list beside an empty journal is of another set that had this name
        skipped = SkippedList(skipped_path(out), fresh=retry or not len(writer))
        stack.callback(skipped.close)
        if whole is not None:
            _copy(out, writer)
        run = _Run(targets, order, writer, skipped, progress)
        return run.finish(run.ask())


def _finished(out: Path, source: str) -> FetchReport | None:
    """The report of a set that is whole already, of the same order; None if there is none.

    Raises
    ------
    SurveyError
        If there is something else.
    """
    if not out.exists():
        return None
    with StampSet(out) as found:
        about = found.about(ABOUT)
        count = len(found)
    if about.get("source") != source:
        raise SurveyError(
            f"{out} exists already, and is another set than this command makes.",
            "Name another file, or move that one away.",
        )
    path = skipped_path(out)
    return FetchReport(
        out, count, 0, about.get("partly_covered", 0), about.get("left", {}), path if path.exists() else None
    )


def _copy(out: Path, writer: StampWriter) -> None:
    """Take over the stamps of a finished set that the journal does not have yet."""
    there = set(writer.column("file"))
    with StampSet(out) as found:
        columns = found.catalogue()
        rows = np.array([row for row, name in enumerate(columns["file"]) if name not in there], dtype=np.int64)
        for start in range(0, len(rows), COPIED):
            part = rows[start : start + COPIED]
            writer.append(found.pixels(part), {name: values[part] for name, values in columns.items()})


@dataclass
class _Run:
    """One run: what waits, what was fetched and is not on disk yet, and what failed since the service last answered."""

    targets: Targets
    order: Order
    writer: StampWriter
    skipped: SkippedList
    progress: Progress | None
    fetched: int = 0
    _waiting: deque[int] = field(default_factory=deque)
    _batch: list[tuple[int, Cutout]] = field(default_factory=list)
    _kept: int = 0  # stamps of earlier runs, and those of this one that are on disk or in the batch
    _failed: list[tuple[int, str]] = field(default_factory=list)
    _begun: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.skipped.add(self.targets.left)
        done = set(self.writer.column("file")) | self.skipped.entries.keys()
        self._waiting.extend(row for row, name in enumerate(self.targets.names) if name not in done)
        self._kept = len(self.writer)
        self._total = len(self.targets) + len(self.targets.left)

    def ask(self) -> tuple[int, int]:
        """Ask for all that waits; the requests made and the bytes received."""
        self._show()
        if not self._waiting:
            return 0, 0
        with TemporaryDirectory(prefix="galaxyloop-") as folder:
            try:
                return asyncio.run(self._asked(Reader(self.order, Path(folder))))
            finally:
                self._flush()

    async def _asked(self, reader: Reader) -> tuple[int, int]:
        survey = self.order.survey
        async with Service.opened(survey, self.order.rate) as service:
            probing = asyncio.Lock()
            work = (self._work(service, reader, probing) for _ in range(survey.limits.connections))
            workers = list(map(asyncio.create_task, work))
            keeper = asyncio.create_task(self._flush_often())
            try:
                await asyncio.gather(*workers)
            finally:
                for task in (keeper, *workers):
                    task.cancel()
                await asyncio.gather(keeper, *workers, return_exceptions=True)
        self._settle()
        return service.requests, service.received

    async def _work(self, service: Service, reader: Reader, probing: asyncio.Lock) -> None:
        while self._waiting:
            row = self._waiting.popleft()
            place = float(self.targets.ra[row]), float(self.targets.dec[row])
            try:
                cutout = await self._cutout(service, reader, *place)
            except Outside as error:
                self._settle()
                self._skip(row, error.kind, str(error))
            except NoStamp as error:
                self._failed.append((row, str(error)))
                await self._stop_at_an_outage(service, reader, probing, error)
            else:
                self._settle()
                self._keep(row, cutout)
            self._show()

    async def _cutout(self, service: Service, reader: Reader, ra: float, dec: float) -> Cutout:
        planes = []
        for url, bands in self.order.addresses(ra, dec):
            read = partial(reader.read, ra=ra, dec=dec, bands=bands)
            planes.append(await service.get(url, self.order.largest_answer, read))
        return reader.cutout(planes)

    async def _stop_at_an_outage(self, service: Service, reader: Reader, probing: asyncio.Lock, error: NoStamp) -> None:
        """Stop when too many stamps have failed in a row, unless the service answers where it surely has something."""
        survey = self.order.survey
        async with probing:
            if len(self._failed) < survey.limits.failures:
                return
            if survey.footprint.probe:
                try:
                    await self._cutout(service, reader, *survey.footprint.probe)
                except NoStamp:
                    pass
                else:
                    self._settle()
                    return
        raise SurveyError(
            f"{survey.service.host} fails: {len(self._failed)} stamps in a row, the last by {error}.",
            f"{self._kept} stamps are kept: run the same command again when it is well.",
        )

    def _settle(self) -> None:
        """List what failed, now that the service has answered."""
        for row, reason in self._failed:
            self._skip(row, NoStamp.kind, reason)
        self._failed.clear()

    def _skip(self, row: int, kind: str, reason: str) -> None:
        targets = self.targets
        self.skipped.add([Left(targets.names[row], float(targets.ra[row]), float(targets.dec[row]), kind, reason)])

    def _keep(self, row: int, cutout: Cutout) -> None:
        self._batch.append((row, cutout))
        self._kept += 1
        if len(self._batch) == BATCH:
            self._flush()

    async def _flush_often(self) -> None:
        while True:
            await asyncio.sleep(LONGEST)
            self._flush()

    def _flush(self) -> None:
        if not self._batch:
            return
        rows = np.array([row for row, _ in self._batch])
        columns: dict[str, Any] = {name: values[rows] for name, values in self.targets.columns.items()}
        if self.order.rendering == "nanomaggies":
            columns["covered"] = np.array([cutout.covered for _, cutout in self._batch])
            columns["bands"] = np.array([self.order.shown_bands] * len(rows))
        pixels = cast(Pixels, np.stack([cutout.pixels for _, cutout in self._batch]))
        self.writer.append(pixels, columns)
        self.fetched += len(self._batch)
        self._batch.clear()

    def _show(self) -> None:
        if self.progress is not None:
            self.progress(self._kept + len(self.skipped) + len(self._failed), self._total)

    def finish(self, asked: tuple[int, int]) -> FetchReport:
        """Write the set, with what it is."""
        left = dict(sorted(self.skipped.counts().items()))
        if not len(self.writer):
            raise self._nothing()
        covered: Sequence[Any] = self.writer.column("covered")
        partly = sum(share < 1 for share in covered)
        self.writer.describe(
            ABOUT,
            self.order.about()
            | {
                "source": self.order.fingerprint(self.targets.digest),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "catalogue": self.targets.about,
                "stamps": len(self.writer),
                "partly_covered": partly,
                "left": left,
                "notes": [*self.targets.notes, *self.order.notes()],
            },
        )
        count = len(self.writer)
        out = self.writer.finish()
        path = self.skipped.path if len(self.skipped) else None
        return FetchReport(out, count, self.fetched, partly, left, path, *asked, time.monotonic() - self._begun)

    def _nothing(self) -> SurveyError:
        first = next(iter(self.skipped.entries.values()), None)
        said = f"; {first.file}: {first.reason}" if first else ""
        return SurveyError(
            f"None of {self._total} stamps could be had{said}.",
            f"{self.skipped.path} lists them." if first else "The catalogue has no rows.",
        )
