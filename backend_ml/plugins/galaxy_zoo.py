"""Campaigns of a tree of questions, each answered by several people, whose answers are kept as counts.

`GalaxyZoo` is the tree of GZ DECaLS (Walmsley et al. 2022, arXiv:2102.08414, figure 1). Any other is a class derived
from `VoteKind` and a label config; see docs/howto/vote-trees.md. For all that knows of one question alone a campaign's
classes are the answers to the first.
"""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from backend_ml.acquisition.policy import fitting
from backend_ml.acquisition.uncertainty import entropy, margin
from backend_ml.acquisition.votes import question_information, tree_information
from backend_ml.kinds.answers import percent
from backend_ml.kinds.evaluation import Evaluation, Measure
from backend_ml.kinds.kind import Labels, Opinion, Options, Report, picture_row, refuse_detector
from backend_ml.kinds.models import Answers, Model, Predict, Quantity, Stamp, Stores, Weights, head_of
from backend_ml.kinds.results import ResultKind
from backend_ml.label_studio.regions.choices import CONTROLS, LabelConfigError, Region, choice_hints, note_result
from backend_ml.label_studio.regions.trees import TreeControls, find_tree, given_answers, path_regions
from backend_ml.labels import set_aside
from backend_ml.plugins.choices import OURS
from backend_ml.store.database import Connection, query
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign, CampaignError, ModelVersion
from lvm_training.errors import CheckpointError
from lvm_training.galaxy_zoo.vote_table import VoteTable, read_vote_table
from lvm_training.galaxy_zoo.vote_tree import VoteError, VoteTree
from lvm_training.heads.dirichlet import DirichletHead, errors, expected
from lvm_training.tables.cells import Missing
from lvm_training.tables.snapshot import Snapshot

FEWEST = 10  # galaxies with votes from which on a head is fitted


class VoteAnswers(Answers):
    """What people will answer to each question, by the concentrations (N, A) of the fractions of each answer.

    Parameters
    ----------
    concentrations : ndarray (N, A)
    tree : VoteTree
    classes : tuple of str
        The answers to the first question, as the campaign orders them.
    shown : mapping of str to str
        What people choose, by answer, as `question_answer`.
    """

    has_heat = True
    probabilities: NDArray[np.float64]
    information: NDArray[np.float64]

    def __init__(
        self,
        concentrations: NDArray[np.float64],
        tree: VoteTree,
        classes: tuple[str, ...],
        shown: Mapping[str, str],
    ) -> None:
        self.tree, self._shown, self.classes = tree, shown, classes
        self._concentrations = concentrations
        self.fractions, self.errors = expected(concentrations, tree), errors(concentrations, tree)
        self.probabilities = of_first(self.fractions, tree, classes)
        self.information = tree_information(concentrations, tree)
        self.quantities = np.concatenate([self.fractions, self.errors], axis=1)

    def result(self, index: int, label_config: str) -> list[Region]:
        """The most common answer to the first question and to each that it leads to."""
        regions = path_regions(find_tree(label_config), self._path(index), self._by_key(index))
        return [*regions, *note_result(label_config, self._note(index))] if regions else []

    def _note(self, index: int) -> str:
        shares = self._by_key(index)
        said = [f"{self._answer(name, one)} {percent(shares[f'{name}_{one}'])}" for name, one in self._path(index)]
        whole = float(np.prod([shares[f"{name}_{one}"] for name, one in self._path(index)]))
        return f"Model, of those asked: {', '.join(said)}. {percent(whole)} would give all these answers."

    def scores(self, index: int) -> dict[str, float]:
        """Expected fraction of each answer to the questions along the most common path."""
        shares, names = self._by_key(index), [name for name, _ in self._path(index)]
        asked = [question for question in self.tree.questions if question.name in names]
        return {
            f"{question.name}: {answer}": shares[key]
            for question in asked
            for key, answer in zip(question.keys, question.answers, strict=True)
        }

    def words(self, index: int) -> str:
        """As `Answers.words`: question by question, and which of them is most open."""
        shares, errs = self._by_key(index), dict(zip(self.tree.keys, self.errors[index].tolist(), strict=True))
        said = [
            f"{name}: {self._answer(name, one)} ({shares[key]:.0%} ± {errs[key]:.0%} of those asked)"
            for name, one in self._path(index)
            for key in [f"{name}_{one}"]
        ]
        told = question_information(self._concentrations[index : index + 1], self.tree)[0]
        told *= self.tree.reached(self.fractions[index : index + 1])[0]
        most = self.tree.questions[int(told.argmax())].name
        return f"The model says: {'; '.join(said)}. Another person's answer would tell most about {most}."

    def heat_words(self, index: int) -> str:
        """As `Answers.heat_words`."""
        best = self._answer(self.tree.root.name, self.classes[int(self.probabilities[index].argmax())])
        return f"Where the picture speaks for “{best}” (orange) or against it (blue), in the first question."

    def measures(self, index: int) -> dict[str, float]:
        """As `Answers.measures`; all but the information are of the first question."""
        p = self.probabilities[index : index + 1]
        found = {"margin": float(margin(p)[0]), "entropy": float(entropy(p)[0]), "probability": float(p[0].max())}
        return {"information": float(self.information[index]), **found}

    def _path(self, index: int) -> list[tuple[str, str]]:
        return self.tree.likely(self.fractions[index])

    def _by_key(self, index: int) -> dict[str, float]:
        return dict(zip(self.tree.keys, self.fractions[index].tolist(), strict=True))

    def _answer(self, question: str, answer: str) -> str:
        return self._shown.get(f"{question}_{answer}", answer)


