"""A campaign of ratings on the real servers: stars out and back, and what they teach the queue."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend_ml.campaign.plan import CampaignPlan
from backend_ml.local.servers import Servers as Installation
from lvm_training.galaxies.population import draw_catalogue
from lvm_training.galaxies.simulate import simulate_set
from lvm_training.paths import RELEASED_LVM
from tests.installation import Servers
from tests.live.campaigns import LiveCampaign, created, run

pytestmark = pytest.mark.live

N = 24


@pytest.fixture
def live(installation: Installation, servers: Servers, tmp_path: Path) -> Iterator[LiveCampaign]:
    """A campaign of 24 drawn galaxies, six of them of the audit slice."""
    stamps = simulate_set(draw_catalogue(N, 5), tmp_path / "odd.h5", processes=1)
    plan = CampaignPlan("odd ones", stamps, RELEASED_LVM, kind="interest_rating", audit_fraction=0.25)
    with created(installation, servers.annotator, plan) as made:
        yield made


def stars(number: int) -> list[dict[str, Any]]:
    region = {"from_name": "interest", "to_name": "image", "type": "rating", "value": {"rating": number}}
    return [region] if number else []


def test_ratings_are_learned_and_filled_in(live: LiveCampaign, tmp_path: Path) -> None:
    config = live.admin.call("GET", f"api/projects/{live.project}/")
    assert '<Rating name="interest"' in config["label_config"] and "stars" in config["expert_instruction"]
    shown = [task for task in live.waiting() if not task.audit]
    for place, task in enumerate(shown[:12]):
        live.colleague.submit(task.task_id, stars(0 if place % 3 else 4), 1.0)
    odd = live.colleague.submit(shown[12].task_id, stars(9), 1.0)
    live.wait_for_annotations(13)
    done = run(live, "campaign", "sync", live.campaign.name, "--json")
    assert done.returncode == 0, done.stderr
    answers = live.answers()
    status: Any = live.status()
    assert [row["annotation"] for row in status["set_aside"]] == [odd]
    filled = [region for task in live.waiting() if not task.audit for region in answers[task.task_id]]
    said = [region["value"]["text"][0] for region in filled if region["type"] == "textarea"]
    assert said and all("of 5 stars" in text for text in said)
    done = run(live, "campaign", "export", live.campaign.name, "--out", str(tmp_path / "stars.csv"))
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "stars.csv").read_text().splitlines()
    assert lines[0].endswith("interest") and len(lines) == 13
    assert sorted(np.array([float(line.rsplit(",", 1)[1]) for line in lines[1:]])) == [0.0] * 8 + [4.0] * 4
