"""A campaign of several questions with columns beside the image, on the real servers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend_ml.campaign.plan import CampaignPlan
from backend_ml.label_studio.regions.numbers import find_numbers, given_numbers
from backend_ml.local.servers import Servers as Installation
from backend_ml.plugins.several import Several
from lvm_training.galaxies.population import draw_catalogue
from lvm_training.galaxies.simulate import simulate_set
from lvm_training.paths import RELEASED_LVM
from tests.installation import Servers
from tests.live.campaigns import LiveCampaign, created, run

pytestmark = pytest.mark.live

N = 36
CONTROLS = find_numbers(Several().label_config())


@pytest.fixture
def live(installation: Installation, servers: Servers, tmp_path: Path) -> Iterator[LiveCampaign]:
    """A campaign of 36 drawn galaxies whose heads read two magnitudes beside the image."""
    stamps = simulate_set(draw_catalogue(N, 6), tmp_path / "many.h5", processes=1)
    plan = CampaignPlan("several", stamps, RELEASED_LVM, kind="several", audit_fraction=0.1, columns=("mag_g", "mag_z"))
    with created(installation, servers.annotator, plan) as made:
        yield made


def test_a_question_and_numbers_are_answered_by_their_own_heads(live: LiveCampaign, tmp_path: Path) -> None:
    assert live.campaign.columns == ("mag_g", "mag_z") and live.campaign.simulated == {}
    open_tasks = [task for task in live.waiting() if not task.audit]
    for place, task in enumerate(open_tasks[:24]):
        choice = {"from_name": "morphology", "to_name": "image", "type": "choices"}
        number = {"from_name": "mag_r", "to_name": "image", "type": "number", "value": {"number": 16 + place / 20}}
        value = {"choices": ["spiral" if place % 2 else "edge-on disc"]}
        live.colleague.submit(task.task_id, [{**choice, "value": value}, number], 1.0)
    live.wait_for_annotations(24)
    done = run(live, "campaign", "sync", live.campaign.name, "--json")
    assert done.returncode == 0, done.stderr
    shown = live.answers()
    filled = [shown[task.task_id] for task in live.waiting() if not task.audit]
    assert filled and all(given_numbers(result, CONTROLS).keys() == {"mag_r"} for result in filled)
    assert all({"choices", "number", "textarea"} <= {region["type"] for region in result} for result in filled)
    done = run(live, "campaign", "export", live.campaign.name, "--out", str(tmp_path / "all.csv"))
    assert done.returncode == 0, done.stderr
    header = (tmp_path / "all.csv").read_text().splitlines()[0]
    assert "morphology" in header and "mag_r_mag" in header
    done = run(live, "model", "list", live.campaign.name)
    assert "reads beside the image: mag_g (" in done.stdout, done.stderr