def of_first(fractions: NDArray[np.float64], tree: VoteTree, classes: Sequence[str]) -> NDArray[np.float64]:
    """The fractions (N, C) of the answers to the first question, in the order of `classes`."""
    return np.asarray(fractions[:, [tree.keys.index(f"{tree.root.name}_{name}") for name in classes]])


class VoteModel(Model):
    """A head of votes on the campaign's features."""

    def __init__(self, head: DirichletHead, features: FeatureStore, campaign: Campaign, controls: TreeControls) -> None:
        self.head, self._features, self._classes, self._controls = head, features, campaign.classes, controls

    def check(self, stamp: Stamp) -> None:
        """As `Model.check`."""
        self._features.rows([stamp])

    def answer(self, stamps: Sequence[Stamp]) -> VoteAnswers:
        """As `Model.answer`."""
        concentrations = self.head.concentrations(self._features.rows(stamps))
        return VoteAnswers(concentrations, self.head.tree, self._classes, self._controls.shown)

    @property
    def from_features(self) -> Predict:
        """As `Model.from_features`: fractions of the answers to the first question."""
        return lambda features: of_first(self.head.predict(features), self.head.tree, self._classes)

    @property
    def information(self) -> Predict:
        """As `Model.information`."""
        return lambda features: tree_information(self.head.concentrations(features), self.head.tree)

    @cached_property
    def quantities(self) -> tuple[Quantity, ...]:
        """As `Model.quantities`: the expected fraction of each answer, and its error."""
        about = {
            "frac": "Expected fraction of the votes on its question",
            "err_frac": "Standard error of that fraction",
        }
        ucds = {"frac": "stat.mean", "err_frac": "stat.error"}
        return tuple(
            Quantity(prefix, key, f"{words}: {key}", ucd=ucds[prefix])
            for prefix, words in about.items()
            for key in self.head.tree.keys
        )


