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
from backend_ml.replay.plan import Game, LabelledSet, Matrix, Plan, Rows, prepare
from lvm_training.evaluation.metrics import classification_metrics
from lvm_training.evaluation.probes import FitPredict
from lvm_training.heads.classification import ClassificationHead
from lvm_training.heads.preference import PreferenceHead
from lvm_training.progress import Progress

Array = NDArray[np.float64]


@dataclass
class Course:
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


def replay(
    data: LabelledSet, plan: Plan, *, baseline: dict[str, FitPredict] | None = None, progress: Progress | None = None
) -> dict[str, Course]:
    """Courses of the plan's policies, and of baselines that learn from random labels at the same sizes.

    Parameters
    ----------
    data : LabelledSet
    plan : Plan
    baseline : dict, optional
        By name, models as `lvm_training.evaluation.probes.few_shot_curve` takes them.
    progress : callable, optional
        Called with the courses run and their number.

    Raises
    ------
    LabelError
        As `prepare`.
    PolicyError
        If there is no policy of a name, or it needs what a replay lacks: boxes, or a class to look for.
    FeaturesError
        If features are not finite.
    """
    for name in plan.policies:
        find_policy(name)
    check_finite(data.features, "features")
    games = [prepare(data, plan, seed) for seed in range(plan.seeds)]
    _check_policies(plan.policies, searching=games[0].searching)
    courses: dict[str, Course] = {}
    models = baseline or {}
    players = [(name, name) for name in plan.policies] + [(name, "random") for name in models]
    for done, (seed, (name, policy)) in enumerate(product(range(plan.seeds), players), start=1):
        played = play(data.features, games[seed], policy, plan, seed, models.get(name))
        courses.setdefault(name, Course()).add(*played)
        if progress:
            progress(done, plan.seeds * len(players))
    return courses


def _check_policies(names: tuple[str, ...], *, searching: bool) -> None:
    lacking = {"boxes": "the boxes of a detector", "views": "masks in several views"}
    lacking |= {} if searching else {"class": "a class to look for"}
    for name in names:
        for need in find_policy(name).needs & lacking.keys():
            fit = ", ".join(fitting(boxes=False, searching=searching))
            raise PolicyError(f"The policy {name!r} needs {lacking[need]}.", f"A replay here may have: {fit}.")


def play(
    features: Matrix, game: Game, policy: str, plan: Plan, seed: int, model: FitPredict | None = None
) -> tuple[list[int], list[dict[str, float]]]:
    """Labels used, and what was measured, at each round of one policy and seed.

    Parameters
    ----------
    model : FitPredict, optional
        Learns instead of the campaign's heads.
    """
    everything = np.concatenate([game.pool, game.test])
    labelled, sizes, rounds = game.start, [], []
    while True:
        answers = _answers(features, game, labelled, everything, seed, model)
        sizes.append(len(labelled))
        rounds.append(_measured(game, answers, labelled))
        count = min(plan.batch, plan.budget - len(labelled))
        if not count:
            return sizes, rounds
        # another draw for each round of each seed
        draw = int(np.random.SeedSequence((seed, len(sizes))).generate_state(1)[0])
        chosen = _chosen(features, game, labelled, answers[: len(game.pool)], policy, count, draw)
        labelled = np.concatenate([labelled, chosen])


def _chosen(features: Matrix, game: Game, labelled: Rows, answers: Array, policy: str, count: int, seed: int) -> Rows:
    """The `count` rows of the pool whose labels a policy wants next."""
    waiting = ~np.isin(game.pool, labelled)
    left = game.pool[waiting]
    wanted = game.wanted if game.searching else None
    known = Labelled(features[labelled], game.labels[labelled].tolist(), game.classes, wanted, game.preference)
    pool = Waiting(len(left), lambda places: features[left[places]], answers[waiting])
    return left[rank(policy, pool, known, batch=count, seed=seed).best(count)]


def _answers(features: Matrix, game: Game, labelled: Rows, asked: Rows, seed: int, model: FitPredict | None) -> Array:
    """Probabilities of the rows asked for, in the order of the game's classes."""
    known = [str(label) for label in game.labels[labelled]]
    if model is not None:
        if len(set(known)) < len(game.classes):
            return np.full((len(asked), len(game.classes)), 1 / len(game.classes))
        # it answers in the order of the sorted classes
        return model(labelled, known, asked)[:, [sorted(game.classes).index(name) for name in game.classes]]
    if game.preference:
        background = features[np.setdiff1d(game.pool, labelled)]
        return PreferenceHead.fit(
            features[labelled], known, seed=seed, classes=game.classes, background=background
        ).predict(features[asked])
    return ClassificationHead.fit(features[labelled], known, seed=seed, classes=game.classes).predict(features[asked])


def _measured(game: Game, answers: Array, labelled: Rows) -> dict[str, float]:
    """Macro AUC and average precision of the test half, and search measures of the whole pool, labelled ones included.

    Average precision is that of the class looked for; with more than two classes, the mean over classes.
    """
    pool, test = answers[: len(game.pool)], answers[len(game.pool) :]
    truth, wanted = game.labels[game.test], game.classes[game.wanted]
    judged = (wanted,) if len(game.classes) == 2 else game.classes
    ap = [average_precision_score(truth == name, test[:, game.classes.index(name)]) for name in judged]
    return {
        "auc": classification_metrics([str(one) for one in truth], test, game.classes)["auc"],
        "ap": float(np.mean(ap)),
        **search_measures(pool[:, game.wanted], game.labels[game.pool] == wanted),
        "found": float(np.count_nonzero(game.labels[labelled] == wanted)),
    }
