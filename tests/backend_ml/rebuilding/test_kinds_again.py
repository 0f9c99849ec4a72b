"""Versions of every kind are made again, bit for bit: votes, numbers, stars, several questions, objects, decoders."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from psycopg.types.json import Jsonb
from pyarrow import parquet

from backend_ml.kinds.installed import find_kind
from backend_ml.label_studio.regions import brush
from backend_ml.networks.decoders import SIDE
from backend_ml.plugins.interest_rating import InterestRating
from backend_ml.plugins.restoration import CLASSES as JUDGEMENTS
from backend_ml.rebuilding.freezing import find_version, freeze, freeze_version, read_frozen
from backend_ml.store.campaigns import add_campaign, campaign_of_id
from backend_ml.store.database import Database, query, query_many
from backend_ml.store.records import Campaign
from backend_ml.store.versions import VersionError
from lvm_training.errors import LabelError
from lvm_training.model.encoder import Encoder
from lvm_training.paths import RELEASED_LVM
from lvm_training.pool.embedding import embed_set, features_path
from lvm_training.restoration.restorer import Restorer
from lvm_training.stamps.stampset import StampSet
from lvm_training.tables.frozen_labels import ASIDE, AUDIT, TRAINING, FrozenLabels
from tests.backend_ml.learned import begin_now, learn_now
from tests.backend_ml.lenses import annotation, one_arc
from tests.backend_ml.rebuilding.made_again import again, fit_again, learned_there, rebuilt, run, serving, shown
from tests.backend_ml.voting import KINDS, regions
from tests.backend_ml.whole import RENDERING, N, stored

pytestmark = pytest.mark.usefixtures("warm_python")

LAST = 10  # stamps of the audit slice
TREE, RATING, NUMBERS, ASKED = (
    find_kind(name).label_config() for name in ("galaxy_zoo", "interest_rating", "parameters", "several")
)
BROUGHT = """<View>
  <Image name="image" value="$image"/>
  <Choices name="form" toName="image" choice="single-radio"><Choice value="long"/><Choice value="short"/></Choices>
  <Choices name="bright" toName="image"><Choice value="yes"/><Choice value="no"/></Choices>
  <Number name="mag_r" toName="image" min="5" max="30" step="any"/>
  <Rating name="interest" toName="image" maxRating="5"/>
