"""Searches over HTTP: begin one, label, take back, and read what was done."""

import csv
import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.lib.format import open_memmap
from PIL import Image

from backend_ml.queue import selections
from backend_ml.search.rounds import RoundStamp
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database
from tests.backend_ml.backend_client import problem
from tests.backend_ml.conftest import MORPHOLOGY
from tests.backend_ml.current_labels import labels_of
from tests.backend_ml.explore.conftest import ORIGIN, STAMPS, Visitor
from tests.backend_ml.sky import write_features, write_stamps

CLASS = range(3, STAMPS, 5)  # what Vera looks for


def labels(database: Database, search: str) -> dict[int, str]:
    return labels_of(database, int(search.rpartition("/")[2]))


def label_round(visitor: Visitor, search: str, shown: dict[str, Any]) -> None:
    for stamp in shown["stamps"]:
        visitor.label(search, stamp["stamp_id"], "yes" if stamp["stamp_id"] in CLASS else "no")


def test_positions_may_be_sexagesimal(vera: Visitor, database: Database) -> None:
    search = vera.begin(examples="10:00:31.2,-01:37:48\n3 8")
    assert labels(database, search) == {13: "yes", 3: "yes", 8: "yes"}


def test_a_search_begins_with_rows_and_positions(vera: Visitor, database: Database) -> None:
    search = vera.begin(examples="3, 8\n150.13,-1.63")
    assert labels(database, search) == {3: "yes", 8: "yes", 13: "yes"}
    listed = vera.get("/searches").json()
    assert [(one["name"], one["yes"], one["rounds"]) for one in listed["searches"]] == [("Rings", 3, 0)]
    (pool,) = listed["pools"]
    assert {name: pool[name] for name in ("name", "stamps", "encoder")} == {
        "name": "sky",
        "stamps": STAMPS,
        "encoder": "e" * 12,
    }
    state = vera.get(search).json()
    assert state["labels"] == {"yes": 3, "pictures": 0} and state["round"] is None and state["label_studio"] is None


def test_a_round_within_conditions_is_the_round_of_what_fits(vera: Visitor) -> None:
    search = vera.begin(examples="3 8 13")
    every = vera.next_round(search, size=STAMPS, policy="most-likely")["stamps"]
    within = vera.next_round(search, size=5, policy="most-likely", where=["ra>=150.10", "ra<150.25"])
    fitting = [one["stamp_id"] for one in every if 10 <= one["stamp_id"] < 25]
    assert [one["stamp_id"] for one in within["stamps"]] == fitting[:5] and within["candidates"] == len(fitting)
    again = vera.next_round(search, size=5, policy="random", unseen=True)
    assert again["stamps"] == [], "the first round showed every stamp"
    answer = problem(vera.post(f"{search}/rounds", {"where": ["mag_q<3"]}), 400, "bad_stamp")
    assert "no column 'mag_q'" in answer["message"]
    problem(vera.post(f"{search}/rounds", {"where": ["ra>1"] * 11}), 422, "malformed")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"name": "Ri", "stamp_set": "sky"}, 422, "malformed"),
        ({"name": "Rings", "stamp_set": "elsewhere"}, 400, "campaign"),
        ({"name": "Rings", "stamp_set": "sky", "examples": "99"}, 400, "bad_example"),
        ({"name": "Rings", "stamp_set": "sky", "examples": "galaxy"}, 400, "bad_example"),
        ({"name": "Rings", "stamp_set": "sky", "examples": "10.5,10.5"}, 400, "bad_query"),
        ({"name": "Rings", "stamp_set": "sky", "examples": " ".join(["3"] * 51)}, 400, "bad_example"),
    ],
)
def test_a_search_that_cannot_begin_is_not_made(vera: Visitor, body: dict[str, str], status: int, code: str) -> None:
    problem(vera.post("/searches", body), status, code)
    assert vera.get("/searches").json()["searches"] == []


def test_two_searches_need_two_names(vera: Visitor) -> None:
    vera.begin()
    answer = vera.post("/searches", {"name": "Rings", "stamp_set": "sky"})
    assert "already" in problem(answer, 400, "campaign")["message"]


