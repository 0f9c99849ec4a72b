"""Versions are made again from their labels, in a clean clone, bit for bit; and what is in the way is said."""

import shutil
import subprocess
from pathlib import Path

import pytest

from backend_ml.rebuilding.freezing import find_version, freeze_version
from backend_ml.store.campaigns import add_campaign, campaign_of_id
from backend_ml.store.database import Database
from backend_ml.store.encoders import encoder_folder
from backend_ml.store.records import Campaign
from lvm_training.errors import LabelError
from lvm_training.heads.classification import ClassificationHead
from lvm_training.model.encoder import Encoder
from lvm_training.pool.embedding import embed_set
from lvm_training.scenes.simulated_classes import NOT
from lvm_training.stamps.stampset import StampSet
from lvm_training.tables.frozen_labels import FrozenLabels
from tests.backend_ml.conftest import CLASSES, MORPHOLOGY, PROJECT
from tests.backend_ml.learned import begin_now, learn_now
from tests.backend_ml.rebuilding.made_again import (
    GIT,
    again,
    fit_again,
    learned_there,
    rebuilt,
    run,
    serving,
    shown,
)
from tests.backend_ml.simulated_sky import STAMPS, write_simulated
from tests.backend_ml.whole import label, write_encoder
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.usefixtures("warm_python")


