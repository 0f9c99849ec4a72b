"""Choices of a label config are renamed, merged and shown again."""

import pytest

from backend_ml.kinds.installed import find_kind
from backend_ml.label_studio.regions.choices import (
    ANY_KEY,
    ASIDE,
    CONTROLS,
    LabelConfigError,
    find_choices,
    parsed_config,
    with_steady_keys,
)
from backend_ml.label_studio.renaming import rename_choice, show_choice
from tests.backend_ml.conftest import CLASSES

CONFIG = with_steady_keys(find_kind("morphology").label_config())
HOW = (CONTROLS["morphology"], CLASSES)


def offered(config: str) -> tuple[str, ...]:
    return find_choices(config, *HOW).classes


def keys(config: str) -> dict[str, str]:
    root = parsed_config(config, "")
    return {choice.get("value") or "": choice.get("hotkey") or "" for choice in root.iter("Choice")}


@pytest.mark.parametrize("new", ["spiral galaxy", 'a "b" & <c>', "Wirbelgalaxie ☄", "(keys) 2", "1"])
def test_a_renamed_choice_keeps_its_place_and_key_and_the_former_one_stays_hidden(new: str) -> None:
    changed = rename_choice(CONFIG, "spiral", new, *HOW)
    assert offered(changed) == (*CLASSES[:4], new)
    assert keys(changed)[new] == keys(CONFIG)["spiral"] == "5"
    assert "spiral" in keys(changed), "Label Studio refuses a config without what annotations have"
    assert keys(changed)[ANY_KEY] == keys(CONFIG)[ANY_KEY] == "1,2,3,4,5,8,9"
    assert rename_choice(changed, "spiral", new, *HOW) == changed, "twice is once"
    back = rename_choice(changed, new, "spiral", *HOW)
    assert offered(back) == CLASSES and keys(back)["spiral"] == "5"


def test_a_merged_choice_is_hidden_and_its_key_does_nothing_until_it_is_shown_again() -> None:
    changed = rename_choice(CONFIG, "in-between smooth", "round smooth", *HOW)
    assert offered(changed) == tuple(name for name in CLASSES if name != "in-between smooth")
    assert keys(changed)[ANY_KEY] == "1,3,4,5,8,9"
    assert rename_choice(changed, "in-between smooth", "round smooth", *HOW) == changed
    back = show_choice(changed, "in-between smooth", *HOW)
    assert offered(back) == CLASSES and keys(back) == keys(CONFIG), "with its key, which is free"
    assert show_choice(back, "in-between smooth", *HOW) == back


def test_names_may_be_used_again_after_a_rename_was_taken_back() -> None:
    config = CONFIG
    for _ in range(3):
        config = rename_choice(config, "spiral", "whirl", *HOW)
        config = rename_choice(config, "whirl", "spiral", *HOW)
    assert offered(config) == CLASSES
    assert sum(choice.get("value") == "whirl" for choice in parsed_config(config, "").iter("Choice")) == 1


def test_other_questions_stay_as_they_are() -> None:
    own = "<Choices name='sure' toName='image'><Choice value='spiral'/><Choice value='no idea'/></Choices></View>"
    config = (
        CONFIG.replace("</View>", own, 1)
        if CONFIG.count("</View>") == 1
        else CONFIG[::-1].replace("</View>"[::-1], own[::-1], 1)[::-1]
    )
    changed = rename_choice(config, "spiral", "whirl", *HOW)
    root = parsed_config(changed, "")
    (sure,) = [tag for tag in root.iter("Choices") if tag.get("name") == "sure"]
    assert [choice.get("value") for choice in sure] == ["spiral", "no idea"]
    assert set(find_choices(changed, *HOW).choices) == {*CLASSES[:4], "whirl", *ASIDE}


def test_choices_without_keys_get_none() -> None:
    config = "<View><Image name='i' value='$i'/><Choices name='c' toName='i'>{}</Choices></View>".format(
        "".join(f"<Choice value='{name}'/>" for name in CLASSES)
    )
    changed = show_choice(rename_choice(config, "spiral", CLASSES[0], *HOW), "spiral", *HOW)
    assert offered(changed) == CLASSES and set(keys(changed).values()) == {""}


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(LabelConfigError, match="offers neither 'ring' nor 'shell'"):
        rename_choice(CONFIG, "ring", "shell", *HOW)
    with pytest.raises(LabelConfigError, match="does not have 'ring' any more"):
        show_choice(CONFIG, "ring", *HOW)
    with pytest.raises(LabelConfigError):
        rename_choice("<View/>", "spiral", "ring", *HOW)
