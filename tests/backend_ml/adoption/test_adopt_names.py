"""What an adopted project may be called, said before its pictures are fetched."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import pytest

from backend_ml.adoption.adopt import Adopter
from backend_ml.adoption.plan import AdoptionPlan, Outlook
from backend_ml.label_studio.client import LabelStudio
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign, CampaignError
from tests.backend_ml.adoption.test_tasks import PICTURE, Listing
from tests.backend_ml.conftest import PROJECT
from tests.backend_ml.explore.conftest import SETTINGS

CONFIG = (
    '<View><Image name="image" value="$photo"/><Choices name="form" toName="image">'
    '<Choice value="round"/><Choice value="long"/></Choices></View>'
)


class Titled(Listing):
    """A project of one task, as far as looking at it goes."""

    def __init__(self, title: str) -> None:
        super().__init__({"id": 5, "data": {"photo": PICTURE}})
        self.title = title

    def call(self, *_: object) -> dict[str, Any]:
        return {"title": self.title, "label_config": CONFIG}


def look(database: Database, title: str, *, project: int = 12, **given: Any) -> Outlook:
    adopter = Adopter(SETTINGS, database, cast(LabelStudio, Titled(title)), lambda _: nullcontext(lambda *_: None))
    return adopter.look(AdoptionPlan(project, Path("encoder"), **given))


def test_a_project_keeps_its_title_unless_another_name_is_given(database: Database, campaign: Campaign) -> None:
    assert look(database, "Shells").title == "Shells"
    assert look(database, "Shells", name="Tails").title == "Tails"
    assert [task.id for task in look(database, "Shells").usable] == [5]


@pytest.mark.parametrize("given", [{"name": "Test"}, {}], ids=["a name that is given", "the title"])
@pytest.mark.parametrize("state", ["open", "paused"])
def test_a_name_that_a_campaign_has_is_refused_before_anything_is_fetched(
    database: Database, campaign: Campaign, state: str, given: dict[str, Any]
) -> None:
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET state = %s", (state,))
    with pytest.raises(CampaignError, match="a campaign 'Test' already"):
        look(database, "Shells" if given else "Test", **given)


@pytest.mark.parametrize("given", [{"name": "Test"}, {}], ids=["a name that is given", "the title"])
def test_a_closed_campaign_gives_up_its_name_to_an_adopted_one(
    database: Database, campaign: Campaign, given: dict[str, Any]
) -> None:
    database.rows("close_campaign", campaign=campaign.id)
    assert look(database, "Shells" if given else "Test", **given).title == "Test"


def test_a_project_that_is_a_campaign_is_found_by_its_number_alone(database: Database, campaign: Campaign) -> None:
    found = look(database, "Whatever it is called by now", project=PROJECT)
    assert found.campaign == campaign and found.title == "Test"
    with pytest.raises(CampaignError, match="is the campaign 'Test' already"):
        look(database, "Test", project=PROJECT, name="Another")
    database.rows("close_campaign", campaign=campaign.id)
    with pytest.raises(CampaignError, match="was the campaign 'Test', which is closed"):
        look(database, "Test", project=PROJECT)
