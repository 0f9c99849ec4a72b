"""Another encoder for a campaign: trained on its own labels, or asked for; it takes over only if it is better.

Whatever it takes, hours of training and a pool embedded anew, the version that serves goes on serving: encoder,
features and head change together, in the transaction that promotes the first version of the new encoder
(`learn.learn_in`). What is made on the way is kept in the store, so that a worker that takes the job up again goes on.
"""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import structlog
from numpy.lib.format import open_memmap

from backend_ml.kinds.installed import kind_of
from backend_ml.kinds.kind import Report
from backend_ml.kinds.models import Stamp, Stores
from backend_ml.learning import trainings
from backend_ml.learning.learn import TOO_FEW, learn_in, present_stores
from backend_ml.learning.runs import Run, running
from backend_ml.learning.trainings import GROWTH, base_encoder, is_due
from backend_ml.store.campaigns import note
from backend_ml.store.database import Connection, Database, query
from backend_ml.store.encoders import encoder_folder, is_ours, keep_checkpoint, working_encoder
from backend_ml.store.features import share_features
from backend_ml.store.records import Campaign
from lvm_training.errors import StampError
from lvm_training.files import reserve
from lvm_training.model.memory import halving
from lvm_training.pool.features import FeaturesError
from lvm_training.progress import Say
from lvm_training.stamps.render import render_set
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet
from lvm_training.tables.snapshot import Snapshot, read_snapshot, write_snapshot

if TYPE_CHECKING:
    import torch

log = structlog.get_logger(__name__)

EMBEDDED = 128  # pictures at a time
LABELS, PICTURES = "labels.csv", "pictures.npy"


class Training(Protocol):
    """How an encoder is trained on labels: by this process, or by a pipeline."""

    def make(self, labels: Snapshot, base: str, work: Path, report: Report, say: Say) -> str:
        """Digest of the encoder that was trained, which is then in the store.

        Parameters
        ----------
        labels : Snapshot
            Those of the moment when the training began.
        base : str
            The encoder that it starts from.
        work : Path
            Folder of what is made on the way: a training that was killed goes on with it.
        """

    def settle(self, encoder: str, outcome: str, version: str | None) -> None:
        """Hear what came of it, once or again, before the folder is removed."""


def due(connection: Connection, campaign: Campaign, fewest: int, store: Path) -> bool:
    """Whether a campaign's encoder is to be trained: it is one that can be, and `trainings.is_due`."""
    return trains(connection, campaign, store) and is_due(connection, campaign, fewest)


def hindrance(connection: Connection, campaign: Campaign, fewest: int, store: Path) -> str | None:
    """Why a training that the labels would do for does not begin; None without a reason, or where none ever does."""
    return trainings.hindrance(connection, campaign, fewest) if trains(connection, campaign, store) else None


def trains(connection: Connection, campaign: Campaign, store: Path) -> bool:
    """Whether the encoder that a campaign began with can be trained on its labels: its kind does, and it is ours."""
    return kind_of(campaign).trains_encoder and is_ours(store, base_encoder(connection, campaign))


def failed(database: Database, campaign: Campaign) -> None:
    """Note that a training broke off, so that the next one is not begun at once."""
    database.rows("put_failed_training", campaign=campaign.id)