</View>"""
Said = Callable[[int], list[dict[str, Any]]]


def stated(name: str, kind: str, value: Any) -> dict[str, Any]:
    return {"from_name": name, "to_name": "image", "type": kind, "value": {kind: value}}


def votes(stamp: int) -> list[dict[str, Any]]:
    return regions(KINDS[stamp % 5])


def numbers(stamp: int) -> list[dict[str, Any]]:
    return [stated("mag_r", "number", 17 + stamp / 40), stated("axis_ratio", "number", 1 / (1 + stamp % 5))]


def stars(stamp: int) -> list[dict[str, Any]]:
    return [stated("interest", "rating", 1 + stamp % 5)]


def all_at_once(stamp: int) -> list[dict[str, Any]]:
    form, bright = ("long", "short")[stamp % 5 > 2], ("yes", "no")[stamp % 2]
    own = [stated("form", "choices", [form]), stated("bright", "choices", [bright])]
    return [*own, stated("mag_r", "number", 17 + stamp / 40), *(stars(stamp) if stamp % 3 else [])]


SAID: dict[str, Said] = {
    "galaxy_zoo": votes,
    "parameters": numbers,
    "interest_rating": stars,
    "several": all_at_once,
}


def asking(database: Database, whole: Campaign, kind: str, label_config: str = "") -> Campaign:
    """A campaign of a kind over the stamps of `whole`: task 500 + i shows stamp i, the last ten are blind."""
    classes = find_kind(kind).offered(label_config or find_kind(kind).label_config())
    values = {"stamp_set": "sky", "encoder": whole.encoder, "rendering": RENDERING, "audit_fraction": 0.2}
    with database.transaction() as connection:
        made = add_campaign(
            connection,
            **values,
            name=kind,
            project=80,
            kind=kind,
            classes=classes,
            policy=find_kind(kind).policies[0],
            label_config=label_config,
        )
        task = {"campaign": made.id, "stamp_set": "sky"}
        rows = [{**task, "task": 500 + i, "stamp_id": i, "audit": i >= N - LAST} for i in range(N)]
        query_many(connection, "put_task", rows)
    return made


class Team:
    """People who annotate tasks, each a minute after the one before."""

    def __init__(self, database: Database, campaign: Campaign, task: int = 500) -> None:
        self.database, self.campaign, self.task, self.number = database, campaign, task, 0

    def say(self, stamp: int, result: Any, annotator: int = 11) -> int:
        self.number += 1
        self.database.rows(
            "put_annotation_event",
            campaign=self.campaign.id,
            action="labelled",
            task=self.task + stamp,
            annotation=self.number,
            label=None,
            annotator=annotator,
            result=Jsonb(result),
            parent_prediction=None,
            lead_time=None,
            source="webhook",
            happened_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=self.number),
        )
        return self.number

    def disturb(self, said: Said) -> None:
        """All that may happen to labels once they were learned."""
        for stamp in (0, 1, 45):
            self.say(stamp, said(stamp + 1), 12)
        with self.database.transaction() as connection:
            query(connection, "put_deletion", campaign=self.campaign.id, annotation=4, source="webhook")
            query(connection, "delete_tasks", campaign=self.campaign.id, tasks=[self.task + 5])
            query(connection, "put_person_aside", campaign=self.campaign.id, person="another", annotator=13)


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is fitted has one; whoever makes it again has more, as a shell has that no worker was started from."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")


@pytest.fixture(params=SAID)
def asked(request: pytest.FixtureRequest, database: Database, whole: Campaign) -> tuple[Campaign, Team, Said]:
    """A campaign of a kind whose head is fitted on features, and a team of two that has answered 40 of its stamps."""
    kind = request.param
    made = asking(database, whole, kind, BROUGHT if kind == "several" else "")
    team = Team(database, made)
    for stamp in (*range(30), *range(N - LAST, N)):
        team.say(stamp, SAID[kind](stamp), 11 + 2 * (stamp % 2))
    for stamp in range(5):
        team.say(stamp, SAID[kind](stamp + 1), 12)
    team.say(31, 3)  # which nobody can read
    return made, team, SAID[kind]


def now(database: Database, campaign: Campaign) -> FrozenLabels:
    with database.transaction() as connection:
        present = campaign_of_id(connection, campaign.id)
        assert present is not None
        return freeze(connection, present)


def then(database: Database, version: str) -> FrozenLabels:
    with database.transaction() as connection:
        return freeze_version(connection, find_version(connection, version))


def test_a_head_of_any_kind_is_made_again_by_the_command_that_show_names(
    database: Database, asked: tuple[Campaign, Team, Said], store: Path, origin: Path, tmp_path: Path
) -> None:
    campaign, team, said = asked
    before = now(database, campaign)
    version = learned_there(database, campaign, store, origin)
    team.disturb(said)
    assert now(database, campaign) != before
    facts = shown(version, "--repo", origin)
    assert facts["problem"] is None and facts["snapshot"]["to_judge_on"] == LAST
    told = rebuilt(*facts["rebuild"].split()[3:], "--repo", origin, "--keep", tmp_path / "kept")
    assert told["identical"] and told["served"] == told["rebuilt"] and told["notes"] == [], told
    kept = tmp_path / "kept" / "rebuild" / version
    with database.transaction() as connection:
        served = find_version(connection, version).version
    assert (kept / "head.safetensors").read_bytes() == served.weights
    assert facts["snapshot"]["labels"] == told["labels"] == served.labels
    assert FrozenLabels.read(kept / facts["snapshot"]["name"]) == before


def test_what_people_stated_is_frozen_with_who_and_when_and_what_teaches_nothing_is_aside(
    database: Database, asked: tuple[Campaign, Team, Said], store: Path, tmp_path: Path
) -> None:
    campaign, _, said = asked
    assert learn_now(database, campaign, store) == "promoted"
    frozen = then(database, serving(database, campaign))
    assert frozen.kind == campaign.kind and "<Image" in frozen.label_config
    one = next(one for one in frozen.answers if one.stamp_id == 7)
    assert json.loads(one.said) == said(7) and one.annotator == "person 2" and one.shown == ""
    assert one.at == datetime(2026, 1, 1, 0, 8, tzinfo=UTC) and one.split == TRAINING
    assert {one.stamp_id: one.split for one in frozen.answers if one.stamp_id in (31, N - 1)} == {
        31: ASIDE,
        N - 1: AUDIT,
    }
    path = tmp_path / frozen.file_name(campaign.name)
    frozen.write(path)
    assert FrozenLabels.read(path) == frozen and FrozenLabels.read(path).learned == frozen.learned
    with pytest.raises(LabelError, match="no label of one choice a galaxy"):
        _ = frozen.snapshot
    with database.transaction() as connection:
        connection.execute("DELETE FROM label_event WHERE annotation_id = 8")
        found = find_version(connection, serving(database, campaign))
        with pytest.raises(VersionError, match=r"no longer gives the labels .* it has \d+ of \d+ answers"):
            freeze_version(connection, found)
        assert read_frozen(found, path) == frozen


def test_a_snapshot_that_somebody_edited_is_refused_whatever_its_kind(
    database: Database, asked: tuple[Campaign, Team, Said], store: Path
) -> None:
    campaign, _, said = asked
    assert learn_now(database, campaign, store) == "promoted"
    told, work, folder = again(database, serving(database, campaign), store)
    assert told["identical"]
    path = folder / work.labels
    table = parquet.read_table(path, memory_map=False)
    place = table.column_names.index("said")
    column = table.column("said").to_pylist()
    column[0] = json.dumps(said(3))
    parquet.write_table(table.set_column(place, table.schema.field(place), [column]), path)
    with pytest.raises(LabelError, match=f"{path.name} was changed after it was frozen"):
        fit_again(folder)
    with database.transaction() as connection:
        found = find_version(connection, serving(database, campaign))
    with pytest.raises(LabelError, match="was changed after it was frozen"):
        read_frozen(found, path)


def test_votes_that_a_campaign_started_from_are_counted_again(database: Database, whole: Campaign, store: Path) -> None:
    campaign = asking(database, whole, "galaxy_zoo")
    team = Team(database, campaign)
    for stamp in range(20):
        database.rows(
            "put_starting_votes",
            campaign=campaign.id,
            stamp_set="sky",
            stamp_id=stamp,
            label="smooth",
            votes=Jsonb({"smooth-or-featured_smooth": 3 + stamp % 2, "how-rounded_round": 3}),
        )
        team.say(stamp, votes(stamp))
    assert learn_now(database, campaign, store) == "promoted"
    told, work, folder = again(database, serving(database, campaign), store)
    frozen = FrozenLabels.read(folder / work.labels)
    assert told["identical"] and sum(one.annotator == "starting labels" for one in frozen.answers) == 20
    assert {one.answers for one in frozen.answers} == {2}


def test_a_class_that_got_another_name_since_is_read_by_the_one_that_it_had(
    database: Database, whole: Campaign, store: Path
) -> None:
    campaign = asking(database, whole, "several", BROUGHT)
    team = Team(database, campaign)
    for stamp in range(30):
        team.say(stamp, all_at_once(stamp))
    assert learn_now(database, campaign, store) == "promoted"
    version = serving(database, campaign)
    with database.transaction() as connection:
        values = {"classes": ["lengthy", "short"], "renamed": Jsonb({"long": "lengthy"}), "simulated": Jsonb({})}
        query(connection, "put_classes", campaign=campaign.id, **values)
        connection.execute("UPDATE campaign SET label_config = replace(label_config, 'long', 'lengthy'), seed = 9")
    told, work, _ = again(database, version, store)
    assert told["identical"] and work.recipe.classes == ("long", "short")
    with database.transaction() as connection:
        present = campaign_of_id(connection, campaign.id)
    assert present is not None and learn_now(database, present, store) == "promoted"
    later, work, _ = again(database, serving(database, campaign), store)
    assert later["identical"] and work.recipe.renamed == {"long": "lengthy"}


def test_numbers_that_correct_the_released_head_are_learned_again_from_it(
    database: Database, whole: Campaign, store: Path, origin: Path, tmp_path: Path
) -> None:
    digest = stored(store, RELEASED_LVM)
    with StampSet(tmp_path / "sky.h5") as stamps:
        encoder = Encoder.load(RELEASED_LVM)
        embed_set(stamps, encoder, store / "features")
        values = {"path": str(stamps.path), "digest": stamps.digest}
        values["features"] = str(features_path(stamps, encoder, store / "features"))
    database.rows("put_stamp_set", name="sky", **values)
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET encoder = %s", (digest,))
        present = campaign_of_id(connection, whole.id)
    assert present is not None
    campaign = asking(database, present, "parameters")
    begun = begin_now(database, campaign, None, store)
    said = run("rebuild", begun)
    assert said.exit_code == 1 and "is the model that the campaign began with" in said.stderr
    team = Team(database, campaign)
    for stamp in range(8):
        team.say(stamp, numbers(stamp))
    assert learn_now(database, campaign, store) == "promoted"
    facts = shown(serving(database, campaign), "--repo", origin)
    told = rebuilt(*facts["rebuild"].split()[3:], "--repo", origin)
    assert told["identical"] and told["labels"] == 8 and facts["encoder"]["digest"] == digest


def test_heads_of_several_questions_that_read_columns_are_made_again(
    database: Database, whole: Campaign, store: Path
) -> None:
    campaign = asking(database, whole, "several", BROUGHT)
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET columns = '{ra,dec}' WHERE id = %s", (campaign.id,))
        read = campaign_of_id(connection, campaign.id)
    assert read is not None
    team = Team(database, read)
    for stamp in range(30):
        team.say(stamp, all_at_once(stamp))
    assert learn_now(database, read, store) == "promoted"
    told, work, _ = again(database, serving(database, read), store)
    assert told["identical"] and work.recipe.columns == ("ra", "dec")


def judged(stamp: int) -> list[dict[str, Any]]:
    mask: NDArray[np.bool_] = np.zeros((SIDE, SIDE), dtype=bool)
    mask[60:120, 300:390] = True
    chosen = {**stated("restoration", "choices", [JUDGEMENTS[stamp % 3]]), "to_name": "restored"}
    value = {"format": "rle", "rle": brush.encode(mask), "brushlabels": ["artefact"]}
    size = {"original_width": SIDE, "original_height": SIDE, "image_rotation": 0}
    painted = {"from_name": "where", "to_name": "restored", "type": "brushlabels", "value": value, **size}
    return [chosen, *([painted] if stamp % 3 == 2 else [])]


def drawn(stamp: int) -> list[dict[str, Any]]:
    return annotation(one_arc(4 + stamp), "A") if stamp % 2 else annotation(None, "not a lens")


def drawing(database: Database, campaign: Campaign, store: Path) -> tuple[str, Path]:
    """The detector that people's drawings made, and the folder of the one that the campaign began with."""
    first = serving(database, campaign)
    team = Team(database, campaign, 100)
    for stamp in range(6):
        team.say(stamp, drawn(stamp))
    assert learn_now(database, campaign, store) == "promoted"
    with database.transaction() as connection:
        begun = find_version(connection, first).version.detector
    return serving(database, campaign), store / "detectors" / str(begun)


