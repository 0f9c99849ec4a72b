"""What the training stages share: a folder to resume from, a log, a progress bar, and the curves drawn from the log."""

import csv
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from dvclive.lightning import DVCLiveLogger
from pydantic import BaseModel

from lvm_training.model.ranks import leads
from lvm_training.progress import Progress, progress_bar

RESUME = Path("build/resume")


class Run(NamedTuple):
    """One training, new or resumed.

    Attributes
    ----------
    resume : Path
        Folder of its resume checkpoint.
    logger : DVCLiveLogger
        Where its losses go.
    progress : callable
        Takes the steps done and their number.
    """

    resume: Path
    logger: DVCLiveLogger
    progress: Progress

    def curves(self, names: Mapping[str, str]) -> list[tuple[int, str, str]]:
        """What was logged, as (step, series, value), of metrics by the name of their series.

        A step repeated after a kill counts once.
        """
        rows: list[tuple[int, str, str]] = []
        for metric, series in names.items():
            table = self.resume / "live" / "plots" / "metrics" / f"{metric}.tsv"
            if table.is_file():
                with table.open(newline="", encoding="utf-8") as lines:
                    column = metric.rsplit("/", 1)[-1]
                    values = {int(row["step"]): row[column] for row in csv.DictReader(lines, delimiter="\t")}
                rows.extend((step, series, value) for step, value in sorted(values.items()))
        return rows


@contextmanager
def training_run(name: str, params: BaseModel, inputs: Sequence[str]) -> Iterator[Run]:
    """A run on all the cores there are, shared with the other processes that torchrun started on this machine.

    Its resume folder is removed at the end, and kept if it does not end well.

    Parameters
    ----------
    name : str
        What is trained.
    params : BaseModel
        Its parameters: a run goes on only from one with the same parameters and inputs.
    inputs : sequence of str
        Digests of what it reads.
    """
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    key = hashlib.sha256("\n".join([params.model_dump_json(), *inputs]).encode()).hexdigest()[:12]
    resume = RESUME / f"{name}-{key}"
    live = resume / "live"
    logger = DVCLiveLogger(dir=str(live), resume=live.exists(), save_dvc_exp=False, dvcyaml=None, report=None)
    with progress_bar(f"{name}: steps", shown=leads()) as progress:
        yield Run(resume, logger, progress)
    if leads():
        shutil.rmtree(resume)
