"""Kinds that others bring: what is wrong with one is said in a line, and no other campaign notices."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend_ml.campaign import defer, status
from backend_ml.kinds.installed import check_kind, find_kind, names
from backend_ml.kinds.kind import KindError
from backend_ml.label_studio.wire import Task
from backend_ml.plugins.choices import Morphology
from backend_ml.serving.predictor import Predictor
from backend_ml.store import versions
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database, query
from backend_ml.store.records import Campaign
from tests.backend_ml.conftest import CLASSES, MORPHOLOGY, PROJECT
from tests.backend_ml.learned import learn_now, run_jobs
from tests.plugins import guide_files, install, install_broken, install_guides

USED = {
    "foreign": "'foreign' answers comet, which its campaign does not offer",
    "nan": "'nan' answers numbers that are not finite",
    "failing": r"'failing' failed learning \(ZeroDivisionError: division by zero\)",
}
UNUSABLE = {
    "broken": "'broken' of bad-kinds cannot be used: bad_broken:Made fails to load .*a_package_that_nobody_has",
    "nothing": "'nothing' of bad-kinds cannot be used: bad_nothing:Made is no class derived from Kind",
    "twice": r"'twice' is offered twice, by bad-kinds \(bad_twice:Made\) and other-kinds \(bad_twice:Made\)",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with packages of kinds, good ones and bad ones."""
    folder = tmp_path_factory.mktemp("site")
    install_broken(folder)
    install_guides(tmp_path_factory.mktemp("guides"), folder)
    return folder


@pytest.fixture(autouse=True)
def packages(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """These packages are on the search path."""
    monkeypatch.syspath_prepend(folder)
    find_kind.cache_clear()
    yield
    find_kind.cache_clear()
    for name in [name for name, module in sys.modules.items() if str(folder) in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]


def second_campaign(database: Database, kind: str) -> Campaign:
    """Another campaign over the stamps of the first, as people of another kind would have it."""
    with database.transaction() as connection:
        return add_campaign(connection, **{**MORPHOLOGY, "kind": kind}, name="Other", project=PROJECT + 1)


def label(database: Database, campaign: Campaign) -> None:
    for row, name in enumerate(CLASSES):
        database.rows("put_snapshot_label", campaign=campaign.id, stamp_set="sky", stamp_id=row, label=name)


def status_of(database: Database, campaign: Campaign) -> dict[str, object]:
    with database.transaction() as connection:
        return status.campaign_status(connection, status.find(connection, campaign.name))


def test_the_guide_of_heads_is_short() -> None:
    files = guide_files("new-head.md")
    assert any("Head" in text for text in files.values())
    assert sum(len(text.splitlines()) for text in files.values()) < 80


def test_each_kind_of_the_guides_is_found_beside_ours() -> None:
    assert {"morphology", "interest", "lenses", "rings", "tails", "centroids"} <= set(names())
    for name, classes in (("rings", ("ring", "no ring")), ("tails", ("tidal tail",)), ("centroids", ("round", "long"))):
        kind = check_kind(name)
        assert kind.offered(kind.label_config()) == classes
        assert all(one in kind.instruction(kind.label_config(), {}) for one in classes)
    assert find_kind("tails").slow and find_kind("tails").policies[0] == "box-margin"
    assert find_kind("centroids").policies == find_kind("morphology").policies


@pytest.mark.parametrize(
    ("name", "words"),
    [
        *UNUSABLE.items(),
        ("nowhere", "'nowhere' has no label config at .*nowhere.xml"),
        ("outside", "'outside' answers comet, which its label config does not offer"),
    ],
)
def test_a_kind_that_cannot_be_used_is_named_in_one_line(name: str, words: str) -> None:
    with pytest.raises(KindError, match=words) as caught:
        check_kind(name)
    assert "\n" not in str(caught.value) and caught.value.hint


def test_nobody_takes_the_name_of_one_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, "rival", {"entry_points.txt": "[galaxyloop.kinds]\nmorphology = bad_nan:Made\n"})
    with pytest.raises(KindError, match=r"'morphology' is offered twice, by galaxyloop .* and rival"):
        check_kind("morphology")
    assert type(find_kind("morphology")) is Morphology, "its campaigns go on"


@pytest.mark.parametrize(("name", "words"), [*USED.items(), *UNUSABLE.items()])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_campaign_of_a_bad_kind_says_so_and_the_other_goes_on(
    database: Database, campaign: Campaign, name: str, words: str
) -> None:
    bad = second_campaign(database, name)
    for one in (bad, campaign):
        label(database, one)
        with database.transaction() as connection:
            defer.defer_learning(connection, one, asked=False)
    with pytest.raises(KindError, match=words):
        learn_now(database, bad)
    run_jobs(database)
    assert f"The kind '{name}'" in str(status_of(database, bad)) and status_of(database, bad)["version"] is None
    good = status_of(database, campaign)
    assert "The kind" not in str(good) and str(good["version"]).startswith("morphology-")


@pytest.mark.parametrize("name", ["nan", "broken"])
def test_a_bad_kind_answers_no_call_and_the_other_does(
    database: Database, campaign: Campaign, tmp_path: Path, name: str
) -> None:
    label(database, campaign)
    assert learn_now(database, campaign) == "promoted"
    with database.transaction() as connection:
        active = versions.active_version(connection, campaign)
        assert active is not None
        bad = second_campaign(database, name)
        values = {key: value for key, value in vars(active).items() if key != "created_at"}
        versions.add_version(connection, bad, **values)
        query(connection, "promote", campaign=bad.id, version=active.version, reason="created")
    predictor, tasks = Predictor(database, tmp_path), [Task(id=1, data={"stamp_set": "sky", "stamp_id": 3})]
    config = find_kind("morphology").label_config()
    with pytest.raises(KindError, match=f"The kind '{name}'"):
        predictor.predict(bad.project_id, config, tasks)
    (answer,) = predictor.predict(campaign.project_id, config, tasks)
    assert answer.result and answer.error is None