def train(
    database: Database,
    stores: Stores,
    report: Report,
    say: Say,
    *,
    steps: int | None = None,
    training: Training | None = None,
) -> str:
    """Train a campaign's encoder and head together on its labels, embed its stamps anew, and change to it if better.

    Always from the encoder that the campaign began with, on all labels there are: nothing is learned twice, and what
    comes out does not depend on when earlier trainings took place. A training that was killed goes on with the labels
    that it began with; what came since is learned by the head, which is fitted at the end.

    Parameters
    ----------
    steps : int, optional
        Optimiser steps; by default as many as the labels need.
    training : Training, optional
        How; by default in this process.

    Returns
    -------
    str
        As `learn`.

    Raises
    ------
    GalaxyLoopError
        If labels or stamps cannot be read, or a file not be written; nothing has changed then.
    """
    campaign = stores.campaign
    with database.sole("try_lock_encoder", campaign=campaign.id), running(database, campaign, "encoder") as run:
        kind = kind_of(campaign)
        with database.transaction() as connection:
            base = base_encoder(connection, campaign)
            labels = kind.read(connection, campaign)
        work = _work_folder(stores, base, steps)
        known = _begun(work, len(labels.training), campaign.classes)
        if known is None:
            known = labels.training.sorted()
            if not kind.fits(labels, campaign, seen=True):
                return run.finish(TOO_FEW, labels.last_event)
            # noted before it begins, so that whatever comes of it knows what it started from
            database.rows("put_encoder_training", campaign=campaign.id, base=base, labels=len(known))
            write_snapshot(work / LABELS, known)
        training = training or TrainingHere(stores, steps)
        encoder = training.make(known, base, work, _told(run, report), say)
        database.rows("encoder_trained", campaign=campaign.id, base=base, labels=len(known), encoder=encoder)
        outcome = _changed(run, database, stores, encoder, report, say)
        training.settle(encoder, outcome, run.version)
        # those of other recipes too, which were given up
        for stale in work.parent.glob(f"encoder-{campaign.id}-*"):
            shutil.rmtree(stale)
    return outcome


def change(database: Database, stores: Stores, encoder: str, report: Report, say: Say) -> str:
    """Embed a campaign's stamps with an encoder of the store, and change to it if that is not worse.

    Returns and errors are those of `train`.
    """
    campaign = stores.campaign
    with database.sole("try_lock_encoder", campaign=campaign.id), running(database, campaign, "encoder") as run:
        return _changed(run, database, stores, encoder, report, say)


def shown_sets(connection: Connection, campaign: Campaign, labelled: Sequence[Stamp]) -> list[str]:
    """The stamp sets of which a campaign needs features, by name: its pool's, its tasks', its labels'."""
    tasks = [row["stamp_set"] for row in query(connection, "campaign_sets", campaign=campaign.id)]
    return sorted({campaign.stamp_set, *tasks, *(name for name, _ in labelled)})


def _told(run: Run, report: Report) -> Report:
    """Reports to the caller, which may stop the work, and to the run."""

    def progress(phase: str, done: int, total: int) -> None:
        report(phase, done, total)
        run.report(phase, done, total)

    return progress


def _changed(run: Run, database: Database, stores: Stores, encoder: str, report: Report, say: Say) -> str:
    kind = kind_of(stores.campaign)
    with database.transaction() as connection:
        campaign = present_stores(connection, stores).campaign
        labels = kind.read(connection, campaign)
        seen = any(row["encoder"] == encoder for row in query(connection, "encoder_trainings", campaign=campaign.id))
    if not kind.fits(labels, campaign, seen=seen):
        return run.finish(TOO_FEW, labels.last_event)
    embedded = _embed_shown({}, encoder, database, stores, _told(run, report), say)
    outcome = learn_in(run, database, stores, report, encoder=encoder)
    if outcome == "promoted":
        _embed_late(embedded, encoder, database, stores, report, say)
    log.info("encoder", campaign=campaign.name, encoder=encoder, outcome=outcome)
    return outcome


def _embed_late(
    embedded: Mapping[str, str], encoder: str, database: Database, stores: Stores, report: Report, say: Say
) -> None:
    """Embed what was added while an encoder took over; what fails of it is noted, for the encoder serves.

    Whoever adds galaxies looks at the encoder once these are known, so that one of the two sees the other.
    """
    why = None
    try:
        _embed_shown(embedded, encoder, database, stores, report, say)
    except (StampError, FeaturesError, OSError) as error:
        log.exception("galaxies without features")
        why = f"Galaxies that were added while the encoder changed have no features of it: {error}"
    with database.transaction() as connection:
        note(connection, stores.campaign.id, "features", why)


def _embed_shown(
    embedded: Mapping[str, str], encoder: str, database: Database, stores: Stores, report: Report, say: Say
) -> dict[str, str]:
    """Embed all stamp sets that a campaign shows, those that are added or grow meanwhile too; their digests.

    Parameters
    ----------
    embedded : mapping
        Digests of those that are embedded already.
    """
    kind, done = kind_of(stores.campaign), dict(embedded)
    while True:
        with database.transaction() as connection:
            stores = present_stores(connection, stores)
            labels = kind.read(connection, stores.campaign)
            labelled = [*kind.stamps(labels.training), *kind.stamps(labels.audit)]
            names = shown_sets(connection, stores.campaign, labelled)
            digests = {row["name"]: row["digest"] for row in query(connection, "stamp_sets")}
        left = [name for name in names if name not in done or done[name] != digests.get(name)]
        if not left:
            return done
        _embed(left, encoder, stores, report, say)
        done |= {name: digests[name] for name in left}


