"""A campaign of parameters on the real servers: numbers out and back, a correction, odd numbers, a table."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend_ml.campaign.plan import CampaignPlan
from backend_ml.label_studio.regions.numbers import find_numbers, given_numbers
from backend_ml.local.servers import Servers as Installation
from backend_ml.plugins.parameters import Parameters
from lvm_training.galaxies.population import draw_catalogue
from lvm_training.galaxies.simulate import simulate_set
from lvm_training.paths import RELEASED_LVM
from tests.installation import Servers
from tests.live.campaigns import LiveCampaign, created, run

pytestmark = pytest.mark.live

CONTROLS = find_numbers(Parameters().label_config())
N = 24


@pytest.fixture
def live(installation: Installation, servers: Servers, tmp_path: Path) -> Iterator[LiveCampaign]:
    """A campaign of 24 drawn galaxies, six of them of the audit slice, with the released encoder and head."""
    stamps = simulate_set(draw_catalogue(N, 5), tmp_path / "numbers.h5", processes=1)
    plan = CampaignPlan("numbers", stamps, RELEASED_LVM, kind="parameters", audit_fraction=0.25)
    with created(installation, servers.annotator, plan) as made:
        yield made


def predicted(live: LiveCampaign) -> dict[int, dict[str, float]]:
    """The numbers that are filled in, by task."""
    return {task: given_numbers(result, CONTROLS) for task, result in live.answers().items()}


def numbers(values: dict[str, Any]) -> list[dict[str, Any]]:
    named = {"to_name": "image", "type": "number"}
    return [{**named, "from_name": name, "value": {"number": value}} for name, value in values.items()]


def test_numbers_are_filled_in_mended_learned_and_exported(live: LiveCampaign, tmp_path: Path) -> None:
    filled = predicted(live)
    audit = {task.task_id for task in live.waiting() if task.audit}
    assert len(audit) == 6 and all(filled[task] == {} for task in audit)
    shown = [task for task in live.waiting() if not task.audit]
    assert all(set(filled[task.task_id]) == {one.name for one in CONTROLS} for task in shown)
    config = live.admin.call("GET", f"api/projects/{live.project}/")
    assert '<Number name="mag_r"' in config["label_config"] and "drops a comma" in config["expert_instruction"]
    (anew,) = live.opened_anew(shown[0].task_id)
    assert given_numbers(anew["result"], CONTROLS) == filled[shown[0].task_id]

    # everybody here sees half a magnitude more than the model: it learns so
    mended = shown[:8]
    for task in mended:
        values = filled[task.task_id]
        live.colleague.submit(task.task_id, numbers({**values, "mag_r": values["mag_r"] + 0.5}), 1.0)
    comma, far = shown[8], shown[9]
    odd = {
        live.colleague.submit(
            comma.task_id, numbers({"mag_r": "17,5"}), 1.0
        ): "written with a comma: '17,5'. Write 17.5.",
        live.colleague.submit(far.task_id, numbers({"mag_r": 240.0}), 1.0): "in nanomaggies, it is 16.55 mag",
    }
    live.wait_for_annotations(10)
    done = run(live, "campaign", "sync", live.campaign.name, "--json")
    assert done.returncode == 0, done.stderr
    after = predicted(live)
    changes = [after[task.task_id]["mag_r"] - filled[task.task_id]["mag_r"] for task in shown[10:]]
    assert 0.15 < np.median(changes) < 0.6
    aside: Any = live.status()["set_aside"]
    assert {row["annotation"] for row in aside} == set(odd)
    assert all(odd[row["annotation"]] in row["reason"] for row in aside)

    done = run(live, "campaign", "export", live.campaign.name, "--out", str(tmp_path / "numbers.csv"))
    assert done.returncode == 0, done.stderr
    with (tmp_path / "numbers.csv").open(newline="") as stream:
        rows = {int(row["stamp_id"]): row for row in csv.DictReader(stream)}
    assert set(rows) == {task.stamp_id for task in mended}
    for task in mended:
        assert float(rows[task.stamp_id]["mag_r_mag"]) == pytest.approx(filled[task.task_id]["mag_r"] + 0.5)