class VoteKind(ResultKind[VoteTable, VoteModel]):
    """A tree of questions by the nested `Choices` of a label config.

    Attributes
    ----------
    question : str
        What people are told first, as HTML.
    """

    policies = ("information", *fitting(boxes=False, searching=False))
    overlap = 3
    takes_columns = True
    rows = "vote_results"
    blind = "blind"
    needed = f"votes on {FEWEST} galaxies, outside the audit slice"
    limits: ClassVar[tuple[str, ...]] = (
        "It says which fraction of people would give each answer, not what a galaxy is: a fraction of .6 is no"
        " probability of .6.",
        "Questions that few people came to are known least; their fractions have the largest errors.",
    )
    question: ClassVar[str] = "Answer the questions about the galaxy <b>in the centre</b>, one after the other"

    def offered(self, label_config: str) -> tuple[str, ...]:
        """As `Kind.offered`: the answers to the first question.

        Raises
        ------
        LabelConfigError
            Also if other questions offer them too, where nothing else says which question a label is of.
        """
        tree = find_tree(label_config).tree
        others = {answer for question in tree.questions[1:] for answer in question.answers}
        twice = sorted(others & set(tree.root.answers))
        if twice and CONTROLS.get(self.name) != tree.root.name:
            raise LabelConfigError(
                f"{', '.join(twice)} answers the first question, {tree.root.name!r}, and another one.",
                'Give one of them another name: <Choice value="yes" alias="bar"/>.',
            )
        return tree.root.answers

    def instruction(self, label_config: str, examples: Mapping[str, Sequence[str]]) -> str:
        """As `Kind.instruction`: each question, after which answer it is asked, and what its keys stand for."""
        controls, hints = find_tree(label_config), choice_hints(label_config)
        sections = []
        for question in controls.tree.questions:
            after = " or ".join(html.escape(controls.shown[key]) for key in question.after)
            lines = []
            for key, answer in zip(question.keys, question.answers, strict=True):
                hint = hints.get(controls.shown[key], "")
                said = f"<li><b>{html.escape(controls.shown[key])}</b>{': ' if hint else ''}{html.escape(hint)}</li>"
                first = question is controls.tree.root
                lines.append(said + (picture_row(answer, examples.get(answer, ())) if first else ""))
            title = f"<p><b>{html.escape(controls.asked[question.name])}</b>{f' (after {after})' if after else ''}</p>"
            sections.append(f"{title}<ul>{''.join(lines)}</ul>")
        return (
            f"<p>{self.question}; the next ones open as you answer. The key in brackets behind an answer chooses it;"
            " Ctrl+Enter submits. Where the model's own answers are filled in and right, Ctrl+Enter is enough; mend"
            " what you see differently: other people are asked as well, and how many say what is what counts. Some"
            f" galaxies are shown without an answer on purpose.</p>{''.join(sections)}"
        )

    def check(self, options: Options) -> None:
        """As `Kind.check`."""
        refuse_detector(options, "votes")
        if options.labels is not None and not isinstance(options.labels, VoteTable):
            raise CampaignError(
                "A campaign of votes cannot start from one label a galaxy.",
                "Give a vote table: --labels TABLE with columns such as smooth-or-featured_smooth.",
            )

    def starting(self, path: Path, stamps: Path, label_config: str, missing: Missing | None) -> VoteTable:
        """As `Kind.starting`: a vote table of Galaxy Zoo, matched with the stamps by name or position."""
        return read_vote_table(path, stamps, find_tree(label_config).tree, missing=missing)

    def labels_of(
        self, rows: Sequence[Mapping[str, Any]], campaign: Campaign, first: ModelVersion | None
    ) -> Labels[VoteTable]:
        """As `ResultKind.labels_of`: a vote of each person of each stamp, on the questions of their path."""
        tree = self._tree(campaign)
        kept: dict[bool, dict[Stamp, NDArray[np.float64]]] = {True: {}, False: {}}
        odd = list[tuple[int, int, str]]()
        for row in rows:
            said = _said(row, tree)
            if said.why and row["annotation_id"] is not None:
                odd.append((row["annotation_id"], row["task_id"], said.why))
            if said.vote.any() and (row["audited"] or not row["blind"]):
                votes = kept[row["audited"]]
                votes[said.stamp] = votes.get(said.stamp, 0) + said.vote
        return Labels(0, _table(tree, kept[False]), _table(tree, kept[True]), odd=tuple(odd))

    def compared(self, connection: Connection, campaign: Campaign) -> Snapshot:
        """As `Kind.compared`: by the answer that most people gave to the first question."""
        votes = self.read(connection, campaign).training
        return Snapshot([name for name, _ in votes.stamps], [row for _, row in votes.stamps], votes.first)

    def opinions(self, connection: Connection, campaign: Campaign) -> Mapping[str, Sequence[Opinion]]:
        """As `Kind.opinions`: what each person answered to the questions of their path."""
        tree = self._tree(campaign)
        found: dict[str, list[Opinion]] = {question.name: [] for question in tree.questions}
        for row in query(connection, self.rows, campaign=campaign.id):
            if row["annotator"] is not None:
                said = _said(row, tree)
                for name, answer in said.given.items():
                    found[name].append((said.stamp, row["annotator"], answer))
        return found

    def fits(self, labels: Labels[VoteTable], campaign: Campaign, *, seen: bool) -> bool:
        """As `Kind.fits`."""
        return len(labels.training) >= FEWEST

    def fit(self, labels: Labels[VoteTable], stores: Stores, seed: int, report: Report) -> Weights | None:
        """As `Kind.fit`."""
        votes = labels.training
        if not self.fits(labels, stores.campaign, seen=stores.seen):
            return None
        report("fitting", 0, 1)
        features = stores.features.rows(self.stamps(votes))
        return Weights(head=DirichletHead.fit(features, votes.counts, votes.tree, seed=seed).save())

    def load(self, version: ModelVersion, stores: Stores) -> VoteModel:
        """As `Kind.load`."""
        controls = find_tree(stores.campaign.label_config or self.label_config())
        head = DirichletHead.load(head_of(version))
        if head.tree.digest != controls.tree.digest:
            raise CheckpointError(
                f"The version {version.version} answers another version of the tree.", "Let the campaign learn again."
            )
        return VoteModel(head, stores.features, stores.campaign, controls)

    def right(self, model: VoteModel, labels: VoteTable) -> NDArray[np.float64]:
        """As `Kind.right`: of the questions that most people came to, the share whose commonest answer is the model's.

        Answers, not the likelihood of the votes: a leader reads a share of questions that are right, and a head that
        only became less sure of the same answers, with overlaps of two or three, is not held back for it. Where several
        answers are most common any of them is right.
        """
        return _shares_right(labels, _ordered(model.answer(self.stamps(labels)), labels.tree))

    def evaluate(self, model: VoteModel, labels: VoteTable) -> Evaluation:
        """As `Kind.evaluate`: the first question's answers as classes, and figures of each question.

        Fractions of people are no probabilities of what most of them say, so none are given.
        """
        fractions, classes = _ordered(model.answer(self.stamps(labels)), labels.tree), labels.tree.root.answers
        first = [classes[place] for place in fractions[:, labels.tree.slices[0]].argmax(axis=1).tolist()]
        measures = _by_question(labels, fractions)
        return Evaluation(_shares_right(labels, fractions), tuple(labels.first), tuple(first), classes, None, measures)

    def stamps(self, labels: VoteTable) -> list[Stamp]:
        """As `Kind.stamps`."""
        return list(labels.stamps)

    def export(
        self, labels: Labels[VoteTable], campaign: Campaign, sets: Mapping[str, Path], *, training: bool
    ) -> VoteTable:
        """As `Kind.export`."""
        chosen = [labels.training] if training else [labels.training, labels.audit]
        both = {stamp: row for one in chosen for stamp, row in zip(one.stamps, one.counts, strict=True)}
        return _table(labels.training.tree, both)

    def _tree(self, campaign: Campaign) -> VoteTree:
        return find_tree(campaign.label_config or self.label_config()).tree


