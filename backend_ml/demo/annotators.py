"""Simulated annotators who know the truth: they label through Label Studio's own API, as people would."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from backend_ml.label_studio.client import LabelStudio
from backend_ml.label_studio.regions.choices import CONTROLS, find_choices
from lvm_training.progress import Progress

Truth = Callable[[str, int], str]


@dataclass(frozen=True)
class Submission:
    """One label: of which task, which annotation, by whom, and when it was acknowledged (monotonic s)."""

    task: int
    annotation: int
    annotator: int
    at: float


class SimulatedAnnotators:
    """Annotators who take the next task from Label Studio and submit the true class.

    Parameters
    ----------
    members : list of LabelStudio
        One client a member, each signed in as another user.
    project : int
        The Label Studio project.
    truth : callable
        (stamp set, row) to the true class.
    """

    def __init__(self, members: list[LabelStudio], project: int, truth: Truth) -> None:
        self._members = members
        self._project = project
        self._truth = truth
        control = find_choices(members[0].project(project).label_config, CONTROLS["morphology"])
        self._region: dict[str, Any] = {"from_name": control.name, "to_name": control.to_name, "type": "choices"}

    def label(self, count: int, progress: Progress = lambda *_: None) -> list[Submission]:
        """Label up to `count` tasks, shared equally, all members at once; fewer if the queue runs dry."""
        shares = [count // len(self._members) + (i < count % len(self._members)) for i in range(len(self._members))]
        given: list[Submission] = []
        lock = threading.Lock()

        def work(member: int) -> None:
            for _ in range(shares[member]):
                submission = self._label_next(member)
                if submission is None:
                    return
                with lock:
                    given.append(submission)
                    progress(len(given), count)

        with ThreadPoolExecutor(len(self._members)) as pool:
            for job in [pool.submit(work, member) for member in range(len(self._members))]:
                job.result()
        return sorted(given, key=lambda submission: submission.at)

    def _label_next(self, member: int) -> Submission | None:
        client, started = self._members[member], time.monotonic()
        task = client.next_task(self._project)
        if task is None:
            return None
        label = self._truth(str(task["data"]["stamp_set"]), int(task["data"]["stamp_id"]))
        result = [{**self._region, "value": {"choices": [label]}}]
        annotation = client.submit(task["id"], result, lead_time=time.monotonic() - started)
        return Submission(int(task["id"]), annotation, member, time.monotonic())
