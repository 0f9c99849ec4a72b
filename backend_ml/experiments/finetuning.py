"""Training an encoder as an experiment of the pipeline: labels frozen there, the stage run, what is accepted kept."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog
from psycopg.types.json import Jsonb

from backend_ml.experiments.repository import SET, Made, Pipeline, PipelineError
from backend_ml.experiments.running import push, run_experiment
from backend_ml.kinds.kind import Report
from backend_ml.kinds.models import Stores
from backend_ml.rebuilding.freezing import freeze
from backend_ml.store.campaigns import campaign_of_id, note
from backend_ml.store.database import Database
from backend_ml.store.encoders import encoder_folder, keep_checkpoint
from lvm_training.errors import GalaxyLoopError
from lvm_training.progress import Say
from lvm_training.tables.frozen_labels import FrozenLabels
from lvm_training.tables.snapshot import Snapshot

log = structlog.get_logger(__name__)

SOURCE = "pipeline"  # of notices


@dataclass(frozen=True)
class Finetuning:
    """How an encoder is trained in a pipeline repository; a `learning.encoders.Training`.

    Attributes
    ----------
    database : Database
    stores : Stores
    pipeline : Pipeline
    """

    database: Database
    stores: Stores
    pipeline: Pipeline

    def make(self, labels: Snapshot, base: str, work: Path, report: Report, say: Say) -> str:
        """Freeze the labels, run the experiment, and take its encoder into the store; its digest.

        An experiment that has ended is not run again, one that was killed is run anew. Of several campaigns with one
        repository, one after the other has it.

        Raises
        ------
        PipelineError
            If the repository is not as it must be, or the experiment fails.
        ReleaseError, LabelError
            If the labels cannot be pinned there.
        """
        with self.database.sole("try_lock_pipeline", folder=str(self.pipeline.root)):
            frozen, name = self._frozen(work), self.stores.campaign.name
            self.pipeline.check(frozen, name)
            file = self.pipeline.pin(frozen, name)
            experiment = f"{file.stem}-{self._start(frozen, base)}"
            (row,) = self.database.rows(
                "begin_experiment",
                campaign=self.stores.campaign.id,
                name=experiment,
                repository=str(self.pipeline.root),
                baseline=self.pipeline.baseline(),
                labels_file=file.name,
                labels=len(frozen.snapshot),
            )
            try:
                made = self._made(experiment, file, frozen, base, work, report)
                encoder = self._kept(work / "checkpoint")
            except PipelineError as error:
                self._end(row["id"], "failed", note=str(error))
                raise
            values = {"revision": made.revision, "encoder": encoder, "metrics": Jsonb(made.metrics)}
            self.database.rows("experiment_made", experiment=row["id"], **values)
        return encoder

    def settle(self, encoder: str, outcome: str, version: str | None) -> None:
        """Note what came of it; what serves becomes a branch, and is pushed where there is a remote.

        What fails of that is told as a notice: the version serves all the same.
        """
        campaign = self.stores.campaign
        with self.database.transaction() as connection:
            now = campaign_of_id(connection, campaign.id)
        (row,) = self.database.rows("experiment_of_encoder", campaign=campaign.id, encoder=encoder)
        branch = told = None
        if now is not None and now.encoder == encoder:
            with self.database.sole("try_lock_pipeline", folder=str(self.pipeline.root)):
                branch, told = self._accepted(row["name"], row["revision"])
        self._end(row["id"], outcome, version=version, branch=branch, note=told)
        with self.database.transaction() as connection:
            note(connection, campaign.id, SOURCE, told)

    def _accepted(self, name: str, revision: str) -> tuple[str | None, str | None]:
        """The branch of an experiment that serves, and what went wrong with keeping it."""
        again = f"`cd {self.pipeline.root} && dvc push --all-branches` tries again."
        try:
            branch = self.pipeline.keep(name, revision)
        except PipelineError as error:
            return None, f"{name} serves, and could not be made a branch: {error}"
        try:
            failed = push(self.pipeline, self._log("push"))
        except GalaxyLoopError as error:
            failed = error.message
        return (
            branch,
            f"{branch} serves; its files are here and could not be pushed: {failed} {again}" if failed else None,
        )

    def _frozen(self, work: Path) -> FrozenLabels:
        """The labels of a training that was interrupted, or those of now."""
        for path in work.glob("*.parquet"):
            return FrozenLabels.read(path)
        with self.database.transaction() as connection:
            frozen = freeze(connection, self.stores.campaign)
        frozen.write(work / frozen.file_name(self.stores.campaign.name))
        return frozen

    def _start(self, frozen: FrozenLabels, base: str) -> str:
        """What an experiment on the same labels could start from otherwise, in a few letters."""
        sets = sorted(set(frozen.snapshot.stamp_set))
        digests = [self.stores.sets.find(name).digest for name in sets]
        return hashlib.sha256("\0".join([base, *sets, *digests]).encode()).hexdigest()[:6]

    def _made(self, name: str, file: Path, frozen: FrozenLabels, base: str, work: Path, report: Report) -> Made:
        """The experiment of that name: one that has ended, or else a new one."""
        found = self.pipeline.find(name)
        made = self.pipeline.take(found, work / "checkpoint") if found else None
        if made is None:
            encoder = encoder_folder(self.stores.folder, base).absolute()
            stamps = self._linked(set(frozen.snapshot.stamp_set))
            settings = dict(zip(SET, (file.as_posix(), str(encoder), str(stamps)), strict=True))
            revision = run_experiment(self.pipeline, name, settings, self._log("experiment"), report, again=bool(found))
            log.info("experiment", campaign=self.stores.campaign.name, name=name, revision=revision)
            made = self.pipeline.take(revision, work / "checkpoint")
        if made is None:
            raise PipelineError(f"The experiment {name} left no checkpoint.", f"`dvc exp show` in {self.pipeline.root}")
        return made

    def _linked(self, names: Iterable[str]) -> Path:
        """A folder with links to stamp sets by their names, which the stage reads."""
        folder = self.stores.folder / "experiments" / f"stamps-{self.stores.campaign.id}"
        folder.mkdir(parents=True, exist_ok=True)
        wanted = {f"{name}.h5": self.stores.sets.find(name).path.absolute() for name in names}
        for link in folder.iterdir():
            link.unlink()
        for name, path in wanted.items():
            (folder / name).symlink_to(path)
        return folder.absolute()

    def _kept(self, checkpoint: Path) -> str:
        from lvm_training.model.encoder import Encoder

        digest = Encoder.load(checkpoint).digest
        keep_checkpoint(checkpoint, encoder_folder(self.stores.folder, digest))
        return digest

    def _log(self, name: str) -> Path:
        plain = re.sub(r"[^a-z0-9]+", "-", self.stores.campaign.name.casefold()).strip("-")
        return self.stores.folder / "experiments" / f"{name}-{self.stores.campaign.id}-{plain[:40]}.log"

    def _end(
        self, number: int, outcome: str, *, version: str | None = None, branch: str | None = None, note: str | None
    ) -> None:
        values = {"version": version, "branch": branch, "note": note}
        self.database.rows("end_experiment", experiment=number, outcome=outcome, **values)