def test_rounds_find_the_class_and_precision_rises(vera: Visitor) -> None:
    search = vera.begin()
    first = vera.next_round(search, size=10)
    assert first["policy"] == "k-centre" and len(first["stamps"]) == 10 and first["left_out"] == 0
    label_round(vera, search, first)
    second = vera.next_round(search, size=5, policy="most-likely")
    label_round(vera, search, second)
    assert not {s["stamp_id"] for s in first["stamps"]} & {s["stamp_id"] for s in second["stamps"]}
    found = vera.get(f"{search}/history").json()
    assert [row["number"] for row in found["rounds"]] == [1, 2]
    assert found["rounds"][0]["precision"] < found["rounds"][1]["precision"] == 1.0
    assert [(row["shown"], row["yes"] + row["no"]) for row in found["rounds"]] == [(10, 10), (5, 5)]
    latest = found["events"][0]
    assert (latest["person"], latest["label"], latest["action"]) == ("Vera", "yes", "labelled")
    state = vera.get(search).json()
    assert state["round"]["stamps"][0]["mine"] == "yes"
    assert {*state["policies"], first["policy"]} <= {name for name, title in state["titles"].items() if title}


def test_what_a_round_chose_is_kept_with_its_propensities(vera: Visitor, database: Database) -> None:
    search = vera.begin(examples="3 8 13")
    made = vera.next_round(search, size=4, policy="random")
    with database.transaction() as connection:
        stamps = selections.stamps_of(connection, made["id"])
    assert [stamp.stamp_id for stamp in stamps] == [stamp["stamp_id"] for stamp in made["stamps"]]
    assert {stamp.propensity for stamp in stamps} == {4 / (STAMPS - 3)} and made["candidates"] == STAMPS - 3
    assert set(made["stamps"][0]) == {
        *RoundStamp.__dataclass_fields__,
        *("mine", "others", "why", "name", "position", "reason"),
    }


def test_the_latest_label_of_a_person_counts_and_can_be_taken_back(vera: Visitor, database: Database) -> None:
    search = vera.begin()
    for stamp, label in ((3, "no"), (3, "yes"), (4, "no"), (5, "unsure")):
        assert vera.label(search, stamp, label).json() == {"stamp_id": stamp, "mine": label}
    assert labels(database, search) == {3: "yes", 4: "no", 5: "unsure"}
    assert vera.post(f"{search}/undo").json() == {"stamp_id": 5, "mine": None}
    assert vera.post(f"{search}/undo").json()["stamp_id"] == 4
    assert vera.delete(f"{search}/labels/3").json()["mine"] is None
    assert labels(database, search) == {}
    problem(vera.post(f"{search}/undo"), 409, "nothing_to_undo")
    events = vera.get(f"{search}/history").json()["events"]
    assert [(row["action"], row["stamp_id"]) for row in events[:3]] == [("withdrawn", s) for s in (3, 4, 5)]


def test_nobody_takes_back_what_another_said(vera: Visitor, henrietta: Visitor, database: Database) -> None:
    search = vera.begin()
    vera.label(search, 3, "yes")
    problem(henrietta.post(f"{search}/undo"), 409, "nothing_to_undo")
    problem(henrietta.delete(f"{search}/labels/3"), 409, "nothing_to_undo")
    assert labels(database, search) == {3: "yes"}
    henrietta.label(search, 4, "no")
    assert henrietta.post(f"{search}/undo").json()["stamp_id"] == 4
    assert labels(database, search) == {3: "yes"}


def test_contradicting_labels_are_both_kept_and_shown(vera: Visitor, henrietta: Visitor) -> None:
    search = vera.begin(examples="8 13 18")
    vera.label(search, 3, "yes")
    henrietta.label(search, 3, "no")
    stamp = vera.get(f"{search}/stamps/3").json()
    assert stamp["mine"] == "yes" and stamp["others"] == [{"person": "Henrietta", "label": "no"}]
    assert henrietta.get(f"{search}/stamps/3").json()["mine"] == "no"
    shown = henrietta.next_round(search, size=STAMPS)
    assert 3 not in {one["stamp_id"] for one in shown["stamps"]} and len(shown["stamps"]) == STAMPS - 4


def test_two_people_at_once_see_different_stamps(vera: Visitor, henrietta: Visitor) -> None:
    search = vera.begin(examples="3 8 13")
    mine, hers = ({s["stamp_id"] for s in one.next_round(search)["stamps"]} for one in (vera, henrietta))
    assert len(mine) == len(hers) == 5 and not mine & hers


@pytest.mark.parametrize("label", ["yes", "no", "unsure"])
def test_all_labels_alike(vera: Visitor, label: str) -> None:
    search = vera.begin()
    for stamp in range(6):
        vera.label(search, stamp, label)
    shown = vera.next_round(search, size=5)
    assert len(shown["stamps"]) == 5 and shown["policy"] == ("loop" if label == "yes" else "k-centre")


