"""A label config of nested questions as a tree, and its answers to Label Studio's regions and back.

A question is a `Choices`; it is asked after answers of another one where it, or a `View` that it stands in, says
`visibleWhen="choice-selected" whenTagName="..." whenChoiceValue="..."`. Results state an alias in place of a value, so
answers are called by it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from xml.etree import ElementTree

from backend_ml.label_studio.regions.choices import (
    ChoiceError,
    LabelConfigError,
    Region,
    asks_for_one,
    leaves,
    parsed_config,
    stated_choice,
)
from lvm_training.galaxy_zoo.trees import Question
from lvm_training.galaxy_zoo.vote_tree import TreeError, VoteError, VoteTree, check_names

SELECTED = "choice-selected"


@dataclass(frozen=True, eq=False)
class TreeControls:
    """The questions of a label config.

    Attributes
    ----------
    tree : VoteTree
    to_name : str
        The image that is asked about.
    asked : mapping of str to str
        What people read above each question, by its name.
    shown : mapping of str to str
        What they choose, by answer, as `question_answer`.
    """

    tree: VoteTree
    to_name: str
    asked: Mapping[str, str]
    shown: Mapping[str, str]


@lru_cache(maxsize=64)
def find_tree(label_config: str) -> TreeControls:
    """The tree of all `Choices` on the first `Image` of a label config.

    Raises
    ------
    LabelConfigError
        If it is no XML, or its questions are no tree; the message says which of them is wrong.
    """
    root = parsed_config(label_config, "Mend the label config.")
    image = next((tag.get("name") or "" for tag in root.iter("Image")), None)
    above = {child: parent for parent in root.iter() for child in parent}
    tags = [tag for tag in root.iter("Choices") if image is not None and tag.get("toName") == image]
    if image is None or not tags:
        raise LabelConfigError(
            "The label config asks nothing of an <Image>.", "Add <Choices> with toName of the image."
        )
    several = [tag.get("name") for tag in tags if not asks_for_one(tag) or tag.get("allowNested") == "true"]
    if several:
        raise LabelConfigError(
            f"The question {several[0]!r} takes several answers, nests them, or is asked of regions.",
            'Each question of a tree has one answer: choice="single-radio".',
        )
    names = [tag.get("name") or "" for tag in tags]
    answers = {name: _answers(tag) for name, tag in zip(names, tags, strict=True)}
    try:
        check_names(names)
        after = [_after(tag, above, answers) for tag in tags]
        tree = VoteTree([Question(name, tuple(answers[name]), led) for name, led in zip(names, after, strict=True)])
    except TreeError as error:
        raise LabelConfigError(error.message, error.hint) from error
    asked = {name: _header(tag, above) for name, tag in zip(names, tags, strict=True)}
    shown = {f"{name}_{one}": words for name, known in answers.items() for one, words in known.items()}
    return TreeControls(tree, image, asked, shown)


def _answers(tag: ElementTree.Element) -> dict[str, str]:
    """What people read of each answer, by its name."""
    found = dict[str, str]()
    for (name,), choice in leaves(tag, (), nested=False):
        if name in found:
            raise LabelConfigError(
                f"The question {tag.get('name')!r} offers the answer {name!r} twice.",
                "Give each another value or alias.",
            )
        found[name] = choice.get("value") or choice.text or ""
    return found


def _after(
    tag: ElementTree.Element,
    above: Mapping[ElementTree.Element, ElementTree.Element],
    answers: Mapping[str, Mapping[str, str]],
) -> tuple[str, ...]:
    """The answers, `question_answer`, after which a question is shown: the innermost condition counts."""
    here: ElementTree.Element | None = tag
    while here is not None and here.get("visibleWhen") is None:
        here = above.get(here)
    if here is None:
        return ()
    name, parent = tag.get("name"), here.get("whenTagName") or ""
    if here.get("visibleWhen") != SELECTED or not parent:
        raise LabelConfigError(
            f"It is not said after which question {name!r} is asked.",
            f'Write visibleWhen="{SELECTED}" whenTagName="QUESTION" whenChoiceValue="ANSWER".',
        )
    if parent not in answers:
        raise LabelConfigError(
            f"Nothing leads to the question {name!r}: there is no question {parent!r}.",
            f"whenTagName is one of {', '.join(answers)}.",
        )
    wanted = [one.strip() for one in (here.get("whenChoiceValue") or "").split(",") if one.strip()]
    for one in wanted:
        if one not in answers[parent] and one not in answers[parent].values():
            raise LabelConfigError(
                f"Nothing leads to the question {name!r}: {parent!r} has no answer {one!r}.",
                f"whenChoiceValue is of {', '.join(answers[parent])}.",
            )
    leading = [one for one, shown in answers[parent].items() if not wanted or one in wanted or shown in wanted]
    return tuple(f"{parent}_{one}" for one in leading)


def _header(tag: ElementTree.Element, above: Mapping[ElementTree.Element, ElementTree.Element]) -> str:
    """The words of the header before a question, else its name."""
    beside = list(above.get(tag, ()))
    headers = [one for one in beside[: beside.index(tag)] if one.tag == "Header"] if beside else []
    return (headers[-1].get("value") or "" if headers else "") or (tag.get("name") or "").replace("-", " ")


def given_answers(result: Sequence[Mapping[str, Any]], tree: VoteTree) -> dict[str, str]:
    """The answers that an annotation's result states, by question; those of tags that are no questions are left out.

    Raises
    ------
    ChoiceError
        If a region has no list of one text, or a question is answered twice.
    """
    names = {question.name for question in tree.questions}
    found = dict[str, str]()
    for region in result:
        name = region.get("from_name")
        if name not in names or region.get("type") != "choices":
            continue
        choice = stated_choice(region)
        if choice is not None and found.setdefault(str(name), choice) != choice:
            raise ChoiceError(f"{name!r} is answered {found[str(name)]!r} and {choice!r}.", "Leave one of them.")
    return found


def path_regions(
    controls: TreeControls, path: Sequence[tuple[str, str]], probabilities: Mapping[str, float]
) -> list[Region]:
    """A path as regions, of each answer that the label config still offers up to the first that it does not.

    Parameters
    ----------
    path : sequence of (str, str)
        Questions and answers.
    probabilities : mapping of str to float
        Of answers, `question_answer`, in [0, 1]; each becomes its region's score.
    """
    offered = {question.name: question.answers for question in controls.tree.questions}
    kept = [(name, answer) for name, answer in path if answer in offered.get(name, ())]
    try:
        controls.tree.vote(dict(kept))
    except VoteError:
        return []
    return [
        {
            "id": name,
            "from_name": name,
            "to_name": controls.to_name,
            "type": "choices",
            "value": {"choices": [answer]},
            "score": round(float(probabilities[f"{name}_{answer}"]), 6),
        }
        for name, answer in kept
    ]
