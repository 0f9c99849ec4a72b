"""What must have happened before a page's first line, and what people do between its lines."""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend_ml.campaign.status import find
from backend_ml.kinds.installed import find_kind
from backend_ml.label_studio.labelling import DISPLAY_SIZE
from backend_ml.label_studio.regions.choices import choice_region, find_choices
from backend_ml.label_studio.regions.objects import find_object_controls, object_result
from backend_ml.local import processes
from backend_ml.local.servers import Servers as Installation
from backend_ml.store.database import Database
from backend_ml.store.named_encoders import add, named
from backend_ml.store.records import Campaign
from backend_ml.store.versions import active_version
from lvm_training.backbones.sources import Wanted
from lvm_training.objects.instances import Instances
from lvm_training.progress import progress_bar
from lvm_training.surveys import description
from tests.a_hub import Hub
from tests.backend_ml.lenses import write_detector
from tests.backend_ml.voting import KINDS, regions
from tests.conftest import REPOSITORY
from tests.installation import Servers
from tests.live.campaigns import Done, LiveCampaign, run_here
from tests.live.conftest import LABEL_CONFIG
from tests.live.page_inputs import write_encoder
from tests.live.projects import upload
from tests.lvm_training.detection.detection_pictures import SIDE
from tests.lvm_training.surveys.imitation import Imitation
from tests.other_encoders import NETWORK, hub_files, write_hub_folder
from tests.plugins import guide_files

Results = Sequence[list[dict[str, Any]]]


@dataclass
class Reader:
    """Somebody who follows a page in a folder.

    Attributes
    ----------
    words : dict of str to str
        What stands for a page's placeholders.
    """

    folder: Path
    installation: Installation
    servers: Servers
    database: Database
    hub: Hub
    survey: Imitation
    patch: pytest.MonkeyPatch
    words: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str) -> Done:
        """Give a command of `galaxyloop` in the folder, in this process."""
        with chdir(self.folder):
            return run_here(self.installation.environment, *arguments)

    def campaign(self, name: str) -> Campaign:
        with self.database.transaction() as connection:
            return find(connection, name)

    def at_rest(self) -> None:
        """Wait until the worker has done what a line asked for."""
        text = (
            "SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
            " AND task_name NOT LIKE 'campaign:reconcile%%'"
        )

        def idle() -> bool:
            with self.database.transaction() as connection:
                return connection.execute(text).fetchone() is None

        processes.wait_until(idle, 240, what="the worker to be done")

    def begin(self, name: str, *options: str) -> None:
        """Make a campaign, as the page before this one tells."""
        made = self.run("campaign", "create", name, "--stamps", "field-7.h5", *options)
        assert made.returncode == 0, made.stderr

    def answer(self, name: str, results: Results, count: int = 8) -> None:
        """People answer tasks of a campaign, two of them blind ones; a worker has learned from it afterwards."""
        people = (self.servers.admin, self.servers.annotator)
        live = LiveCampaign(self.installation, self.database, *people, self.campaign(name))
        tasks = sorted(live.waiting(), key=lambda task: task.audit)
        for place, task in enumerate([*tasks[: count - 2], *tasks[-2:]]):
            live.colleague.submit(task.task_id, results[place % len(results)], 1.0)
        live.wait_for_annotations(count)
        self.at_rest()

    def label(self, name: str) -> None:
        """People choose the first two classes of a campaign in turn."""
        control = find_choices(self.label_config(name))
        self.answer(name, [[choice_region(control, one, 1.0)] for one in control.classes[:2]])

    def label_config(self, name: str) -> str:
        return self.servers.admin.project(self.campaign(name).project_id).label_config


def label_name(reader: Reader) -> None:
    """People answer tasks of the campaign NAME."""
    reader.label("NAME")


def adopt(reader: Reader) -> None:
    """Somebody made a project by hand."""
    made = reader.servers.admin.sdk.projects.create(title="Forms of mine", label_config=LABEL_CONFIG)
    upload(reader.servers.admin, int(made.id or 0), *range(4))
    reader.words["12"] = str(made.id)


def fill_hub(reader: Reader) -> None:
    """The hub has what the page fetches; of Zoobot its name alone."""
    zoobot = hub_files(reader.folder / "my-encoder", "mwalmsley/zoobot-encoder-convnext_nano")
    resnet = write_hub_folder(reader.folder.parent / "resnet18", "resnet18")
    reader.hub.files |= zoobot | hub_files(resnet, "timm/resnet18.a1_in1k")
    reader.patch.setenv("HF_ENDPOINT", reader.hub.address)
    reader.words["10,50,200"] = "2,4"  # a dozen pictures are few


def draw_few(reader: Reader) -> None:
    """The simulator draws no more than it takes to have some rings and mergers."""
    reader.patch.setitem(reader.installation.environment, "GALAXYLOOP_SIMULATED_STAMPS", "120")


def few_labels(reader: Reader) -> None:
    """The set is smaller than those that a replay is worth its time on."""
    reader.words["100"] = "15"


def run_a_campaign(reader: Reader) -> None:
    """A campaign NAME has labels and a version, and the store another encoder; ours was renewed since it began."""
    store = reader.installation.settings.store_folder
    if "zoobot" not in named(store):
        add(store, Wanted(f"timm:{NETWORK}", size=32, random=True), "zoobot", progress_bar)
    write_encoder(reader.folder / "before", 8)
    reader.begin("NAME", "--encoder", "before")
    label_name(reader)


