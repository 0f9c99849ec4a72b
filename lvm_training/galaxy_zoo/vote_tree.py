"""A decision tree of questions as a thing to count votes in: which answer leads where, and what one person answered.

Any tree will do; those of Galaxy Zoo are `trees.TREES`. Everything is in arrays whose A columns are the answers of all
questions in order, named `question_answer` as vote tables name them.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import GalaxyLoopError
from lvm_training.galaxy_zoo.trees import Question

Floats = NDArray[np.float64]


class TreeError(GalaxyLoopError):
    """Questions that make no tree."""

    code = "tree"


class VoteError(GalaxyLoopError):
    """Answers that contradict the tree, or votes that nobody can have given."""

    code = "votes"


class VoteTree:
    """Questions, each asked first of all or after some answers of one other question.

    Parameters
    ----------
    questions : sequence of Question
        In any order; one is asked first of all.

    Attributes
    ----------
    questions : tuple of Question
        Each behind the one that leads to it, else as given.
    keys : tuple of str
        All A answers, `question_answer`.

    Raises
    ------
    TreeError
        If they are no tree.
    """

    def __init__(self, questions: Sequence[Question]) -> None:
        check_names([one.name for one in questions])
        _check_answers(questions)
        self._parent = {one.name: _parent(one, questions) for one in questions}
        self.questions = _ordered(questions, self._parent)
        self.keys = tuple(key for question in self.questions for key in question.keys)
        repeated = [key for key, count in Counter(self.keys).items() if count > 1]
        if repeated:
            raise TreeError(
                f"{repeated[0]!r} would be the name of two answers.", "Give a question or an answer another name."
            )

    @property
    def root(self) -> Question:
        """The question that is asked first."""
        return self.questions[0]

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """The columns of each question's answers."""
        ends = np.cumsum([len(question.answers) for question in self.questions]).tolist()
        return tuple(slice(end - len(one.answers), end) for end, one in zip(ends, self.questions, strict=True))

    @cached_property
    def digest(self) -> str:
        """Tells trees apart: by questions, answers and what leads where, not by their order."""
        text = json.dumps(sorted([one.name, sorted(one.answers), sorted(one.after)] for one in self.questions))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def question(self, name: str) -> Question:
        """The question of a name.

        Raises
        ------
        VoteError
            If there is none.
        """
        found = next((one for one in self.questions if one.name == name), None)
        if found is None:
            raise VoteError(f"The tree has no question {name!r}.", f"It asks {', '.join(self._parent)}.")
        return found

    def path(self, given: Mapping[str, str]) -> list[tuple[str, str]]:
        """Question and answer along the path that answers take; it ends where one was left out."""
        found = list[tuple[str, str]]()
        reached = set[str]()
        for question in self.questions:
            if question.name in given and (not question.after or reached & set(question.after)):
                found.append((question.name, given[question.name]))
                reached.add(f"{question.name}_{given[question.name]}")
        return found

    def vote(self, given: Mapping[str, str]) -> Floats:
        """One person's answers, by question, as a vote (A,) of ones and zeros.

        Raises
        ------
        VoteError
            If a question or an answer is none of the tree's, or a question is answered that the path does not reach.
        """
        for name, answer in given.items():
            if answer not in self.question(name).answers:
                raise VoteError(
                    f"{answer!r} is no answer to {name!r}.", f"Answers are {', '.join(self.question(name).answers)}."
                )
        path = self.path(given)
        beside = [name for name in given if name not in dict(path)]
        if beside:
            question = self.question(beside[0])
            said = ", ".join(f"{name} {answer}" for name, answer in path) or f"nothing to {self.root.name!r}"
            raise VoteError(
                f"It answers {question.name!r}, which is asked after {' or '.join(question.after)}, but says {said}.",
                "Answer anew from the first question on.",
            )
        return np.isin(self.keys, [f"{name}_{answer}" for name, answer in path]).astype(np.float64)

    def reached(self, fractions: Floats) -> Floats:
        """Probability (N, Q) that a person comes to each question, by the fractions (N, A) of its answers.

        Answers of one person to different questions are taken as independent given the galaxy, as in Walmsley et al.
        2022, section 4.2.
        """
        found = np.ones((len(fractions), len(self.questions)))
        for place, question in enumerate(self.questions):
            if question.after:
                columns = [self.keys.index(key) for key in question.after]
                before = found[:, self._place(question)]
                # nobody comes further than to where nobody was asked, whose fractions are unknown
                found[:, place] = np.where(before > 0, before * fractions[:, columns].sum(axis=1), before)
        return found

    def likely(self, fractions: Floats) -> list[tuple[str, str]]:
        """The most common answer to the first question, and to each that it leads to, by fractions (A,) of answers.

        The path of largest probability would be another one: where an answer leads to many questions each of its
        paths is improbable, however sure that answer is.
        """
        best = {
            question.name: question.answers[int(np.argmax(fractions[columns]))]
            for question, columns in zip(self.questions, self.slices, strict=True)
        }
        return self.path(best)

    def fractions(self, counts: Floats) -> Floats:
        """Fractions (N, A) of the votes that each question had, by counts (N, A); NaN where nobody was asked."""
        found = np.full(counts.shape, np.nan)
        for columns, asked in zip(self.slices, self.asked(counts).T, strict=True):
            np.divide(counts[:, columns], asked[:, None], out=found[:, columns], where=asked[:, None] > 0)
        return found

    def asked(self, counts: Floats) -> Floats:
        """How many answered each question (N, Q), by counts (N, A)."""
        return np.stack([counts[:, columns].sum(axis=1) for columns in self.slices], axis=1)

    def check(self, counts: Floats) -> None:
        """Look whether people can have given such counts (N, A).

        Raises
        ------
        VoteError
            If counts are not whole or not finite, negative, or a question has more votes than what leads to it.
        """
        odd = ~np.isfinite(counts) | (counts < 0) | (counts != np.round(counts))
        if odd.any():
            row, column = (int(one) for one in np.argwhere(odd)[0])
            raise VoteError(
                f"{int(odd.sum())} counts are no numbers of votes; the first is {counts[row, column]:g} votes for"
                f" {self.keys[column]} in row {row}.",
                "Votes are whole numbers from 0: give counts, not fractions.",
            )
        asked = self.asked(counts)
        for place, question in enumerate(self.questions):
            if not question.after:
                continue
            led = counts[:, [self.keys.index(key) for key in question.after]].sum(axis=1)
            if (many := asked[:, place] > led).any():
                row = int(np.flatnonzero(many)[0])
                raise VoteError(
                    f"{int(many.sum())} galaxies have more votes on {question.name} than people who came to it; in row"
                    f" {row} {asked[row, place]:g} of {led[row]:g}.",
                    "The table may be of another version of the tree, or its votes are weighted.",
                )

    def _place(self, question: Question) -> int:
        """The place of the question that leads to one."""
        return [one.name for one in self.questions].index(self._parent[question.name])

    @classmethod
    def of(cls, text: str) -> Self:
        """The tree whose `text` it is."""
        return cls([Question(name, tuple(answers), tuple(after)) for name, answers, after in json.loads(text)])

    @property
    def text(self) -> str:
        """The tree as JSON, for `of`."""
        return json.dumps([[one.name, one.answers, one.after] for one in self.questions], ensure_ascii=False)


