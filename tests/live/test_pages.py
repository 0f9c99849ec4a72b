"""Every command that a page shows is given, in order, by somebody who follows the page on the real servers."""

import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend_ml.kinds.installed import find_kind
from backend_ml.local import processes
from backend_ml.local.servers import Servers as Installation
from backend_ml.store.campaigns import all_campaigns
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from tests import a_hub
from tests.backend_ml.local.test_stopping import heed_interrupts
from tests.installation import Servers
from tests.live.campaigns import READY, Done, new_terminal
from tests.live.page_inputs import provide
from tests.live.page_stations import MEANWHILE, STATIONS, Reader
from tests.lvm_training.surveys.imitation import imitated
from tests.pages import ELSEWHERE, LONG, NOT_HERE, among, shown

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

PAGES = {
    page: [line for line in lines if not among(line, NOT_HERE)]
    for page, lines in shown().items()
    if page not in ELSEWHERE
}
QUICK = [page for page, lines in PAGES.items() if any(not among(line, LONG) for line in lines)]
SLOW = [page for page, lines in PAGES.items() if any(among(line, LONG) for line in lines)]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pages name, made once."""
    return tmp_path_factory.mktemp("inputs")


@pytest.fixture
def reader(
    installation: Installation, servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Reader]:
    """Somebody in an empty folder; what they make on the servers is taken back."""
    (tmp_path / "folder").mkdir()
    with installation.database() as database, a_hub.serving() as hub, imitated() as survey:
        before = {campaign.id for campaign in campaigns(database)}
        yield Reader(tmp_path / "folder", installation, servers, database, hub, survey, monkeypatch)
        for campaign in campaigns(database):
            if campaign.id not in before:
                database.rows("delete_campaign", project=campaign.project_id)
                servers.admin.delete_project(campaign.project_id)
    find_kind.cache_clear()


def campaigns(database: Database) -> list[Campaign]:
    with database.transaction() as connection:
        return all_campaigns(connection)


def follow(reader: Reader, inputs: Path, page: str, lines: list[str]) -> None:
    """Give a page's commands, each once the worker has done what the one before asked for."""
    provide(inputs, reader.folder, page, "\n".join(PAGES[page]))
    STATIONS.get(page, Reader.at_rest)(reader)
    for line in lines:
        program, *words = shlex.split(line)
        words = [found for word in words for found in expanded(reader.folder, reader.words.get(word, word))]
        done = reader.run(*words) if program == "galaxyloop" else make(reader.folder, words)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        MEANWHILE.get(line, Reader.at_rest)(reader)
        reader.at_rest()


def expanded(folder: Path, word: str) -> list[str]:
    """What a shell makes of a word."""
    return sorted(str(path.relative_to(folder)) for path in folder.glob(word)) if "*.h5" in word else [word]


def make(folder: Path, words: list[str]) -> Done:
    """Make a target in a checkout whose environments are there; servers that stay are stopped with Ctrl-C."""
    log = folder / "make.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            ["make", "--old-file=setup", *words],
            cwd=folder,
            env=new_terminal(),
            stdout=out,
            stderr=out,
            preexec_fn=heed_interrupts,
            start_new_session=True,
        )
    done = f"{' '.join(words)} to end, or to wait for Ctrl-C"
    processes.wait_until(lambda: process.poll() is not None or READY in log.read_text(), 1500, what=done)
    if process.poll() is not None:
        return Done(process.returncode, log.read_text(), "")
    os.killpg(process.pid, signal.SIGINT)  # make ends at once, and what it started once all is stopped
    process.wait(120)
    processes.wait_until(lambda: "Stopped." in log.read_text(), 120, what="the servers to stop")
    return Done(0, log.read_text(), "")


@pytest.mark.parametrize("page", QUICK)
def test_every_command_of_a_page_runs(reader: Reader, inputs: Path, page: str) -> None:
    follow(reader, inputs, page, [line for line in PAGES[page] if not among(line, LONG)])


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("page", SLOW)
def test_long_commands_of_a_page_run_too(reader: Reader, inputs: Path, page: str) -> None:
    follow(reader, inputs, page, PAGES[page])