def check_out(reader: Reader) -> None:
    """The folder is a checkout of Galaxy Loop, with its environments."""
    checkout = reader.folder.parent / "checkout"
    subprocess.run(["git", "clone", "--quiet", REPOSITORY, checkout], check=True)
    shutil.rmtree(checkout / "models")
    shutil.copytree(reader.folder, checkout, dirs_exist_ok=True)
    for name in (".venv", ".venv-label-studio"):
        (checkout / name).symlink_to(REPOSITORY / name)
    reader.folder = checkout
    reader.words["DATA=path/to/pictures"] = "DATA=pictures"


def mend_the_servers(reader: Reader) -> None:
    """The folder is a checkout, and what other tests broke on the servers is mended."""
    check_out(reader)
    reader.run("doctor", "--fix")
    reader.at_rest()


def clone_elsewhere(reader: Reader) -> None:
    """As `mend_the_servers`; experiments get a folder here."""
    mend_the_servers(reader)
    reader.words["/srv/galaxyloop-experiments"] = str(reader.folder.parent / "experiments")


def check_out_with_a_campaign(reader: Reader) -> None:
    """The folder is a checkout, and a campaign NAME has labels and a version."""
    check_out(reader)
    reader.begin("NAME")
    label_name(reader)
    with reader.database.transaction() as connection:
        active = active_version(connection, reader.campaign("NAME"))
    assert active is not None
    reader.words |= {"VERSION": active.version}


def spirals(reader: Reader) -> None:
    """The campaign of the page before has labels."""
    reader.begin("Spirals of field 7", "--audit", "0.25")
    reader.label("Spirals of field 7")


def imitate_surveys(reader: Reader) -> None:
    """Our surveys' services are this machine's imitation of them."""
    ours = Path(description.__file__).parent / "descriptions"
    folder = reader.folder.parent / "descriptions"
    shutil.copytree(ours, folder, dirs_exist_ok=True)
    for path in folder.iterdir():
        path.write_text(path.read_text().replace("https://www.legacysurvey.org/viewer", reader.survey.url))
    reader.patch.setattr(description, "files", lambda package: folder.parent)
    reader.survey.description(reader.folder).rename(reader.folder / "my-survey.toml")


def install_packages(reader: Reader) -> None:
    """The packages of the guides are installed; a detector of the kind `tails` is in FOLDER."""
    reader.patch.syspath_prepend(reader.installation.environment["PYTHONPATH"].partition(os.pathsep)[0])
    find_kind.cache_clear()
    write_detector(reader.folder / "FOLDER", classes=("tidal tail",))


def draw_arcs(reader: Reader) -> None:
    masks = np.zeros((1, SIDE, SIDE), dtype=bool)
    masks[0, 4:14, 6:20] = True
    controls = find_object_controls(reader.label_config("Lenses of field 7"))
    arc = object_result(controls, Instances.of_masks(("arc",), masks), width=DISPLAY_SIZE, height=DISPLAY_SIZE)
    reader.answer("Lenses of field 7", [arc])


def mend_numbers(reader: Reader) -> None:
    given = {"from_name": "mag_r", "to_name": "image", "type": "number", "value": {"number": 17.5}}
    reader.answer("Sizes of field 7", [[given]])


def vote(reader: Reader) -> None:
    reader.answer("Zoo of field 7", [regions(answers) for answers in KINDS], count=12)


def copy_elsewhere(reader: Reader) -> None:
    """The disk for copies is a folder here."""
    reader.words["/mnt/copies/2026-11-27.backup"] = str(reader.folder / "copy.backup")


def write_config(reader: Reader) -> None:
    """The label config of the page is in a file."""
    for name, text in guide_files("several-questions.md").items():
        (reader.folder / name).write_text(text)


STATIONS: dict[str, Callable[[Reader], None]] = {
    "docs/howto/adopt-a-project.md": adopt,
    "docs/howto/any-encoder.md": fill_hub,
    "docs/howto/backup.md": copy_elsewhere,
    "docs/howto/buckets.md": mend_the_servers,
    "docs/howto/change-the-encoder.md": run_a_campaign,
    "docs/howto/close-the-loop.md": clone_elsewhere,
    "docs/howto/find-one-kind.md": draw_few,
    "docs/howto/galaxy-zoo-labels.md": few_labels,
    "docs/howto/new-head.md": install_packages,
    "docs/howto/new-kind.md": install_packages,
    "docs/howto/publish-a-catalogue.md": spirals,
    "docs/howto/rebuild-a-version.md": check_out_with_a_campaign,
    "docs/howto/run-the-servers.md": mend_the_servers,
    "docs/howto/several-questions.md": write_config,
    "docs/howto/survey-cutouts.md": imitate_surveys,
}
"""What comes before a page's first line."""
MEANWHILE: dict[str, Callable[[Reader], None]] = {
    "galaxyloop campaign create NAME --stamps my-stamps.h5 --encoder zoobot": label_name,
    'galaxyloop campaign create "Lenses of field 7" --kind lenses --stamps stamps.h5': draw_arcs,
    'galaxyloop campaign create "Sizes of field 7" --kind parameters --stamps stamps.h5 --overlap 2': mend_numbers,
    'galaxyloop campaign create "Zoo of field 7" --kind galaxy_zoo --stamps field-7.h5': vote,
}
"""What people do after a line."""
