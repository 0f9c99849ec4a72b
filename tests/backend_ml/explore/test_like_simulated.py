"""Searches that begin with what the simulator draws, on the page's API."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from backend_ml.app import create_app
from backend_ml.jobs import Services, simulate
from backend_ml.kinds.simulated import kept_wanted_prior
from backend_ml.label_studio.client import LabelStudio
from backend_ml.search.rounds import Examples, choose
from backend_ml.settings import Settings
from backend_ml.store.database import Database
from backend_ml.store.encoders import encoder_folder, keep_checkpoint
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign
from lvm_training.model.encoder import Encoder
from lvm_training.paths import RELEASED_LVM
from lvm_training.pool.features import Features, Origin
from lvm_training.scenes.simulated_classes import CONCEPTS
from tests.backend_ml.explore.conftest import STAMPS, VALUES, Visitor, visit
from tests.backend_ml.simulated_sky import STAMPS as SIMULATED
from tests.backend_ml.simulated_sky import write_simulated
from tests.backend_ml.sky import ENCODER

LIKE = 3  # rings look like the stamps of this class


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.model_validate({**VALUES, "home": tmp_path / "home", "simulated_stamps": SIMULATED})


@pytest.fixture
def guest(database: Database, sky: Path, settings: Settings) -> Iterator[Visitor]:
    made = create_app(settings, database.url)
    with TestClient(made):
        yield visit(made, "Vera")


def begin(guest: Visitor, name: str = "Rings", concept: str = "ring", **body: str) -> Any:
    return guest.post("/searches", {"name": name, "stamp_set": "sky", "simulated": concept, **body})


def waiting_jobs(database: Database) -> list[int]:
    with database.transaction() as connection:
        rows = connection.execute("SELECT args FROM procrastinate_jobs WHERE task_name = 'campaign:simulate'")
        return [row["args"]["campaign_id"] for row in rows]


def test_the_first_round_is_what_is_most_like_the_simulated_ones(guest: Visitor, settings: Settings) -> None:
    write_simulated(settings.store_folder, like=LIKE)
    answer = begin(guest)
    assert answer.status_code == 201, answer.text
    search = f"/searches/{answer.json()['id']}"
    state = guest.get(search).json()["simulated"]
    assert (state["concept"], state["words"], state["drawn"]) == ("ring", CONCEPTS["ring"].words, True)
    assert "not measured" in state["measured"]
    first = guest.next_round(search, size=STAMPS // 5)
    assert {stamp["stamp_id"] % 5 for stamp in first["stamps"]} == {LIKE}
    assert first["policy"] == "simulated" and first["prior_share"] == 1 and first["candidates"] == STAMPS
    likely = [stamp["probability"] for stamp in first["stamps"]]
    assert likely == sorted(likely, reverse=True) and {stamp["similarity"] for stamp in first["stamps"]} == {None}
    history = guest.get(f"{search}/history").json()["rounds"]
    assert [row["policy"] for row in history] == ["simulated"]
    path, _, key = first["stamps"][0]["why"].partition("?")
    why = guest.client.get(f"{path}.json?{key}").json()
    assert "in round 1: it looks more like what the simulator draws of what is looked for" in why["place_words"]
    assert why["version"].startswith("interest-") and set(why["answer"]) == {"no", "yes"}


def test_labels_take_over_from_the_simulated_ones(guest: Visitor, settings: Settings) -> None:
    write_simulated(settings.store_folder, like=LIKE)
    search = f"/searches/{begin(guest).json()['id']}"
    # what people look for is another class than the simulator draws
    first = guest.next_round(search, size=3)
    for stamp in first["stamps"]:
        guest.label(search, stamp["stamp_id"], "no")
    assert guest.next_round(search, size=3)["policy"] == "simulated"
    for stamp in (1, 6, 11, 16):
        guest.label(search, stamp, "yes")
    for stamp in (3, 8, 13, 18):
        guest.label(search, stamp, "no")
    later = guest.next_round(search, size=4, policy="most-likely")
    assert later["policy"] == "most-likely" and later["prior_share"] < first["prior_share"] == 1
    assert {stamp["stamp_id"] % 5 for stamp in later["stamps"]} == {1}


def test_sending_needs_no_yes(guest: Visitor, settings: Settings) -> None:
    write_simulated(settings.store_folder, like=LIKE)
    search = f"/searches/{begin(guest).json()['id']}"
    assert "team password" in guest.post(f"{search}/send", {"top": 3}).json()["message"]
    plain = guest.begin("Plain")
    assert "Nothing is labelled yes" in guest.post(f"{plain}/send", {"top": 3}).json()["message"]


@pytest.mark.parametrize(
    ("concept", "code", "said"),
    [("rings", "concept", "merger"), ("quasar", "concept", "ring"), ("x" * 41, "malformed", "")],
)
def test_what_the_simulator_does_not_draw_is_refused(
    guest: Visitor, settings: Settings, concept: str, code: str, said: str
) -> None:
    write_simulated(settings.store_folder)
    answer = begin(guest, concept=concept)
    assert answer.status_code in (400, 422) and answer.json()["code"] == code
    assert said in answer.json()["hint"]
    assert guest.get("/searches").json()["searches"] == []
    assert guest.get("/simulated/quasar.png").json()["code"] == "concept"


def test_without_the_encoder_nothing_can_be_drawn(guest: Visitor, database: Database) -> None:
    answer = begin(guest)
    assert answer.status_code == 400 and "store has no encoder" in answer.json()["message"]
    assert guest.get("/searches").json()["searches"] == [] and waiting_jobs(database) == []


def test_simulation_can_be_switched_off(database: Database, sky: Path, settings: Settings) -> None:
    off = create_app(settings.model_copy(update={"simulated_stamps": 0}), database.url)
    with TestClient(off):
        guest = visit(off, "Vera")
        assert guest.get("/searches").json()["simulated"] == []
        assert "switched off" in begin(guest).json()["message"]


def test_what_there_is_is_listed_with_what_was_measured(guest: Visitor, settings: Settings) -> None:
    keep_checkpoint(RELEASED_LVM, encoder_folder(settings.store_folder, ENCODER))
    found = guest.get("/searches").json()
    assert [one["name"] for one in found["simulated"]] == list(CONCEPTS)
    (pool,) = found["pools"]
    assert set(pool["simulated"]) == set(CONCEPTS) and pool["simulated"]["ring"].startswith("AUC .")
    answer = guest.get("/simulated/ring.png")
    assert answer.headers["content-type"] == "image/png" and "private" in answer.headers["Cache-Control"]
    guest.delete("/session")
    assert guest.get("/simulated/ring.png").status_code == 401


class Drawing:
    """A pool that the released encoder embedded, and a worker's hands."""

    def __init__(self, database: Database, settings: Settings, sky: Path) -> None:
        self.database = database
        self.services = Services(settings, database, LabelStudio(settings.label_studio_url, "t", 0.1))
        encoder = Encoder.load(RELEASED_LVM)
        keep_checkpoint(RELEASED_LVM, encoder_folder(settings.store_folder, encoder.digest))
        made = Origin.model_validate_json(sky.with_suffix(".json").read_text())
        rows = np.random.default_rng(0).normal(size=(made.rows, encoder.width)).astype(np.float16)
        np.save(sky, rows)
        changed = made.model_copy(update={"encoder": encoder.digest, "width": encoder.width})
        sky.with_suffix(".json").write_text(changed.model_dump_json())

    def work(self, search: int) -> None:
        context: Any = SimpleNamespace(job=SimpleNamespace(id=1), additional_context={"services": self.services})
        simulate(context, campaign_id=search)