def test_a_closed_search_can_be_read_but_not_changed(vera: Visitor, database: Database) -> None:
    search = vera.begin(examples="3")
    shown = vera.next_round(search)
    database.rows("close_campaign", campaign=int(search.rpartition("/")[2]))
    for answer in (
        vera.label(search, 4, "yes"),
        vera.post(f"{search}/undo"),
        vera.delete(f"{search}/labels/3"),
        vera.post(f"{search}/rounds", {}),
        vera.post(f"{search}/examples", {"examples": "4"}),
    ):
        problem(answer, 409, "closed")
    assert vera.get(search).json()["round"]["id"] == shown["id"]
    assert vera.get(f"{search}/history").status_code == vera.get(f"{search}/stamps/3.png").status_code == 200


def test_searches_and_stamps_that_are_not_there(vera: Visitor, database: Database) -> None:
    for path in ("", "/history", "/map", "/stamps/3.png"):
        assert "no search 99" in problem(vera.get(f"/searches/99{path}"), 404, "unknown_project")["message"]
    problem(vera.label("/searches/99", 3, "yes"), 404, "unknown_project")
    search = vera.begin()
    problem(vera.label(search, STAMPS, "yes"), 404, "no_stamp")
    problem(vera.get(f"{search}/stamps/{STAMPS}.png"), 404, "no_stamp")
    for body in ({"stamp_id": 3, "label": "maybe"}, {"stamp_id": -1, "label": "yes"}, {"label": "yes"}):
        problem(vera.post(f"{search}/labels", body), 422, "malformed")
    for body in ({"size": 0}, {"size": 1000}, {"size": "many"}):
        problem(vera.post(f"{search}/rounds", body), 422, "malformed")
    problem(vera.post(f"{search}/rounds", {"policy": "bald"}), 400, "bad_policy")


def test_a_search_is_no_other_campaign(vera: Visitor, campaign_id: int) -> None:
    problem(vera.get(f"/searches/{campaign_id}"), 404, "unknown_project")


@pytest.fixture
def campaign_id(vera: Visitor, database: Database) -> int:
    """A campaign of morphology on the same stamps."""
    with database.transaction() as connection:
        return add_campaign(connection, **MORPHOLOGY, name="M", project=1).id


def test_nan_features_and_a_pool_of_one(vera: Visitor, database: Database, tmp_path: Path) -> None:
    for name, n in (("broken", 10), ("one", 1)):
        stamps = write_stamps(tmp_path, n, name)
        features = write_features(stamps)
        if name == "broken":
            broken_rows: Any = open_memmap(features, mode="r+")  # type: ignore[no-untyped-call]
            broken_rows[[2, 7]] = np.nan
        database.rows("put_stamp_set", name=name, path=str(stamps), digest=name, features=str(features))
    broken = vera.begin("Broken", stamp_set="broken", examples="3 7")
    shown = vera.next_round(broken, size=20)
    assert shown["left_out"] == 2 and len(shown["stamps"]) == 10 - 3
    assert vera.get(f"{broken}/map").json()["points"] and vera.get(f"{broken}/stamps/2.png").status_code == 200
    one = vera.begin("One", stamp_set="one")
    assert [stamp["stamp_id"] for stamp in vera.next_round(one)["stamps"]] == [0]
    vera.label(one, 0, "yes")
    assert vera.next_round(one)["stamps"] == []
    assert vera.get(f"{one}/map").json()["points"] == [[0, 0.5, 0.5]]


def test_a_stamp_set_whose_features_are_gone_is_not_offered(vera: Visitor, sky: Path) -> None:
    search = vera.begin()
    sky.with_suffix(".json").rename(sky.with_suffix(".gone"))
    assert vera.get("/searches").json()["pools"] == []
    problem(vera.post("/searches", {"name": "Arcs", "stamp_set": "sky"}), 400, "campaign")
    assert vera.get(search).status_code in (200, 400)


def test_the_map_puts_alike_stamps_together(vera: Visitor) -> None:
    search = vera.begin(examples="3")
    found = vera.get(f"{search}/map").json()
    places = {row: np.array([x, y]) for row, x, y in found["points"]}
    assert set(places) == set(range(STAMPS)) and found["labels"] == {"3": "yes"}
    assert all(((place >= 0) & (place <= 1)).all() for place in places.values())
    assert np.linalg.norm(places[3] - places[8]) < 0.05 < np.linalg.norm(places[3] - places[4])


def test_every_stamp_shown_says_why_it_is_there(vera: Visitor) -> None:
    search = vera.begin(examples="3 8 13")
    first = vera.next_round(search)["stamps"][0]
    assert first["why"] == vera.get(f"{search}/stamps/{first['stamp_id']}").json()["why"]
    answer = vera.client.get(first["why"])
    assert answer.status_code == 200 and "text/html" in answer.headers["content-type"]


