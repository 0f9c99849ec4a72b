"""The main job, shown: a campaign on real servers, labelled by a simulated team, round by round."""

import time
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from sklearn.metrics import roc_auc_score

from backend_ml.campaign import status
from backend_ml.campaign.create import CampaignMaker
from backend_ml.campaign.plan import LONGEST_TITLE, CampaignPlan
from backend_ml.console import console
from backend_ml.demo.annotators import SimulatedAnnotators, Submission
from backend_ml.demo.data import DemoData
from backend_ml.label_studio.client import LabelStudio
from backend_ml.labels import events
from backend_ml.local.processes import ProcessError
from backend_ml.local.servers import Servers
from backend_ml.queue import push
from backend_ml.store import versions
from backend_ml.store.campaigns import all_campaigns
from backend_ml.store.database import Database
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign
from lvm_training.heads.classification import ClassificationHead
from lvm_training.progress import progress_bar

QUEUE_SECONDS = 120
NO_LABELS = "–"


@dataclass(frozen=True)
class Round:
    """How the campaign stood after a round of labels.

    Attributes
    ----------
    labels : int
        Labels given so far.
    accuracy, auc : float
        Of the active head on tasks that nobody has labelled; `auc` is macro-averaged, one class against the rest.
        NaN while there is no head.
    seconds : float
        From the last label of the round until the new queue was served; NaN before the first label.
    version : str
        The active model version.
    """

    labels: int
    accuracy: float
    auc: float
    seconds: float
    version: str


def create_campaign(servers: Servers, database: Database, data: DemoData, encoder: Path, seed: int) -> Campaign:
    """A new campaign over the demo's data, named after the data and numbered."""
    with database.transaction() as connection:
        number = len(all_campaigns(connection)) + 1
    plan = CampaignPlan(
        campaign_name(data.name, number),
        data.stamps,
        encoder,
        rows=data.rows,
        classes=data.classes,
        labels=data.labels,
        seed=seed,
    )
    with servers.label_studio() as label_studio:
        return CampaignMaker(servers.settings, database, label_studio, progress_bar).create(plan)


def campaign_name(data: str, number: int) -> str:
    """What the campaign of that number over some data is called: as Label Studio takes it, however long `data` is."""
    end = f" {number}"
    return data[: LONGEST_TITLE - len(end)] + end


def label_rounds(
    database: Database, members: list[LabelStudio], campaign: Campaign, data: DemoData, *, rounds: int, per_round: int
) -> list[Round]:
    """Let the annotators label for some rounds; how the campaign stood before the first and after each.

    Raises
    ------
    ProcessError
        If a new queue does not come within two minutes of a label.
    """
    annotators = SimulatedAnnotators(members, campaign.project_id, lambda _, row: data.truth[row])
    history = [measure(database, campaign, data, 0, float("nan"))]
    given = 0
    for number in range(1, rounds + 1):
        with progress_bar(f"Round {number} of {rounds}: the team labels") as progress:
            submissions = annotators.label(per_round, progress)
        if not submissions:
            break
        given += len(submissions)
        with progress_bar(f"Round {number} of {rounds}: waiting for the new queue"):
            seconds = wait_for_queue(database, campaign, submissions)
        history.append(measure(database, campaign, data, given, seconds))
        console().print(_line(number, history[-1]), highlight=False)
    return history


def wait_for_queue(database: Database, campaign: Campaign, submissions: list[Submission]) -> float:
    """Wait until every submission has gone into the served queue; seconds since the last of them.

    A round whose refit changes nothing, is held back by the gate, or leaves nothing to queue, counts from the end of
    that refit.
    """
    wanted = {submission.annotation for submission in submissions}
    while time.monotonic() < submissions[-1].at + QUEUE_SECONDS:
        with database.transaction() as connection:
            known = wanted <= set(events.known_annotations(connection, campaign))
            state = status.campaign_status(connection, campaign)
        if known and _is_served(state):
            return time.monotonic() - submissions[-1].at
        time.sleep(0.05)
    raise ProcessError(
        f"No new queue within {QUEUE_SECONDS} s of the last label.", "See the worker's log in the data folder."
    )


def _is_served(state: dict[str, object]) -> bool:
    refit, pushed, last = state["last_run"], state["last_push"], state["last_event"]
    assert isinstance(refit, dict) and isinstance(pushed, dict) and isinstance(last, int)  # noqa: S101
    if refit["last_event"] < last:
        return False
    return bool(refit["outcome"] != "promoted" or not state["waiting"] or pushed["version"] == refit["version"])


def measure(database: Database, campaign: Campaign, data: DemoData, labels: int, seconds: float) -> Round:
    """Accuracy and macro AUC of the active head on the tasks nobody has labelled."""
    with database.transaction() as connection:
        active = versions.active_version(connection, campaign)
        waiting = push.waiting_tasks(connection, campaign)
        features = FeatureStore.from_database(connection, active.encoder if active else campaign.encoder)
    if active is None or active.weights is None or not waiting:
        return Round(labels, float("nan"), float("nan"), seconds, active.version if active else NO_LABELS)
    head = ClassificationHead.load(active.weights)
    probabilities = head.predict(features.rows([(task.stamp_set, task.stamp_id) for task in waiting]))
    truth = np.array([data.truth[task.stamp_id] for task in waiting])
    accuracy = float((np.array(head.classes)[probabilities.argmax(axis=1)] == truth).mean())
    return Round(labels, accuracy, macro_auc(truth, probabilities, head.classes), seconds, active.version)


def macro_auc(truth: NDArray[np.str_], probabilities: NDArray[np.float64], classes: tuple[str, ...]) -> float:
    """Mean over the classes that occur of the AUC of one class against the rest; NaN if only one occurs."""
    present = [i for i, name in enumerate(classes) if 0 < (truth == name).sum() < len(truth)]
    scores = [roc_auc_score(truth == classes[i], probabilities[:, i]) for i in present]
    return float(np.mean(scores)) if scores else float("nan")


def report(history: list[Round], picture: Path) -> None:
    """Print the rounds as a table and save them as a curve."""
    table = Table("labels", "accuracy", "macro AUC", "label → new queue", "model version", title="The campaign so far")
    for entry in history:
        seconds = NO_LABELS if np.isnan(entry.seconds) else f"{entry.seconds:.1f} s"
        table.add_row(str(entry.labels), _number(entry.accuracy), _number(entry.auc), seconds, entry.version)
    console().print(table)
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    labels = [entry.labels for entry in history]
    axes.plot(labels, [entry.auc for entry in history], "o-", color="#1f4e8c", label="macro AUC")
    axes.plot(labels, [entry.accuracy for entry in history], "s--", color="#c8553d", label="accuracy")
    axes.set(xlabel="labels given by the team", ylabel="on tasks nobody has labelled", ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=150)
    plt.close(figure)
    console().print(f"The curve: {picture}", markup=False)


def _line(number: int, entry: Round) -> str:
    return (
        f"Round {number}: {entry.labels} labels · accuracy {_number(entry.accuracy)} · macro AUC"
        f" {_number(entry.auc)} · new queue {entry.seconds:.1f} s after the last label"
    )


def _number(value: float) -> str:
    return NO_LABELS if np.isnan(value) else f"{value:.3f}"