def test_a_detector_is_trained_again_from_the_one_that_the_campaign_began_with(
    database: Database, lenses: Campaign, store: Path, origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, first = drawing(database, lenses, store)
    # as a shell has it that knows nothing of the worker's environment
    monkeypatch.setenv("GALAXYLOOP_PRECISION", "bf16")
    facts = shown(version, "--repo", origin)
    command = facts["rebuild"].split()[3:]
    told = rebuilt(*command, "--repo", origin, "--keep", tmp_path / "kept")
    assert told["identical"] and told["rebuilt"] == facts["detector"] and told["labels"] == 6, told
    own, served = (folder / "detectors" / facts["detector"] for folder in (tmp_path / "kept/build/store", store))
    assert not own.is_symlink()
    assert (own / "model.safetensors").read_bytes() == (served / "model.safetensors").read_bytes()
    first.rename(tmp_path / "away")
    gone = run("rebuild", *command, "--repo", origin)
    said = " ".join(gone.stderr.split())
    assert gone.exit_code == 1 and f"The model {first.name} that the campaign began with" in said and str(first) in said


def test_pictures_that_are_gone_are_said(
    database: Database, lenses: Campaign, store: Path, origin: Path, tmp_path: Path
) -> None:
    version, _ = drawing(database, lenses, store)
    (tmp_path / "sky.h5").rename(tmp_path / "away.h5")
    gone = run("rebuild", version, "--repo", origin)
    assert gone.exit_code == 1 and "The stamps of sky are gone, whose pictures it learned" in gone.stderr


def test_a_decoder_is_trained_again_from_the_first_and_what_that_restored(
    database: Database, whole: Campaign, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # errors read off few stamps, in one view: what they are makes no difference here
    few = {"stamps": 2, "views": 1}
    monkeypatch.setattr(Restorer.__init__, "__kwdefaults__", dict(Restorer.__init__.__kwdefaults__) | few)
    monkeypatch.setattr(Restorer.load.__func__, "__kwdefaults__", {"views": 1})
    campaign = asking(database, whole, "restoration")
    begun = begin_now(database, campaign, None, store)
    team = Team(database, campaign)
    for stamp in range(6):
        team.say(stamp, judged(stamp))
    assert learn_now(database, campaign, store) == "promoted"
    told, _, folder = again(database, serving(database, campaign), store)
    assert told["identical"] and told["served"] == told["rebuilt"]
    own, served = (one / "decoders" / told["served"] for one in (folder / "build/store", store))
    assert (own / "model.safetensors").read_bytes() == (served / "model.safetensors").read_bytes()
    (borrowed,) = (folder / "build/store/restored").iterdir()
    assert borrowed.is_symlink() and borrowed.is_file(), "what people judged is read, not restored anew"
    facts = shown(begun)
    assert facts["rebuild"] is None and "is the model that the campaign began with" in facts["problem"]


@pytest.mark.soak
def test_a_decoder_is_made_again_by_the_command_in_a_clone(
    database: Database, whole: Campaign, store: Path, origin: Path, tmp_path: Path
) -> None:
    campaign = asking(database, whole, "restoration")
    begin_now(database, campaign, None, store)
    team = Team(database, campaign)
    for stamp in range(6):
        team.say(stamp, judged(stamp))
    assert learn_now(database, campaign, store) == "promoted"
    facts = shown(serving(database, campaign), "--repo", origin)
    told = rebuilt(*facts["rebuild"].split()[3:], "--repo", origin, "--keep", tmp_path / "kept")
    assert told["identical"] and told["served"] == told["rebuilt"], told


def test_a_kind_that_does_not_say_what_counts_says_that_it_cannot_be_rebuilt(
    database: Database, whole: Campaign, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = InterestRating.read
    monkeypatch.setattr(InterestRating, "read", lambda *given: replace(read(*given), counted=None))
    campaign = asking(database, whole, "interest_rating")
    team = Team(database, campaign)
    for stamp in range(20):
        team.say(stamp, stars(stamp))
    assert learn_now(database, campaign, store) == "promoted"
    facts = shown(serving(database, campaign))
    assert facts["rebuild"] is None and "has a `read` of its own that does not say so" in facts["problem"]