def test_pictures_of_every_look(vera: Visitor) -> None:
    search = vera.begin()
    looks = {view: vera.get(f"{search}/stamps/3.png?view={view}") for view in ("rgb", "g", "r", "z", "faint", "bright")}
    assert {answer.headers["content-type"] for answer in looks.values()} == {"image/png"}
    assert len({answer.content for answer in looks.values()}) == len(looks)
    assert "private" in looks["g"].headers["Cache-Control"]
    problem(vera.get(f"{search}/stamps/3.png?view=u"), 422, "malformed")
    vera.delete("/session")
    problem(vera.get(f"{search}/stamps/3.png"), 401, "signed_out")


def test_a_picture_needs_the_encoder_of_the_pool(vera: Visitor) -> None:
    search = vera.begin()
    path, headers = f"/explore/api{search}/pictures", {**ORIGIN, **vera.csrf}

    def send(content: bytes) -> httpx.Response:
        return vera.client.post(path, params={"name": "a.png"}, content=content, headers=headers)

    problem(send(b"x"), 400, "bad_upload")
    found = problem(send(b"\x89PNG\r\n\x1a\n"), 400, "bad_checkpoint")
    assert "store has no encoder" in found["message"]
    assert "20 MB" in problem(send(b"x" * 20_000_001), 400, "bad_upload")["message"]


def test_why_a_search_shows_a_stamp(vera: Visitor) -> None:
    search = vera.begin()
    vera.post(f"{search}/examples", {"examples": "3 9 15"})
    shown = vera.post(f"{search}/rounds", {"size": 4, "policy": "loop"}).json()["stamps"]
    for rank, stamp in enumerate(shown):
        path, _, key = stamp["why"].partition("?")
        found = vera.client.get(f"{path}.json?{key}").json()
        assert found["place"]["round"] == 1 and found["place"]["rank"] == rank
        assert "in round 1: half by how likely" in found["place_words"]
        assert found["version"].startswith("interest-") and set(found["answer"]) == {"no", "yes"}
        assert {one["label"] for one in found["neighbours"]} == {"yes"} and found["heat"]


def test_what_was_found_is_a_table_and_the_examples_are_listed(vera: Visitor) -> None:
    search = vera.begin(examples="3 8")
    vera.label(search, 5, "no")
    state = vera.get(search).json()
    assert [one["stamp_id"] for one in state["examples"]] == [3, 8]
    answer = vera.get(f"{search}/found.csv")
    assert (
        answer.headers["content-type"].startswith("text/csv") and "attachment" in answer.headers["content-disposition"]
    )
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["stamp_id"], row["label"]) for row in rows] == [("3", "yes"), ("5", "no"), ("8", "yes")]
    assert rows[0]["ra"] == "150.030000" and rows[0]["labelled_by"] == "Vera: yes"
    assert float(rows[0]["probability"]) > float(rows[1]["probability"])


def test_cards_say_where_galaxies_are_and_one_can_be_seen_larger(vera: Visitor) -> None:
    search = vera.begin(examples="3 8")
    (first, *_) = vera.next_round(search, size=3)["stamps"]
    row = first["stamp_id"]
    assert first["position"] == pytest.approx({"ra": 150 + row / 100, "dec": -1.5 - row / 100})
    known = vera.get(f"{search}/stamps/{row}").json()
    assert "legacysurvey.org" in known["legacy"] and set(known) >= {"name", "catalogue", "framing"}
    assert known["columns"]["ra"] == f"{150 + row / 100:.7g}" and set(known["columns"]) > {"ra", "dec"}
    small, large = (vera.get(f"{search}/stamps/{row}.png{asked}").content for asked in ("", "?large=true"))
    assert [Image.open(io.BytesIO(png)).size[0] for png in (small, large)] == [480, 960]


def test_a_search_may_begin_with_what_is_unusual(vera: Visitor) -> None:
    search = vera.begin()
    shown = vera.next_round(search, size=4, policy="unusual")
    assert shown["policy"] == "unusual" and len(shown["stamps"]) + shown["set_apart"] >= 4
    assert all("More unusual than" in one["reason"] and "Nothing else is" in one["reason"] for one in shown["stamps"])
    vera.label(search, shown["stamps"][0]["stamp_id"], "yes")
    reasons = [one["reason"] for one in vera.get(search).json()["round"]["stamps"]]
    assert "Nothing else is" in reasons[0] and all("(yes)" in reason for reason in reasons[1:])
    assert "More unusual than" in vera.client.get(shown["stamps"][1]["why"]).text
    after = vera.next_round(search, size=4)
    assert after["policy"] == "similarity" and all(one["reason"] is None for one in after["stamps"])
