"""Label configs of nested questions as trees."""

import pytest

from backend_ml.label_studio.regions.choices import ChoiceError, LabelConfigError, with_steady_keys
from backend_ml.label_studio.regions.trees import find_tree, given_answers, path_regions
from backend_ml.plugins.choices import OURS
from lvm_training.galaxy_zoo.trees import TREES, Question

CONFIG = (OURS / "galaxy_zoo.xml").read_text()


def question(name: str, answers: str, when: str = "") -> str:
    """A question as XML; `when` is `tag=answer,answer`."""
    tag, _, values = when.partition("=")
    shown = f' visibleWhen="choice-selected" whenTagName="{tag}"' if when else ""
    shown += f' whenChoiceValue="{values}"' if values else ""
    offered = "".join(f'<Choice value="{one}"/>' for one in answers.split())
    return f'<Choices name="{name}" toName="image" choice="single-radio"{shown}>{offered}</Choices>'


def view(*parts: str) -> str:
    return f'<View><Image name="image" value="$image"/>{"".join(parts)}</View>'


def test_ours_is_the_tree_of_galaxy_zoo_decals() -> None:
    found = find_tree(CONFIG)

    def named(questions: tuple[Question, ...]) -> dict[str, tuple[tuple[str, ...], set[str]]]:
        return {one.name: (one.answers, set(one.after)) for one in questions}

    assert named(found.tree.questions) == named(TREES["GZ DECaLS"])
    assert (found.tree.root.name, found.to_name, len(found.tree.keys)) == ("smooth-or-featured", "image", 34)
    assert found.asked["bar"] == "Is there a bar through the centre?"
    assert found.shown["spiral-arm-count_cant-tell"] == "Can't tell"


def test_keys_of_ours_clash_neither_with_each_other_nor_with_those_of_label_studio() -> None:
    keys = [part.split('"')[0] for part in CONFIG.split('hotkey="')[1:]]
    assert len(keys) == len(set(keys)) == 34
    assert not set(keys) & set("uvhm"), "Label Studio's own: unselect, move, pan, auto-detect"


def test_keys_that_always_choose_are_no_answers() -> None:
    steady = with_steady_keys(CONFIG)
    assert steady != CONFIG and find_tree(steady).tree.digest == find_tree(CONFIG).tree.digest


def test_any_tree_is_read_whatever_the_order_and_whether_a_view_or_the_question_has_the_condition() -> None:
    inner = question("how many", "one two", "rings=")
    when = 'visibleWhen="choice-selected" whenTagName="kind" whenChoiceValue="disc, ring"'
    outer = f"<View {when}>{question('rings', 'yes no')}</View>"
    found = find_tree(view(inner, outer, question("kind", "disc ring blob"))).tree
    assert [one.name for one in found.questions] == ["kind", "rings", "how many"]
    assert found.questions[1].after == ("kind_disc", "kind_ring")
    assert found.questions[2].after == ("rings_yes", "rings_no"), "any answer leads there"
    assert found.keys == (
        "kind_disc",
        "kind_ring",
        "kind_blob",
        "rings_yes",
        "rings_no",
        "how many_one",
        "how many_two",
    )


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([question("a", "x y"), question("b", "x y")], "a, b are all asked first"),
        ([question("a", "x y", "b=x"), question("b", "x y", "a=x")], "lead to each other in a circle"),
        ([question("a", "x y"), question("b", "x y", "b=x")], "b lead to each other in a circle"),
        ([question("a", "x y"), question("b", "x y", "c=x")], "there is no question 'c'"),
        ([question("a", "x y"), question("b", "x y", "a=z")], "'a' has no answer 'z'"),
        ([question("a", "x x")], "offers the answer 'x' twice"),
        ([question("a", "x")], "'a' has 1 answers"),
        ([question("a", "x y"), question("a", "z w", "a=x")], "2 questions are called 'a'"),
        ([question("a", "b_c y"), question("a_b", "c d", "a=y")], "'a_b_c' would be the name of two answers"),
        (['<Choices name="a" toName="image" choice="multiple"><Choice value="x"/><Choice value="y"/></Choices>'],
         "takes several answers"),
        ([question("a", "x y"), '<Choices name="b" toName="image" visibleWhen="region-selected">'
          '<Choice value="x"/><Choice value="y"/></Choices>'], "not said after which question 'b'"),
        ([], "asks nothing of an <Image>"),
    ],
)  # fmt: skip
def test_a_broken_tree_is_refused_with_what_is_wrong(parts: list[str], message: str) -> None:
    with pytest.raises(LabelConfigError, match=message):
        find_tree(view(*parts))


def region(name: str, *answers: object, kind: str = "choices") -> dict[str, object]:
    return {"from_name": name, "to_name": "image", "type": kind, "value": {kind: list(answers)}}


def test_answers_are_read_by_question_and_the_rest_is_left_out() -> None:
    tree = find_tree(CONFIG).tree
    result = [region("smooth-or-featured", "smooth"), region("how-rounded", "round"), region("model", "x", kind="text")]
    assert given_answers([*result, region("colour", "red")], tree) == {
        "smooth-or-featured": "smooth",
        "how-rounded": "round",
    }
    assert given_answers([region("bar")], tree) == {}
    with pytest.raises(ChoiceError, match="'bar' is answered 'no' and 'weak'"):
        given_answers([region("bar", "no"), region("bar", "weak")], tree)
    with pytest.raises(ChoiceError, match="2 choices were made"):
        given_answers([region("bar", "no", "weak")], tree)
    with pytest.raises(ChoiceError, match="instead of a list of choices"):
        given_answers([region("bar", 3)], tree)


def test_a_path_becomes_regions_that_are_read_back() -> None:
    controls = find_tree(CONFIG)
    path = [("smooth-or-featured", "smooth"), ("how-rounded", "round"), ("merging", "none")]
    probabilities = dict.fromkeys(controls.tree.keys, 0.25) | {"how-rounded_round": 0.75}
    found = path_regions(controls, path, probabilities)
    assert given_answers(found, controls.tree) == dict(path)
    assert [one["score"] for one in found] == [0.25, 0.75, 0.25]


def test_a_path_whose_questions_changed_is_filled_in_as_far_as_it_goes() -> None:
    controls = find_tree(view(question("a", "x y"), question("b", "x y", "a=x")))
    probabilities = dict.fromkeys((*controls.tree.keys, "a_z", "gone_x"), 0.5)
    assert [one["from_name"] for one in path_regions(controls, [("a", "x"), ("gone", "x")], probabilities)] == ["a"]
    assert path_regions(controls, [("a", "z"), ("b", "x")], probabilities) == [], "nothing leads to b then"