@pytest.fixture
def drawing(database: Database, settings: Settings, sky: Path) -> Drawing:
    return Drawing(database, settings.model_copy(update={"simulated_stamps": 60}), sky)


def test_a_worker_draws_once_for_two_searches(drawing: Drawing, database: Database, sky: Path) -> None:
    app = create_app(drawing.services.settings, database.url)
    with TestClient(app):
        vera, henrietta = visit(app, "Vera"), visit(app, "Henrietta")
        first, second = (
            begin(one, name, "spiral").json()["id"] for one, name in ((vera, "Arms"), (henrietta, "Discs"))
        )
        assert waiting_jobs(database) == [first, second]
        state = vera.get(f"/searches/{first}").json()["simulated"]
        assert (state["drawn"], state["progress"], state["problem"]) == (False, None, None)
        refused = vera.post(f"/searches/{first}/rounds", {"size": 3})
        assert refused.status_code == 409 and refused.json()["code"] == "not_drawn"
        assert "galaxyloop worker" in refused.json()["hint"]
        with database.transaction() as connection:
            locks = connection.execute("SELECT DISTINCT lock FROM procrastinate_jobs WHERE lock LIKE 'simulate %'")
            assert len(locks.fetchall()) == 1
        drawing.work(first)
        kept = list((drawing.services.settings.store_folder / "simulated").glob("*.safetensors"))
        written = kept[0].stat().st_mtime_ns
        drawing.work(second)
        assert len(kept) == 1 and kept[0].stat().st_mtime_ns == written
        for guest, search in ((vera, first), (henrietta, second)):
            assert guest.get(f"/searches/{search}").json()["simulated"]["drawn"]
            assert guest.next_round(f"/searches/{search}")["policy"] == "simulated"


