"""A version that a worker made minutes ago on the real servers is made again, bit for bit, by one command."""

import json
from pathlib import Path

import pytest

from backend_ml.local.servers import Servers as Installation
from lvm_training.tables.frozen_labels import FrozenLabels
from tests.conftest import REPOSITORY
from tests.installation import Servers
from tests.live.campaigns import live_campaign, run

pytestmark = pytest.mark.live


def test_a_workers_version_is_made_again_bit_for_bit(
    installation: Installation, servers: Servers, tmp_path: Path
) -> None:
    with live_campaign(installation, servers.annotator, tmp_path, "rebuilt", n=40) as live:
        live.settle(live.team().label(8))
        live.at_rest()
        version = str(live.status()["version"])
        # campaigns over the same blobs can come to the same version: its name says what it is
        showing = run(live, "model", "show", version, "--campaign", "rebuilt", "--repo", str(REPOSITORY), "--json")
        assert showing.returncode == 0, showing.stdout + showing.stderr
        shown = json.loads(showing.stdout)
        command = shown["rebuild"].split()[1:]
        live.settle(live.team().label(8))  # which a later version learns
        done = run(live, *command, "--repo", str(REPOSITORY), "--keep", str(tmp_path / "kept"), "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        told = json.loads(done.stdout)
        assert told["identical"] and told["labels"] == shown["snapshot"]["labels"] >= 10
        frozen = FrozenLabels.read(tmp_path / "kept" / "rebuild" / version / shown["snapshot"]["name"])
        assert frozen.digest == shown["snapshot"]["sha256"]
        people = {one.annotator for one in frozen.answers}
        assert {"starting labels", "person 1"} <= people <= {"starting labels", "person 1", "person 2"}
        given = [one for one in frozen.answers if one.annotator != "starting labels"]
        assert any(one.shown for one in given), "people saw a version's answers"
        live.at_rest()
        assert live.status()["version"] != version