def test_a_version_is_made_again_bit_for_bit_by_the_command_that_show_names(
    database: Database, whole: Campaign, store: Path, origin: Path, tmp_path: Path
) -> None:
    first = learned_there(database, whole, store, origin)
    label(database, whole, range(10, 20))
    assert learn_now(database, whole, store) == "promoted"
    second = serving(database, whole)
    facts = shown(first, "--repo", origin)
    commit = subprocess.run([*GIT, str(origin), "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    assert commit.startswith(facts["revision"]) and facts["code_here"] == "the code that fits heads is the same here"
    assert (facts["snapshot"]["labels"], facts["seed"], facts["encoder"]["features"]) == (10, 0, True)
    assert facts["locks"]["dvc.lock"]["here"] == (
        (REPOSITORY / "dvc.lock").read_bytes() == (origin / "dvc.lock").read_bytes()
    )
    command = facts["rebuild"].split()[2:]
    told = rebuilt(*command[1:], "--repo", origin, "--keep", tmp_path / "kept")
    assert command[0] == "rebuild" and told["identical"] and told["served"] == told["rebuilt"], told
    assert (told["labels"], told["notes"], told["commit"]) == (10, [], commit.strip())
    kept = tmp_path / "kept" / "rebuild" / first
    frozen = FrozenLabels.read(kept / facts["snapshot"]["name"])
    with database.transaction() as connection:
        found = find_version(connection, first)
        assert frozen == freeze_version(connection, found) and frozen.digest == facts["snapshot"]["sha256"]
    assert (kept / "head.safetensors").read_bytes() == found.version.weights
    assert "fit" in (tmp_path / "kept" / "rebuild" / first / "dvc.lock").read_text(), "through DVC"
    assert serving(database, whole) == second, "what serves stays"


def test_features_that_were_cleaned_are_embedded_anew_and_without_their_encoder_that_is_said(
    database: Database, whole: Campaign, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert learn_now(database, whole, store) == "promoted"
    version = serving(database, whole)
    monkeypatch.chdir(tmp_path)
    encoder = Encoder.load(write_encoder(tmp_path / "other", seed=4))
    with StampSet(tmp_path / "sky.h5") as stamps:
        features = str(embed_set(stamps, encoder, store / "features").path)
        values = {"path": str(stamps.path), "digest": stamps.digest, "features": features}
    database.rows("put_stamp_set", name="sky", **values)
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET encoder = %s", (encoder.digest,))
    told, work, _ = again(database, version, store)
    assert told["identical"] and whole.encoder in work.features["sky"].name, "another encoder took its place since"
    for path in (store / "features").iterdir():
        path.unlink()
    facts = shown(version)
    assert facts["encoder"] == {"digest": whole.encoder, "checkpoint": True, "features": False}
    told, work, _ = again(database, version, store)
    assert told["identical"] and not work.features
    (tmp_path / "sky.h5").rename(tmp_path / "away.h5")
    gone = run("rebuild", version, "--repo", REPOSITORY)
    assert gone.exit_code == 1 and "are gone, and so are its stamps" in gone.stderr
    (tmp_path / "away.h5").rename(tmp_path / "sky.h5")
    shutil.rmtree(encoder_folder(store, whole.encoder))
    gone = run("rebuild", version, "--repo", REPOSITORY)
    assert gone.exit_code == 1 and "the store has that encoder no more" in gone.stderr
    assert str(encoder_folder(store, whole.encoder)) in " ".join(gone.stderr.split())


@pytest.fixture
def searching(database: Database, campaign: Campaign, store: Path) -> Campaign:
    """A search for rings in the sky of `campaign`; the simulator has drawn some."""
    write_simulated(store, "ring", like=3)
    values = MORPHOLOGY | {"kind": "interest", "classes": ("no", "yes"), "policy": "loop", "audit_fraction": 0.0}
    with database.transaction() as connection:
        return add_campaign(
            connection, **values, name="Rings", project=70, simulated={"yes": "ring"}, simulated_stamps=STAMPS
        )


def say(database: Database, campaign: Campaign, **rows: list[int]) -> None:
    for name, numbers in rows.items():
        for row in numbers:
            values = {"stamp_set": "sky", "stamp_id": row, "label": name}
            database.rows("put_snapshot_label", campaign=campaign.id, **values)


def test_searches_are_made_again_with_and_without_a_prior_and_a_calibration(
    database: Database, searching: Campaign, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    begin_now(database, searching, None, store)
    made = [serving(database, searching)]
    for said in ({"no": [3, 8]}, {"yes": [1, 6, 2, 7], "no": [4, 9]}):
        say(database, searching, **said)
        assert learn_now(database, searching, store) == "promoted"
        made.append(serving(database, searching))
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET simulated = '{}' WHERE name = 'Rings'")
        plain = add_campaign(connection, **MORPHOLOGY | {"kind": "interest", "classes": ("no", "yes")}, name="Plain")
    say(database, plain, yes=[1, 6], no=[2, 3])
    assert learn_now(database, plain, store) == "promoted"
    for version in (*made, serving(database, plain)):
        told, work, _ = again(database, version, store)
        assert told["identical"], version
    assert len(set(made)) == 3 and work.recipe.simulated == {}


def test_a_head_that_began_with_simulated_classes_is_made_again_though_they_changed(
    database: Database, campaign: Campaign, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_simulated(store, "edge-on", like=3)
    mapped = {"edge-on disc": "edge-on", "spiral": f"{NOT}edge-on"}
    with database.transaction() as connection:
        taught = add_campaign(
            connection, **MORPHOLOGY, name="Taught", project=70, simulated=mapped, simulated_stamps=STAMPS
        )
    say(database, taught, spiral=[4])
    assert learn_now(database, taught, store) == "promoted"
    version = serving(database, taught)
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET simulated = '{}', classes = '{a,b}', seed = 5 WHERE name = 'Taught'")
    told, work, _ = again(database, version, store)
    assert told["identical"] and dict(work.recipe.simulated) == mapped and work.recipe.classes == CLASSES


def test_a_head_that_reads_columns_beside_the_image_is_made_again(
    database: Database, whole: Campaign, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET columns = '{ra,dec}'")
        read = campaign_of_id(connection, whole.id)
    assert read is not None and learn_now(database, read, store) == "promoted"
    version = serving(database, read)
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET columns = '{}'")
    told, work, _ = again(database, version, store)
    assert told["identical"] and work.recipe.columns == ("ra", "dec")


def test_another_head_is_said_to_differ_and_by_how_much(
    database: Database, campaign: Campaign, head: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with database.transaction() as connection:
        found = find_version(connection, head)
        assert found.version.weights is not None
        served = ClassificationHead.load(found.version.weights)
        served.bias[0] += 0.5
        values = {"weights": served.save(), "version": head}
        connection.execute("UPDATE model_version SET weights = %(weights)s WHERE version = %(version)s", values)
    told, *_ = again(database, head, store)
    assert not told["identical"] and told["served"] != told["rebuilt"]
    assert told["stamps"] == 10 and 0 < told["mean_difference"] < told["largest_difference"] < 1


def test_labels_edited_by_hand_in_a_kept_clone_are_refused_by_name(
    database: Database, campaign: Campaign, head: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, work, folder = again(database, head, store)
    frozen = FrozenLabels.read(folder / work.labels)
    edited = FrozenLabels(frozen.kind, frozen.classes, frozen.consensus, frozen.answers[1:])
    edited.write(folder / work.labels)
    with pytest.raises(LabelError, match=f"{work.labels.name} was changed after it was frozen"):
        fit_again(folder)


def test_versions_that_cannot_be_rebuilt_say_why(
    database: Database, campaign: Campaign, head: str, store: Path, tmp_path: Path
) -> None:
    unknown = run("rebuild", "morphology-0")
    assert unknown.exit_code == 1 and "No campaign has a version 'morphology-0'" in unknown.stderr
    with database.transaction() as connection:
        twin = add_campaign(connection, **MORPHOLOGY | {"seed": 0}, name="Twin", project=8)
    cold = begin_now(database, twin, None, store)
    told = run("rebuild", cold)
    assert told.exit_code == 1 and "cold start: it ranks without a model" in told.stderr
    for row, name in enumerate(CLASSES):
        database.rows("put_snapshot_label", campaign=twin.id, stamp_set="sky", stamp_id=row, label=name)
    assert learn_now(database, twin, store) == "promoted" and serving(database, twin) == head
    both = run("show", head)
    assert both.exit_code == 1 and f"{head} is of 'Test', 'Twin'." in both.stderr and "--campaign" in both.stderr
    facts = shown(head, "--campaign", "Twin")
    assert facts["rebuild"] == f"galaxyloop model rebuild {head} --campaign Twin"
    no_checkout = run("rebuild", head, "--campaign", "Twin", "--repo", tmp_path)
    assert no_checkout.exit_code == 1 and "is no git checkout of Galaxy Loop" in no_checkout.stderr
    database.rows("delete_campaign", project=PROJECT)
    database.rows("delete_campaign", project=8)
    gone = run("show", head)
    assert gone.exit_code == 1 and "a campaign that was deleted took its versions along" in gone.stderr


def test_show_tells_it_all_in_words(database: Database, campaign: Campaign, head: str, store: Path) -> None:
    said = run("promote", "Test", head)
    assert said.exit_code == 0, said.output
    told = " ".join(run("show", head, "--repo", REPOSITORY).stdout.split())
    for words in (head, "test-", "5 labels, of 5 answers by majority", "numpy", "dvc.lock", "by hand", "Seed 0"):
        assert words.casefold() in told.casefold(), (words, told)
    assert f"galaxyloop model rebuild {head}" in told