def check_names(names: Sequence[str]) -> None:
    """Raise a TreeError unless there is a question, and each has a name of its own."""
    if not names:
        raise TreeError("There is no question.", "A tree has one at least.")
    for name, count in Counter(names).items():
        if count > 1 or not name:
            raise TreeError(f"{count} questions are called {name!r}.", "Give each a name of its own.")


def _check_answers(questions: Sequence[Question]) -> None:
    for question in questions:
        twice = [answer for answer, count in Counter(question.answers).items() if count > 1 or not answer]
        if twice:
            raise TreeError(
                f"The question {question.name!r} offers the answer {twice[0]!r} twice, or without a name.",
                "Give each answer a name of its own.",
            )
        if len(question.answers) < 2:
            raise TreeError(
                f"The question {question.name!r} has {len(question.answers)} answers.", "A question has two at least."
            )


def _parent(question: Question, questions: Sequence[Question]) -> str:
    """The name of the question whose answers lead to one; "" of the first."""
    owners = {key: one.name for one in questions for key in one.keys}
    unknown = [key for key in question.after if key not in owners]
    if unknown:
        raise TreeError(
            f"Nothing leads to the question {question.name!r}: there is no answer {unknown[0]!r}.",
            "It is asked after answers of another question, by name.",
        )
    parents = sorted({owners[key] for key in question.after})
    if len(parents) > 1:
        raise TreeError(
            f"The question {question.name!r} is asked after answers of {' and of '.join(parents)}.",
            "In a tree one question leads to another: ask it twice, under two names.",
        )
    return parents[0] if parents else ""


def _ordered(questions: Sequence[Question], parent: Mapping[str, str]) -> tuple[Question, ...]:
    roots = [one.name for one in questions if not parent[one.name]]
    if len(roots) > 1:
        raise TreeError(
            f"{', '.join(roots)} are all asked first of all.", "One question begins; say after which answer others are."
        )
    done, left = list[Question](), list(questions)
    while ready := [one for one in left if parent[one.name] in {"", *(other.name for other in done)}]:
        done.append(ready[0])
        left.remove(ready[0])
    if left:
        raise TreeError(
            f"The questions {', '.join(one.name for one in left)} lead to each other in a circle.",
            "Say after which answer of a question above them they are asked.",
        )
    return tuple(done)
