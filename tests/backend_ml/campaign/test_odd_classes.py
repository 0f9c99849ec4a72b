"""What can be a class: whoever asks for one that cannot is told before a project is made, and so is who adds one."""

from pathlib import Path

import pytest

from backend_ml.campaign.plan import CampaignPlan
from backend_ml.campaign.reconcile import check_label_config
from backend_ml.label_studio.regions.choices import ASIDE, LabelConfigError, find_choices
from backend_ml.store.campaigns import campaign_of_id
from backend_ml.store.database import Database, query
from backend_ml.store.records import Campaign
from lvm_training.errors import GalaxyLoopError
from tests.backend_ml.conftest import CLASSES

UNSURE = ASIDE[0]


def plan(*classes: str) -> CampaignPlan:
    return CampaignPlan("Test", Path("sky.h5"), Path("encoder"), classes=classes)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (("ring", "ring"), "'ring' is named twice"),
        (("ring", "bar", "ring"), "'ring' is named twice"),
        (("ring", ""), "'' is no class"),
        (("ring", " \u00a0"), "' .*' (is no class|cannot be a name or a class)"),
        (("ring", "bar", UNSURE), "'unsure' is no class"),
        ((ASIDE[1], "ring", "bar"), "is no class"),
        (("ring",), "1 classes do not fit"),
        (tuple("abcdefgh"), "8 classes do not fit"),
        (("ring", "b\nar"), "cannot be a name or a class"),
    ],
)
def test_what_cannot_be_a_class_is_refused_with_the_reason(classes: tuple[str, ...], said: str) -> None:
    with pytest.raises(GalaxyLoopError, match=said):
        plan(*classes).check()


@pytest.mark.parametrize(
    "classes", [("ring", "Ring"), ("ring", "rings"), ("<b>", '"&'), ("环", "棒"), ("a" * 200, "b"), tuple("abcdefg")]
)
def test_classes_are_offered_as_they_were_named(classes: tuple[str, ...]) -> None:
    asked = plan(*classes)
    asked.check()
    found = find_choices(asked.label_config(), "morphology")
    assert found.classes == classes and found.choices == (*classes, *ASIDE)


def looked_at(database: Database, campaign: Campaign, *offered: str) -> tuple[tuple[str, ...], str]:
    """The campaign's classes, and its notice, once its project offers these."""
    choices = "".join(f'<Choice value="{name}"/>' for name in offered)
    asked = f'<Choices name="morphology" toName="image">{choices}</Choices>'
    config = f'<View><Image name="image" value="$image"/>{asked}</View>'
    with database.transaction() as connection:
        found = campaign_of_id(connection, campaign.id)
        assert found is not None
        grown = check_label_config(connection, found, config)
        after = campaign_of_id(connection, campaign.id)
        assert after is not None and grown == (after.classes != found.classes)
        return after.classes, " ".join(row["text"] for row in query(connection, "notices", campaign=campaign.id))


@pytest.mark.parametrize(
    ("more", "taken", "said"),
    [
        ((), (), ""),
        (("ring",), ("ring",), ""),
        (("ring", "bar"), ("ring", "bar"), ""),
        (ASIDE, (), ""),
        (("ring", "ring"), (), "'ring' is named twice"),
        ((CLASSES[0],), (), ""),
        ((" ",), (), "needs a name of printable characters"),
        (("ring", "bar", "arc"), (), "8 classes do not fit the number keys"),
    ],
    ids=["nothing", "one", "two", "those aside", "one twice", "one of ours twice", "a blank", "too many"],
)
def test_a_class_that_somebody_adds_is_taken_in_or_named(
    database: Database, campaign: Campaign, more: tuple[str, ...], taken: tuple[str, ...], said: str
) -> None:
    classes, notice = looked_at(database, campaign, *CLASSES, *more)
    assert classes == (*CLASSES, *taken)
    assert (said in notice) if said else notice == ""
    # the same again changes nothing, and the notice goes with its reason
    assert looked_at(database, campaign, *CLASSES, *more) == (classes, notice)
    assert looked_at(database, campaign, *CLASSES, *taken)[1] == ""


def test_classes_that_are_offered_no_more_are_named_until_they_are_again(
    database: Database, campaign: Campaign
) -> None:
    classes, notice = looked_at(database, campaign, *CLASSES[:3])
    assert classes == CLASSES and f"no longer offers {', '.join(CLASSES[3:])}" in notice
    assert looked_at(database, campaign, *reversed(CLASSES)) == (CLASSES, "")


def test_a_project_that_asks_something_else_says_so(database: Database, campaign: Campaign) -> None:
    with database.transaction() as connection:
        assert not check_label_config(connection, campaign, "<View><Text name='t' value='$t'/></View>")
        assert not check_label_config(connection, campaign, "<View")
        (notice,) = query(connection, "notices", campaign=campaign.id)
    assert "not XML" in notice["text"]
    with pytest.raises(LabelConfigError):
        plan("ring", "ring").label_config()
