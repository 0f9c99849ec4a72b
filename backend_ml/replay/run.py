"""Replays a labelled set as if people labelled it: a policy chooses, the labels are looked up, heads are refitted."""

from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from backend_ml.acquisition.checks import check_finite
from backend_ml.acquisition.measures import PolicyError
from backend_ml.acquisition.policy import find_policy, fitting
from backend_ml.queue.ranking import Labelled, Waiting, rank
from backend_ml.replay.measures import search_measures
from backend_ml.replay.plan import LabelledSet, Matrix, ReplayPlan, Rows, Trial, prepare
from lvm_training.errors import LabelError
from lvm_training.evaluation.metrics import classification_metrics
from lvm_training.evaluation.probes import FitPredict
from lvm_training.heads.classification import ClassificationHead, feature_scale
from lvm_training.heads.preference import PreferenceHead
from lvm_training.heads.prior import AlignedPrior, Prior
from lvm_training.progress import Progress

Array = NDArray[np.float64]

WITH_PRIOR = " + simulated"  # after a policy's name: the same with a prior


@dataclass
class LearningCurve:
    """What was measured of one policy.

    Attributes
    ----------
    labels : list of int
        Labels used at each round.
    measures : dict
        By name, a list per seed of one value per round.
    """

    labels: list[int] = field(default_factory=list)
    measures: dict[str, list[list[float]]] = field(default_factory=dict)

    def add(self, labels: list[int], rounds: list[dict[str, float]]) -> None:
        """Append the rounds of one seed."""
        self.labels = labels
        for name in rounds[0]:
            self.measures.setdefault(name, []).append([one[name] for one in rounds])


def replay_policies(
    data: LabelledSet,
    plan: ReplayPlan,
    *,
    baseline: dict[str, FitPredict] | None = None,
    prior: Prior | None = None,
    progress: Progress | None = None,
) -> dict[str, LearningCurve]:
    """Learning curves of the plan's policies, and of baselines that learn from random labels at the same sizes.

    Parameters
    ----------
    data : LabelledSet
    plan : ReplayPlan
    baseline : dict, optional
        By name, models as `lvm_training.evaluation.probes.few_shot_curve` takes them.
    prior : Prior, optional
        What simulated stamps say of the classes: each policy is replayed without it and with it, from the same start.
    progress : callable, optional
        Called with the curves measured and their number.

    Raises
    ------
    LabelError
        As `prepare`; also if there is a prior, and one class is looked for as rare ones are.
    PolicyError
        If there is no policy of a name, or it needs what a replay lacks: boxes, or a class to look for.
    FeaturesError
        If features are not finite.
    """
    for name in plan.policies:
        find_policy(name)
    check_finite(data.features, "features")
    trials = [prepare(data, plan, seed) for seed in range(plan.seeds)]
    _check_policies(plan.policies, searching=trials[0].searching)
    curves: dict[str, LearningCurve] = {}
    models = baseline or {}
    aligned = None if prior is None else _aligned(prior, data.features, trials[0])
    contenders: list[tuple[str, str, AlignedPrior | None]] = [(name, name, None) for name in plan.policies]
    contenders += [(name, "random", None) for name in models]
    contenders += [(f"{name}{WITH_PRIOR}", name, aligned) for name in plan.policies if aligned is not None]
    for done, (seed, (name, policy, known)) in enumerate(product(range(plan.seeds), contenders), start=1):
        measured = replay_policy(data.features, trials[seed], policy, plan, seed, models.get(name), known)
        curves.setdefault(name, LearningCurve()).add(*measured)
        if progress:
            progress(done, plan.seeds * len(contenders))
    return curves


def _check_policies(names: tuple[str, ...], *, searching: bool) -> None:
    lacking = {"boxes": "the boxes of a detector", "views": "masks in several views"}
    lacking |= {} if searching else {"class": "a class to look for"}
    for name in names:
        for need in find_policy(name).needs & lacking.keys():
            fit = ", ".join(fitting(boxes=False, searching=searching))
            raise PolicyError(f"The policy {name!r} needs {lacking[need]}.", f"A replay here may have: {fit}.")


