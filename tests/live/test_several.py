"""Campaigns of several questions on the real servers: with columns beside the image, a label config of one's own."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend_ml.campaign import lifecycle
from backend_ml.campaign.plan import CampaignPlan
from backend_ml.campaign.reconcile import reconcile
from backend_ml.campaign.status import find
from backend_ml.label_studio.regions.numbers import find_numbers, given_numbers
from backend_ml.label_studio.regions.objects import find_object_controls, object_result
from backend_ml.local import processes
from backend_ml.local.servers import Servers as Installation
from backend_ml.plugins.several import Several
from backend_ml.store.records import PICTURE_SIZE
from lvm_training.galaxies.population import draw_catalogue
from lvm_training.galaxies.simulate import simulate_set
from lvm_training.objects.coco import read_coco
from lvm_training.objects.instances import Instances
from lvm_training.paths import RELEASED_LVM
from tests.backend_ml.lenses import write_detector
from tests.conftest import REPOSITORY
from tests.installation import Servers
from tests.live.campaigns import LiveCampaign, created, run, run_here
from tests.live.projects import project_ids
from tests.lvm_training.detection.detection_pictures import SIDE

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


LABELS = ("ring", "core")
OWN = """<View>
  <Image name="sky" value="$image"/>
  <TextArea name="remark" toName="sky"/>
  <RectangleLabels name="things" toName="sky"><Label value="ring"/><Label value="core"/></RectangleLabels>
  <Number name="mag_r" toName="sky" min="5" max="30" step="any"/>
  <Number name="arms" toName="sky"/>
  <Choices name="shape" toName="sky" choice="single-radio">
    <Choice value="with arms" simulated="spiral"/><Choice value="from its side" simulated="edge-on"/>
  </Choices>
  <TextArea name="model" toName="sky" maxSubmissions="1"/>
</View>"""
DRAWING = find_object_controls(OWN)


def asked(installation: Installation, folder: Path, label_config: str, *more: str) -> Any:
    """What the command line says of a campaign that is asked for with a label config."""
    (folder / "mine.xml").write_text(label_config)
    stamps = simulate_set(draw_catalogue(24, 6), folder / "mine.h5", processes=1)
    config = ("--label-config", str(folder / "mine.xml"))
    few = installation.environment | {"GALAXYLOOP_SIMULATED_STAMPS": "60"}
    return run_here(
        few, "campaign", "create", "mine", "--kind", "several", "--stamps", str(stamps), *config, *more, "--json"
    )


@pytest.fixture
def own(installation: Installation, servers: Servers, tmp_path: Path) -> Iterator[tuple[LiveCampaign, dict[str, Any]]]:
    """A campaign that was made from the command line with a label config of somebody's own, and what was told of it."""
    detector = write_detector(tmp_path / "detector", seed=5, classes=LABELS)
    done = asked(installation, tmp_path, OWN, "--detector", str(detector), "--audit", "0.125")
    assert done.returncode == 0, done.stdout + done.stderr
    with installation.database() as database, installation.label_studio() as admin:
        with database.transaction() as connection:
            campaign = find(connection, "mine")
        live = LiveCampaign(installation, database, admin, servers.annotator, campaign)
        yield live, json.loads(done.stdout)
        lifecycle.close(installation.settings, database, admin, campaign)
        assert admin.call("GET", f"api/projects/{live.project}/")["title"] == "mine (closed)"
        admin.delete_project(live.project)


def box(number: int) -> Instances:
    """A ring on a picture of 32 pixels a side, each elsewhere."""
    masks = np.zeros((1, SIDE, SIDE), dtype=bool)
    masks[0, 4:14, number : number + 10] = True
    return Instances.of_masks(("ring",), masks)


def said(number: int) -> list[dict[str, Any]]:
    """What somebody answers to all that is asked; of every other picture nothing is drawn."""
    answers = {"shape": ("choices", [("with arms", "from its side")[number % 2]]), "arms": ("number", 2)}
    answers |= {"mag_r": ("number", 16 + number / 8), "remark": ("textarea", ["fine"])}
    regions = [
        {
            "id": name,
            "from_name": name,
            "to_name": "sky",
            "type": kind,
            "value": {"text" if kind == "textarea" else kind: value},
        }
        for name, (kind, value) in answers.items()
    ]
    drawn = [] if number % 2 else object_result(DRAWING, box(number), width=PICTURE_SIZE, height=PICTURE_SIZE)
    return [*drawn, *regions]


