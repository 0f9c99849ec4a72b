"""A real campaign on the real servers, as a catalogue in every format, against what Label Studio itself has."""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import parse
from astropy.table import Table

from backend_ml.local.servers import Servers as Installation
from tests.backend_ml.conftest import CLASSES
from tests.installation import Servers
from tests.live.campaigns import LiveCampaign, choice, live_campaign, run

pytestmark = pytest.mark.live

FORMATS = {".vot": "votable", ".ecsv": "ascii.ecsv", ".parquet": "parquet", ".fits": "fits"}


@pytest.fixture
def live(
    installation: Installation, servers: Servers, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[LiveCampaign]:
    """A campaign of forty tasks, ten of them for the audit slice, and starting labels, named after the test."""
    name = request.node.name[:40]
    with live_campaign(installation, servers.annotator, tmp_path, name, n=40, audit=0.25) as made:
        yield made


def votes_in_label_studio(live: LiveCampaign) -> dict[int, Counter[str]]:
    """What people chose, by stamp, as Label Studio's own API says."""
    found: dict[int, Counter[str]] = {}
    for task in live.admin.data_manager(live.project, [], fields="all"):
        for annotation in live.admin.call("GET", f"api/tasks/{task['id']}/annotations/"):
            if not annotation["was_cancelled"]:
                label = annotation["result"][0]["value"]["choices"][0]
                found.setdefault(task["data"]["stamp_id"], Counter())[label] += 1
    return found


def test_every_format_says_what_people_said(live: LiveCampaign, tmp_path: Path) -> None:
    live.settle(live.team().label(16))
    waiting = live.waiting()
    blind = [task.task_id for task in waiting if task.audit][:4]
    for task in blind:
        live.admin.submit(task, choice(CLASSES[0]), 1.0)
    live.wait_for_annotations(20)
    live.at_rest()
    said = votes_in_label_studio(live)
    out = tmp_path / "c.csv"
    done = run(live, "catalogue", live.campaign.name, "--out", str(out), "--summary", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    with out.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    # forty tasks, and the ten stamps of the starting labels
    assert len(rows) == told["galaxies"] == 50 and [int(row["stamp_id"]) for row in rows] == list(range(50))
    assert sum(row["in_pool"] == "True" for row in rows) == told["summary"]["about"]["pool"] == 40
    slugs = {name: name.replace(" ", "_").replace("-", "_") for name in CLASSES}
    for row in rows[:40]:
        counted = Counter({name: int(row[f"votes_{slug}"]) for name, slug in slugs.items()})
        assert +counted == said.get(int(row["stamp_id"]), Counter()), row["id"]
        assert (row["label"] == "") is (row["n_votes"] == "0")
    p = np.array([[float(row[f"prob_{slug}"]) for slug in slugs.values()] for row in rows])
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)
    assert {row["model_version"] for row in rows} == {live.status()["version"]}
    assert sum(row["audit"] == "True" for row in rows) == 10
    audited = sum(row["audit"] == "True" and row["label"] != "" for row in rows)
    assert told["summary"]["about"]["audit_labels"] == audited >= 4
    # whatever chose a labelled galaxy is known, with its chance
    chosen = [row for row in rows[:40] if row["label"]]
    assert all(row["selected_by"] and 0 < float(row["propensity"]) <= 1 for row in chosen)
    for suffix, kind in FORMATS.items():
        other = tmp_path / f"c{suffix}"
        assert run(live, "catalogue", live.campaign.name, "--out", str(other)).returncode == 0
        table = Table.read(other, format=kind) if kind != "fits" else Table.read(other, hdu=1)
        assert [str(one) for one in table["id"]] == [row["id"] for row in rows]
        labels = ["" if one is np.ma.masked else str(one) for one in table["label"]]
        assert labels == [row["label"] for row in rows]
        np.testing.assert_allclose(np.asarray(table["ra"], dtype=float), [float(row["ra"]) for row in rows])
    parse(tmp_path / "c.vot", verify="exception")
    with fits.open(tmp_path / "c.fits") as hdus:
        hdus.verify("exception")
        assert hdus[1].header["MODELVER"] == live.status()["version"]


def test_a_closed_campaign_of_an_unknown_name_and_a_file_in_the_way(live: LiveCampaign, tmp_path: Path) -> None:
    assert run(live, "campaign", "close", live.campaign.name).returncode == 0
    out = tmp_path / "c.fits"
    assert run(live, "catalogue", live.campaign.name, "--out", str(out)).returncode == 0
    again = run(live, "catalogue", live.campaign.name, "--out", str(out))
    assert again.returncode == 1 and "--force" in again.stderr and "Traceback" not in again.stderr
    unknown = run(live, "catalogue", "Cat", "--out", str(tmp_path / "d.fits"))
    assert (
        unknown.returncode == 1
        and live.campaign.name in "".join(unknown.stderr.split("\n"))
        and not (tmp_path / "d.fits").exists()
    )
