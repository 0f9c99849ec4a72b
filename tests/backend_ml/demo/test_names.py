"""What a demo calls its campaign: a name that can be one, of whatever folder people have their pictures in."""

from pathlib import Path

import pytest

from backend_ml.campaign.lifecycle import project_title
from backend_ml.campaign.plan import LONGEST_TITLE, CampaignPlan
from backend_ml.demo.rounds import campaign_name

LONG = "galaxy_zoo_decals_dr5_volunteers_cutouts_of_all_spirals"
FOLDERS = ["a", "sky", "my pictures", "银河", "n" * 48, "n" * 49, LONG]


@pytest.mark.parametrize("number", [1, 10, 99_999])
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_campaign_is_named_after_any_folder(folder: str, number: int) -> None:
    name = campaign_name(folder, number)
    CampaignPlan(name, Path("sky.h5"), Path("encoder")).check()
    assert name.endswith(f" {number}") and folder.startswith(name.removesuffix(f" {number}"))
    assert len(name) == LONGEST_TITLE or name == f"{folder} {number}"
    assert len(project_title(name, closed=True)) <= LONGEST_TITLE


def test_campaigns_over_one_folder_are_told_apart() -> None:
    assert len({campaign_name(LONG, number) for number in range(1, 200)}) == 199