def test_a_label_config_of_ones_own_is_answered_learned_exported_and_made_again(
    own: tuple[LiveCampaign, dict[str, Any]], tmp_path: Path
) -> None:
    live, told = own
    assert told["answered"] == "shape, things, mag_r"
    assert [line.split(" is ")[0] for line in told["no_head"]] == ["<TextArea name='remark'>", "<Number name='arms'>"]
    assert live.campaign.classes == ("with arms", "from its side") and not live.campaign.adopted
    first = str(live.status()["version"])
    kinds = {"things": "rectanglelabels", "mag_r": "number", "shape": "choices", "model": "textarea"}
    open_tasks = [task for task in live.waiting() if not task.audit]
    shown = live.answers()
    for task in live.waiting():
        found = {region["from_name"]: region["type"] for region in shown[task.task_id]}
        assert found == ({} if task.audit else kinds)
    (anew,) = live.opened_anew(open_tasks[0].task_id)
    assert {region["from_name"] for region in anew["result"]} == set(kinds)

    # one galaxy, then as many as the detector waits for
    given = [task.task_id for task in open_tasks][:6]
    live.colleague.submit(given[0], said(0), 1.0)
    live.wait_for_annotations(1)
    assert given[0] not in {task.task_id for task in live.waiting()}
    for number, task in enumerate(given[1:], 1):
        live.colleague.submit(task, said(number), 1.0)
    processes.wait_until(lambda: live.status()["version"] != first, 180, what="the next version")
    live.at_rest()
    version = str(live.status()["version"])
    assert {region["from_name"] for result in live.answers().values() for region in result} >= {"mag_r", "shape"}
    reconcile(live.database, live.admin, live.campaign)
    notices = {row["source"]: row["text"] for row in live.database.rows("notices", campaign=live.campaign.id)}
    assert "<TextArea name='remark'>" in notices["no head"], "what is told at creation stays"

    done = run(live, "campaign", "export", "mine", "--out", str(tmp_path / "all.csv"))
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "all.csv").read_text().splitlines()))
    assert sorted((row["shape"], row["mag_r_mag"], row["objects_ring"], row["objects_core"]) for row in rows) == sorted(
        (("with arms", "from its side")[n % 2], str(16 + n / 8), f"{1 - n % 2}.0", "0.0") for n in range(6)
    )
    done = run(live, "campaign", "export", "mine", "--out", str(tmp_path / "all.json"))
    assert done.returncode == 0, done.stderr
    pictures, notes = read_coco(json.loads((tmp_path / "all.json").read_text()), LABELS)
    assert sorted(picture.instances.classes for picture in pictures) == [(), (), (), ("ring",), ("ring",), ("ring",)]
    assert not notes

    done = run(live, "catalogue", "mine", "--out", str(tmp_path / "catalogue.csv"))
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "catalogue.csv").read_text().splitlines()) == 25

    showing = run(live, "model", "show", version, "--campaign", "mine", "--repo", str(REPOSITORY), "--json")
    assert showing.returncode == 0, showing.stdout + showing.stderr
    done = run(live, *json.loads(showing.stdout)["rebuild"].split()[1:], "--repo", str(REPOSITORY), "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["identical"], done.stdout + done.stderr


@pytest.mark.parametrize(
    ("label_config", "message"),
    [
        ("<View", "is not XML"),
        (OWN.replace('value="$image"', 'value="$photo"'), "shows $photo"),
        (OWN.replace('name="arms"', 'name="shape"'), "Two tags are named 'shape'"),
        ('<View><Image name="a" value="$image"/><TextArea name="b" toName="a"/></View>', "No head answers anything"),
    ],
)
def test_a_label_config_that_cannot_be_answered_makes_no_project(
    installation: Installation, servers: Servers, tmp_path: Path, label_config: str, message: str
) -> None:
    before = project_ids(servers)
    done = asked(installation, tmp_path, label_config)
    assert done.returncode == 1 and message in " ".join(done.stderr.split()), done.stderr
    assert project_ids(servers) == before


def test_label_studio_takes_what_heads_leave_to_people(
    installation: Installation, servers: Servers, tmp_path: Path
) -> None:
    own = """<View><Image name="a" value="$image"/><Number name="mag_r" toName="a"/>
        <RectangleLabels name="b" toName="a"/><RectangleLabels name="c" toName="a"><Label value="x"/></RectangleLabels>
        <Taxonomy name="t" toName="a"><Choice value="one"/></Taxonomy></View>"""
    (tmp_path / "mine.xml").write_text(own)
    stamps = simulate_set(draw_catalogue(8, 6), tmp_path / "few.h5", processes=1)
    plan = CampaignPlan("left to people", stamps, RELEASED_LVM, kind="several", own_config=own)
    with created(installation, servers.annotator, plan) as made:
        assert made.campaign.classes == ("mag_r",)
        filled = [made.answers()[task.task_id] for task in made.waiting() if not task.audit]
        assert all([region["from_name"] for region in result] == ["mag_r"] for result in filled)
        notices = {row["source"]: row["text"] for row in made.database.rows("notices", campaign=made.campaign.id)}
        assert "no detector of x" in notices["no head"] and "has no <Label>" in notices["no head"]
