"""Answers to regions and back, and label configs that cannot be answered."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from label_studio_sdk.label_interface import LabelInterface

from backend_ml import explore
from backend_ml.kinds.installed import find_kind
from backend_ml.label_studio.regions.choices import (
    ANY_KEY,
    ASIDE,
    CONTROLS,
    ChoiceError,
    LabelConfigError,
    choice_hints,
    choice_result,
    chosen,
    find_choices,
    needs_answer,
    only_question,
    with_steady_keys,
)

CLASSES = ("round smooth", "in-between smooth", "cigar-shaped smooth", "edge-on disc", "spiral")


def test_the_morphology_config_is_understood() -> None:
    control = find_choices(find_kind("morphology").label_config())
    assert control.classes == CLASSES
    assert control.choices == (*CLASSES, *ASIDE)


def test_label_studio_accepts_our_regions() -> None:
    config = find_kind("morphology").label_config()
    result = choice_result(find_choices(config), CLASSES, np.array([0.1, 0.1, 0.1, 0.1, 0.6]))
    prediction = {"model_version": "morphology-0", "score": 0.5, "result": result}
    assert LabelInterface(config).validate_prediction(prediction, return_errors=True) == []
    assert result[0]["score"] == 0.6
    assert chosen(result) == "spiral"


def test_other_classes_take_the_number_keys_and_keep_the_choices_aside() -> None:
    config = find_kind("morphology").label_config(["ring", "not ring"])
    assert find_choices(config).choices == ("ring", "not ring", *ASIDE)
    hotkeys = {tag.get("value"): tag.get("hotkey") for tag in ElementTree.fromstring(config).iter("Choice")}
    assert hotkeys == {"ring": "1", "not ring": "2", ASIDE[0]: "8", ASIDE[1]: "9"}


def keys(config: str) -> list[tuple[str, str]]:
    """What each key chooses, in the order in which Label Studio hears them."""
    return [
        (key, choice.get("value", ""))
        for choice in ElementTree.fromstring(config).iter("Choice")
        for key in choice.get("hotkey", "").split(",")
    ]


def test_a_search_has_the_keys_of_the_search_page_in_label_studio() -> None:
    page = (Path(explore.__file__).parent / "pages" / "explore.js").read_text()
    (there,) = re.findall(r"const LABEL_KEYS = \{(.*?)\};", page)
    heard = dict(keys(find_kind("interest").label_config()))
    wanted = dict(re.findall(r'(\w): "(\w+)"', there))
    assert {"y", "n", "u", "1", "2", "8"} <= wanted.keys() and wanted.items() <= heard.items()


@pytest.mark.parametrize("kind", ["morphology", "interest", "lenses"])
def test_each_key_clears_what_is_chosen_before_it_chooses(kind: str) -> None:
    config = find_kind(kind).label_config()
    steady = with_steady_keys(config)
    for key, choice in keys(config):
        heard = [chosen for pressed, chosen in keys(steady) if pressed == key]
        assert heard == [ANY_KEY, choice]
    assert find_choices(steady) == find_choices(config), "the hidden choices are no classes"
    assert with_steady_keys(steady) == steady
    assert needs_answer(config) and needs_answer(steady)


@pytest.mark.parametrize(
    "changed",
    [
        ('choice="single-radio"', 'choice="multiple"'),
        ('layout="vertical"', 'layout="select"'),
        ('layout="vertical"', 'layout="vertical" allowNested="true"'),
        ('hotkey="3"', ""),
        ('toName="image" choice', 'toName="image" perRegion="true" choice'),
    ],
)
def test_questions_whose_keys_are_not_the_configs_own_stay_as_they_are(changed: tuple[str, str]) -> None:
    config = find_kind("morphology").label_config().replace(*changed)
    assert with_steady_keys(config) == config


def test_what_need_not_be_answered() -> None:
    config = find_kind("lenses").label_config()
    assert not needs_answer(config.replace('required="true"', ""))


def test_hints_are_read_by_value() -> None:
    hints = choice_hints(find_kind("interest").label_config().replace('hint="Not what is looked for"', ""))
    assert hints["artefact / not a galaxy"] == "A star, a satellite trail, a broken image" and "no" not in hints


def test_a_class_with_markup_in_its_name_survives() -> None:
    name = 'a "b" <c> & d'
    assert find_choices(find_kind("morphology").label_config([name, "other"])).classes == (name, "other")


@pytest.mark.parametrize("classes", [["one"], [str(i) for i in range(8)]])
def test_too_few_or_too_many_classes(classes: list[str]) -> None:
    with pytest.raises(LabelConfigError, match="number keys"):
        find_kind("morphology").label_config(classes)


def test_a_class_the_config_no_longer_offers_is_not_shown() -> None:
    control = find_choices(find_kind("morphology").label_config(["ring", "not ring"]))
    assert choice_result(control, CLASSES, np.array([0.9, 0.1, 0, 0, 0])) == []


@pytest.mark.parametrize(
    "config",
    [
        "<View>",
        "<View>\0</View>",
        "<View>\ud800</View>",
        "<View><Image name='i' value='$i'/></View>",
        "<View><Text name='t' value='$t'/><Choices name='c' toName='t'><Choice value='a'/>"
        "<Choice value='b'/></Choices></View>",
        "<View><Image name='i' value='$i'/><Choices name='c' toName='i'><Choice value='a'/></Choices></View>",
        "<View><Image name='i' value='$i'/><Choices name='c' toName='i' choice='multiple'><Choice value='a'/>"
        "<Choice value='b'/></Choices></View>",
    ],
    ids=["no XML", "a NUL", "half a character", "no control", "on a text", "one class", "multiple choice"],
)
def test_configs_without_a_usable_control(config: str) -> None:
    with pytest.raises(LabelConfigError) as caught:
        find_choices(config)
    assert "<Choice" in caught.value.hint


@pytest.mark.parametrize(
    "result", [[], [{"type": "textarea", "value": {"text": ["x"]}}], [{"type": "choices", "value": {}}]]
)
def test_results_without_a_choice(result: list[dict[str, object]]) -> None:
    assert chosen(result) is None


SURE = "<Choices name='sure' toName='image'><Choice value='sure'/><Choice value='guess'/></Choices>"
PER_BOX = "<Choices name='box' toName='image' perRegion='true'><Choice value='blue'/><Choice value='red'/></Choices>"


# a tree has no question beside it: `tests/backend_ml/label_studio/regions/test_trees.py` has what is said then
@pytest.mark.parametrize("kind", sorted(CONTROLS.keys() - {"galaxy_zoo"}))
@pytest.mark.parametrize("question", [SURE, PER_BOX])
def test_a_question_of_ones_own_is_not_taken_for_ours(kind: str, question: str) -> None:
    ours = find_kind(kind).label_config()
    expected = find_choices(ours)
    assert expected.name == CONTROLS[kind]
    # before our own tag, and behind it
    for config in (ours.replace("<Image", f"{question}<Image", 1), ours.replace("</View>", f"{question}</View>")):
        assert find_choices(config, CONTROLS[kind]) == expected
        assert find_choices(config, classes=expected.classes) == expected
        assert find_kind(kind).offered(config) == find_kind(kind).offered(ours)


def region(name: str | None, *choices: str) -> dict[str, object]:
    named = {} if name is None else {"from_name": name}
    return {"type": "choices", "to_name": "image", "value": {"choices": list(choices)}} | named


@pytest.mark.parametrize(
    ("result", "label"),
    [
        ([region("sure", "guess"), region("morphology", "spiral")], "spiral"),
        ([region("morphology", "spiral"), region("sure", "guess")], "spiral"),
        ([region("sure", "guess")], None),
        ([region("second", "spiral"), region("morphology", "edge-on disc")], "edge-on disc"),
        ([region("second", "spiral"), region("morphology")], None),
        ([region("sure", "guess"), region("renamed", "spiral")], "spiral"),
        ([region(None, "of a program")], "of a program"),
        ([{"type": "choices", "from_name": "sure", "value": {"choices": 3}}, region("morphology", "spiral")], "spiral"),
        ([region("morphology", "a new one")], "a new one"),
        ([region("renamed", ASIDE[0])], ASIDE[0]),
        ([region("renamed", ASIDE[1])], ASIDE[1]),
        ([region("sure", ASIDE[0]), region("renamed", "spiral")], "spiral"),
        ([region("sure", ASIDE[0]), region("morphology", "spiral")], "spiral"),
    ],
)
def test_from_name_decides_which_answer_is_ours(result: list[dict[str, object]], label: str | None) -> None:
    assert chosen(result, "morphology", CLASSES) == label


def test_an_odd_answer_to_our_question_is_refused() -> None:
    with pytest.raises(ChoiceError):
        chosen([{"type": "choices", "from_name": "morphology", "value": {"choices": "spiral"}}], "morphology", CLASSES)


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)


@given(st.lists(NAMES.map(str.strip).filter(bool), min_size=2, max_size=7, unique=True), st.data())
def test_any_names_of_classes_come_back_from_the_config_and_from_answers(names: list[str], data: st.DataObject) -> None:
    assume(not set(names) & set(ASIDE) and all("\ufffe" not in name and "\uffff" not in name for name in names))
    control = find_choices(find_kind("morphology").label_config(names))
    assert control.classes == tuple(names)
    best = data.draw(st.integers(0, len(names) - 1))
    probabilities = np.full(len(names), 0.1)
    probabilities[best] = 0.7
    (region,) = choice_result(control, names, probabilities)
    assert chosen([{"type": "textarea", "value": {"text": ["x"]}}, region]) == names[best]


@pytest.mark.parametrize(
    "value",
    [
        None,
        3,
        "spiral",
        ["spiral"],
        {"choices": None},
        {"choices": "spiral"},
        {"choices": {"a": 1}},
        {"choices": [1]},
        {"choices": ["spiral", None]},
        {"choices": [[]]},
        {"choices": [["spiral", 1]]},
    ],
)
def test_a_region_whose_choice_cannot_be_read_is_shown_in_the_error(value: object) -> None:
    with pytest.raises(ChoiceError) as caught:
        chosen([{"type": "choices", "value": value}])
    assert str(value)[:20] in caught.value.message


def test_a_long_value_is_cut_in_the_error() -> None:
    with pytest.raises(ChoiceError) as caught:
        chosen([{"type": "choices", "value": "x" * 10_000}])
    assert len(caught.value.message) < 200


def test_every_config_is_documented_in_its_folder() -> None:
    folder = Path(__file__).parents[4] / "label_config"
    for config in folder.glob("*.xml"):
        assert LabelInterface(config.read_text()).controls


NESTED = """<View><Image name="i" value="$x"/><{tag} name="q" toName="i"{more}>
<Choice value="Disc" alias="D"><View><Choice value="barred"/><Choice value="plain"/></View></Choice>
<Choice value="Blob"><Choice value="round"/></Choice></{tag}></View>"""


@pytest.mark.parametrize(
    ("tag", "more", "kind"), [("Choices", ' allowNested="true"', "choices"), ("Taxonomy", "", "taxonomy")]
)
def test_paths_are_written_and_read_again(tag: str, more: str, kind: str) -> None:
    config = NESTED.format(tag=tag, more=more)
    control = find_choices(config)
    assert control.choices == ("D > barred", "D > plain", "Blob > round")
    (region,) = choice_result(control, control.choices, np.array([0.1, 0.7, 0.2]))
    assert region["type"] == kind and region["value"] == {kind: [["D", "plain"]]}
    assert chosen([region], "q") == "D > plain"


@pytest.mark.parametrize(
    ("paths", "label"),
    [
        ([["D", "plain"]], "D > plain"),
        ([["D"]], "D"),
        ([["Blob"], ["Blob", "round"]], "Blob > round"),
        ([], None),
    ],
)
def test_of_a_choice_and_what_it_lies_in_the_innermost_counts(paths: list[list[str]], label: str | None) -> None:
    region = {"from_name": "q", "type": "taxonomy", "value": {"taxonomy": paths}}
    assert chosen([region], "q") == label


def test_several_choices_where_one_is_asked_for_are_an_error() -> None:
    for choices in ([["D", "plain"], ["Blob", "round"]], ["D", "Blob"]):
        with pytest.raises(ChoiceError, match="2 choices were made"):
            chosen([{"from_name": "q", "type": "choices", "value": {"choices": choices}}], "q")
    with pytest.raises(ChoiceError, match="'q' is answered 'D' and 'Blob'"):
        chosen([region("q", "D"), region("q", "Blob")], "q")
    assert chosen([region("q", "D"), region("q", "D"), region("r", "Blob")], "q") == "D"
    other = {"from_name": "remarks", "type": "choices", "value": {"choices": ["dust", "ring"]}}
    nested = {"from_name": "remarks", "type": "taxonomy", "value": {"taxonomy": [["dust", "lane"], ["ring"]]}}
    assert chosen([other], "q", ("D", "Blob")) is chosen([nested], "q", ("D", "Blob")) is None


def test_one_question_of_several_is_left() -> None:
    other = '<Choices name="other" toName="i"><Choice value="a"/><Choice value="b"/></Choices>'
    config = NESTED.format(tag="Taxonomy", more="").replace(
        "<View><Image", f'<View>{other}<TextArea name="model" toName="i"/><Image', 1
    )
    assert find_choices(config).name == "other"
    part = only_question(config, "q")
    assert find_choices(part).name == "q" and "TextArea" not in part and "Image" in part