@dataclass(frozen=True, eq=False)
class _Said:
    """What a row of `vote_results` says: a vote (A,) and one person's answers, or `why` it says nothing."""

    stamp: Stamp
    vote: NDArray[np.float64]
    given: Mapping[str, str] = field(default_factory=dict)
    why: str = ""


def _said(row: Mapping[str, Any], tree: VoteTree) -> _Said:
    stamp = (row["stamp_set"], row["stamp_id"])
    try:
        result = json.loads(row["result"])
        if row["annotation_id"] is None:
            return _Said(stamp, _started(result, tree))
        given = given_answers(result, tree)
        return _Said(stamp, tree.vote(given), given)
    except Exception as error:
        # whatever is wrong with one annotation, the others count
        return _Said(stamp, np.zeros(len(tree.keys)), why=set_aside.reason(error))


def _started(counts: Mapping[str, int], tree: VoteTree) -> NDArray[np.float64]:
    """The votes (A,) that a campaign started from."""
    foreign = sorted(set(counts) - set(tree.keys))
    if foreign:
        raise VoteError(f"The tree has no answer {foreign[0]!r}.", "These votes are of another version of it.")
    return np.array([float(counts.get(key, 0)) for key in tree.keys])


def _table(tree: VoteTree, votes: Mapping[Stamp, NDArray[np.float64]]) -> VoteTable:
    ordered = sorted(votes)
    return VoteTable(tree, ordered, np.array([votes[one] for one in ordered]).reshape(-1, len(tree.keys)))


def _ordered(answers: VoteAnswers, tree: VoteTree) -> NDArray[np.float64]:
    """The fractions (N, A) in the order of a tree: its label config may be in another one since the head was fitted."""
    return np.asarray(answers.fractions[:, [answers.tree.keys.index(key) for key in tree.keys]])


def _questions_right(labels: VoteTable, fractions: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The questions that most people came to (N, Q), and those whose commonest answer is the model's (N, Q)."""
    asked, rows = labels.tree.asked(labels.counts), np.arange(len(labels))
    right = np.zeros(asked.shape, dtype=np.bool_)
    for place, columns in enumerate(labels.tree.slices):
        counts = labels.counts[:, columns]
        right[:, place] = counts[rows, fractions[:, columns].argmax(axis=1)] == counts.max(axis=1)
    return 2 * asked > asked[:, :1], right


def _shares_right(labels: VoteTable, fractions: NDArray[np.float64]) -> NDArray[np.float64]:
    """As `VoteKind.right`; a galaxy of which most people came to no question is right."""
    came, right = _questions_right(labels, fractions)
    n = came.sum(axis=1)
    return np.where(n > 0, (came & right).sum(axis=1) / np.maximum(n, 1), 1.0)


def _by_question(labels: VoteTable, fractions: NDArray[np.float64]) -> list[Measure]:
    """Of each question that most people came to: how often the commonest answer is the model's; mean error."""
    (came, right), given = _questions_right(labels, fractions), labels.tree.fractions(labels.counts)
    found = []
    for place, (question, columns) in enumerate(zip(labels.tree.questions, labels.tree.slices, strict=True)):
        these = came[:, place]
        n = int(these.sum())
        if n:
            share = float(right[these, place].mean())
            off = float(np.abs(fractions[these, columns] - given[these, columns]).mean())
            found.append(Measure(question.name, "commonest answer right", share, n, is_share=True))
            found.append(Measure(question.name, "mean error of fractions", off, n))
    return found


class GalaxyZoo(VoteKind):
    """The decision tree of Galaxy Zoo DECaLS."""

    name = "galaxy_zoo"
    folder = OURS