def _embed(names: Sequence[str], encoder: str, stores: Stores, report: Report, say: Say) -> None:
    """Fill the features of some stamp sets, in files beside those of the encoders before it."""
    from lvm_training.pool.embedding import embed_set

    model = working_encoder(stores.folder, encoder)
    for name in names:
        stamps, folder = stores.sets.find(name), stores.features.folder(name)

        def embed(batch: int, stamps: StampSet = stamps, folder: Path = folder) -> object:
            made = embed_set(stamps, model, folder, batch=batch, progress=told)
            share_features(made.path)
            return made

        def told(done: int, total: int, name: str = name) -> None:
            report(f"embedding {name}", done, total)

        halving(embed, EMBEDDED, say)


def _work_folder(stores: Stores, base: str, steps: int | None) -> Path:
    """Where a training is kept while it goes on; of another campaign, or of another recipe, it is another one."""
    campaign = stores.campaign
    about = f"{campaign.name}\0{campaign.created_at.isoformat()}\0{base}\0{campaign.classes}\0{steps}"
    return stores.folder / "resume" / f"encoder-{campaign.id}-{hashlib.sha256(about.encode()).hexdigest()[:12]}"


def _begun(work: Path, labels: int, classes: Sequence[str]) -> Snapshot | None:
    """The labels of a training that was interrupted; None if there is none, or not worth going on with so many now."""
    known = read_snapshot(work / LABELS, classes=classes) if (work / LABELS).is_file() else None
    if known is not None and GROWTH * len(known) > labels:
        return known
    shutil.rmtree(work, ignore_errors=True)
    return None


@dataclass(frozen=True)
class TrainingHere:
    """In this process.

    Attributes
    ----------
    stores : Stores
    steps : int or None
        Optimiser steps; None for as many as the labels need.
    """

    stores: Stores
    steps: int | None

    def make(self, labels: Snapshot, base: str, work: Path, report: Report, say: Say) -> str:
        """As `Training.make`."""
        # Lightning takes seconds to import, and most jobs need none of it
        from lvm_training.supervised.encoder_training import train_encoder

        start, campaign = working_encoder(self.stores.folder, base), self.stores.campaign
        made = train_encoder(
            start,
            _pictures(labels, start.rendering, self.stores, work / PICTURES, report),
            labels.label,
            campaign.classes,
            work / "checkpoint",
            seed=campaign.seed,
            steps=self.steps,
            resume=work / "steps",
            progress=lambda done, total: report("training", done, total),
            say=say,
        )
        keep_checkpoint(work / "checkpoint", encoder_folder(self.stores.folder, made.digest))
        return made.digest

    def settle(self, encoder: str, outcome: str, version: str | None) -> None:
        """Nothing is left to do."""


def _pictures(labels: Snapshot, rendering: Rendering, stores: Stores, path: Path, report: Report) -> "torch.Tensor":
    """Pictures (N, 3, S, S) of the labelled stamps in the order of the labels, on disk: memory holds what is read."""
    import torch

    rows = np.array(labels.stamp_id)
    for name, row in zip(labels.stamp_set, labels.stamp_id, strict=True):
        stores.sets.holding(name, row)
    shape = len(rows), 3, rendering.size, rendering.size
    pictures = open_memmap(path, mode="w+", dtype=np.float32, shape=shape)  # type: ignore[no-untyped-call]
    with path.open("r+b") as stream:
        reserve(stream.fileno(), path.stat().st_size)
    for name in set(labels.stamp_set):
        mine = np.flatnonzero(np.array(labels.stamp_set) == name)
        for start in range(0, len(mine), EMBEDDED):
            report("reading pictures", int(start), len(mine))
            places = mine[start : start + EMBEDDED]
            pictures[places] = render_set(stores.sets.find(name), rows[places], rendering).numpy()
    return torch.from_numpy(pictures)