def test_progress_is_shown_to_whoever_waits_for_the_same_encoder(drawing: Drawing, database: Database) -> None:
    app = create_app(drawing.services.settings, database.url)
    with TestClient(app):
        vera = visit(app, "Vera")
        first, second = (begin(vera, name).json()["id"] for name in ("Rings", "Bars"))
        run = database.rows("begin_run", campaign=first, job="learn")[0]["id"]
        database.rows("report_run", run=run, phase="drawing", done=30, total=60)
        for search in (first, second):
            assert vera.get(f"/searches/{search}").json()["simulated"]["progress"] == {"done": 30, "total": 60}


def test_why_does_not_wait_until_they_are_drawn(drawing: Drawing, database: Database) -> None:
    app = create_app(drawing.services.settings, database.url)
    with TestClient(app):
        vera = visit(app, "Vera")
        search = begin(vera).json()["id"]
        path, _, key = vera.get(f"/searches/{search}/stamps/3").json()["why"].partition("?")
        why = vera.client.get(f"{path}.json?{key}").json()
    assert why["version"] is None and why["answer"] == {}
    assert not (drawing.services.settings.store_folder / "simulated").exists()


def test_what_is_gone_from_the_store_is_drawn_again(drawing: Drawing, database: Database) -> None:
    """After an update, too, which draws another population."""
    app = create_app(drawing.services.settings, database.url)
    with TestClient(app):
        vera = visit(app, "Vera")
        search = begin(vera).json()["id"]
        drawing.work(search)
        with database.transaction() as connection:
            connection.execute("DELETE FROM procrastinate_jobs")
        assert vera.get(f"/searches/{search}").json()["simulated"]["drawn"] and waiting_jobs(database) == []
        (kept,) = (drawing.services.settings.store_folder / "simulated").glob("*.safetensors")
        kept.unlink()
        for _ in range(2):
            assert not vera.get(f"/searches/{search}").json()["simulated"]["drawn"]
            assert waiting_jobs(database) == [search]


def test_an_encoder_that_fails_is_told_on_the_page(drawing: Drawing, database: Database) -> None:
    app = create_app(drawing.services.settings, database.url)
    with TestClient(app):
        vera = visit(app, "Vera")
        search = begin(vera).json()["id"]
        store = drawing.services.settings.store_folder
        (store / "simulated").parent.mkdir(parents=True, exist_ok=True)
        (store / "simulated").write_text("a file where a folder is to be")
        with pytest.raises(OSError, match="simulated"):
            drawing.work(search)
        state = vera.get(f"/searches/{search}").json()["simulated"]
        assert not state["drawn"] and "simulated" in state["problem"]
        (store / "simulated").unlink()
        drawing.work(search)
        assert vera.get(f"/searches/{search}").json()["simulated"]["drawn"]


def test_the_ranking_is_that_of_a_naive_prior(sky: Path, settings: Settings, database: Database) -> None:
    simulated = write_simulated(settings.store_folder, like=LIKE)
    pool = Features.open(sky)
    values: dict[str, Any] = dict.fromkeys(Campaign.__dataclass_fields__)
    values |= {"stamp_set": "sky", "encoder": ENCODER, "simulated": {"yes": "ring"}, "simulated_stamps": SIMULATED}
    campaign = Campaign(**values)
    prior = kept_wanted_prior(campaign, FeatureStore({"sky": str(sky)}, ENCODER), settings.store_folder)
    assert prior is not None
    shown = choose(pool, Examples({}, np.empty((0, 16), np.float32), prior=prior), policy="loop", size=12, seed=0)
    # by hand: the simulated stamps' own direction, each side standardised by itself
    x = simulated.features.astype(np.float64)
    yes, near = CONCEPTS["ring"].shown(simulated.drawn), CONCEPTS["ring"].near(simulated.drawn)
    z = (x - x.mean(0)) / x.std(0)
    rows = pool.matrix.astype(np.float64)
    direction = np.zeros(16)
    for _ in range(3000):
        odds = z @ direction
        truth, known = yes.astype(float), yes | ~near
        balance = np.where(yes, 0.5 / yes.sum(), 0.5 / (~near).sum()) * known * known.sum()
        slope = z.T @ (balance * (1 / (1 + np.exp(-odds)) - truth)) + direction / 2e-2
        direction -= slope / (2e-2**-1 + 0.25 * known.sum() * 3)
    by_hand = (rows - rows.mean(0)) / np.where(rows.std(0) > 1e-3 * rows.std(0).max(), rows.std(0), 1) @ direction
    best = {stamp.stamp_id for stamp in shown.stamps[: STAMPS // 5]}
    assert best == set(np.argsort(-by_hand, kind="stable")[: STAMPS // 5].tolist())
    assert shown.policy == "simulated"