def replay_policy(
    features: Matrix,
    trial: Trial,
    policy: str,
    plan: ReplayPlan,
    seed: int,
    model: FitPredict | None = None,
    prior: AlignedPrior | None = None,
) -> tuple[list[int], list[dict[str, float]]]:
    """Labels used, and what was measured, at each round of one policy and seed.

    Parameters
    ----------
    model : FitPredict, optional
        Learns instead of the campaign's heads.
    prior : AlignedPrior, optional
        What these begin with.
    """
    everything = np.concatenate([trial.pool, trial.test])
    labelled, sizes, rounds = trial.start, [], []
    while True:
        answers = _answers(features, trial, labelled, everything, seed, model, prior)
        sizes.append(len(labelled))
        rounds.append(_measured(trial, answers, labelled))
        count = min(plan.batch, plan.budget - len(labelled))
        if not count:
            return sizes, rounds
        # another draw for each round of each seed
        draw = int(np.random.SeedSequence((seed, len(sizes))).generate_state(1)[0])
        chosen = _chosen(features, trial, labelled, answers[: len(trial.pool)], policy, count, draw)
        labelled = np.concatenate([labelled, chosen])


def _chosen(features: Matrix, trial: Trial, labelled: Rows, answers: Array, policy: str, count: int, seed: int) -> Rows:
    """The `count` rows of the pool whose labels a policy wants next."""
    waiting = ~np.isin(trial.pool, labelled)
    left = trial.pool[waiting]
    wanted = trial.wanted if trial.searching else None
    known = Labelled(features[labelled], trial.labels[labelled].tolist(), trial.classes, wanted, trial.preference)
    pool = Waiting(len(left), lambda places: features[left[places]], answers[waiting])
    return left[rank(policy, pool, known, batch=count, seed=seed).best(count)]


def _aligned(prior: Prior, features: Matrix, trial: Trial) -> AlignedPrior:
    """The prior for the set's features, the test half's too: no label is used."""
    if trial.preference:
        raise LabelError(
            "A replay that looks for one rare class has no prior from simulated classes.", "Leave them out."
        )
    wide = np.asarray(features, dtype=np.float64)
    return AlignedPrior(prior, wide.mean(axis=0), feature_scale(wide))


def _answers(
    features: Matrix,
    trial: Trial,
    labelled: Rows,
    asked: Rows,
    seed: int,
    model: FitPredict | None,
    prior: AlignedPrior | None,
) -> Array:
    """Probabilities of the rows asked for, in the order of the trial's classes."""
    known = [str(label) for label in trial.labels[labelled]]
    if model is not None:
        if len(set(known)) < len(trial.classes):
            return np.full((len(asked), len(trial.classes)), 1 / len(trial.classes))
        # it answers in the order of the sorted classes
        return model(labelled, known, asked)[:, [sorted(trial.classes).index(name) for name in trial.classes]]
    if trial.preference:
        background = features[np.setdiff1d(trial.pool, labelled)]
        return PreferenceHead.fit(
            features[labelled], known, seed=seed, classes=trial.classes, background=background
        ).predict(features[asked])
    head = ClassificationHead.fit(features[labelled], known, seed=seed, classes=trial.classes, prior=prior)
    return head.predict(features[asked])


def _measured(trial: Trial, answers: Array, labelled: Rows) -> dict[str, float]:
    """Macro AUC and average precision of the test half, and search measures of the whole pool, labelled ones included.

    Average precision is that of the class looked for; with more than two classes, the mean over classes.
    """
    pool, test = answers[: len(trial.pool)], answers[len(trial.pool) :]
    truth, wanted = trial.labels[trial.test], trial.classes[trial.wanted]
    judged = (wanted,) if len(trial.classes) == 2 else trial.classes
    ap = [average_precision_score(truth == name, test[:, trial.classes.index(name)]) for name in judged]
    return {
        "auc": classification_metrics([str(one) for one in truth], test, trial.classes)["auc"],
        "ap": float(np.mean(ap)),
        **search_measures(pool[:, trial.wanted], trial.labels[trial.pool] == wanted),
        "found": float(np.count_nonzero(trial.labels[labelled] == wanted)),
    }
