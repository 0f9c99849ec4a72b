"""What of a search goes to Label Studio, and what happens when it cannot."""

from backend_ml.labels import events
from backend_ml.queue import push
from backend_ml.search import searches
from backend_ml.search.sending import undecided
from backend_ml.store.database import Database, query
from tests.backend_ml.backend_client import problem
from tests.backend_ml.current_labels import labels_of
from tests.backend_ml.explore.conftest import Visitor


def search_id(search: str) -> int:
    return int(search.rpartition("/")[2])


def test_the_undecided_are_the_unsure_and_the_disputed(vera: Visitor, henrietta: Visitor, database: Database) -> None:
    search = vera.begin(examples="3 8")
    for visitor, stamp, label in ((vera, 4, "no"), (henrietta, 4, "yes"), (vera, 5, "unsure"), (henrietta, 3, "yes")):
        visitor.label(search, stamp, label)
    with database.transaction() as connection:
        assert undecided(connection, searches.find(connection, search_id(search))) == [4, 5]
    henrietta.label(search, 4, "no")
    with database.transaction() as connection:
        assert undecided(connection, searches.find(connection, search_id(search))) == [5]


def test_the_undecided_wait_for_a_label_in_the_queue(vera: Visitor, henrietta: Visitor, database: Database) -> None:
    search = vera.begin()
    for visitor, stamp, label in ((vera, 0, "no"), (vera, 1, "unsure"), (vera, 2, "yes"), (henrietta, 2, "no")):
        visitor.label(search, stamp, label)
    with database.transaction() as connection:
        found = searches.find(connection, search_id(search))
        for row in range(4):
            query(connection, "put_task", campaign=found.id, task=row, stamp_set="sky", stamp_id=row, audit=False)
        assert [task.task_id for task in push.waiting_tasks(connection, found)] == [1, 2, 3]


def test_who_has_no_token_cannot_send(vera: Visitor) -> None:
    search = vera.begin(examples="3")
    assert "team password" in problem(vera.post(f"{search}/send", {"top": 5}), 403, "forbidden")["message"]
    assert vera.get("/session").json()["person"] == "Vera"


def test_nothing_liked_is_nothing_to_send(vera: Visitor) -> None:
    search = vera.begin()
    vera.label(search, 3, "no")
    assert "labelled yes" in problem(vera.post(f"{search}/send", {"top": 5}), 400, "campaign")["message"]
    problem(vera.post(f"{search}/send", {"top": 0}), 422, "malformed")


def test_labels_without_a_token_stay_on_the_page(vera: Visitor, database: Database) -> None:
    search = vera.begin(examples="3")
    with database.transaction() as connection:
        query(connection, "give_project", campaign=search_id(search), project=7)
        query(connection, "put_task", campaign=search_id(search), task=50, stamp_set="sky", stamp_id=4, audit=False)
    vera.label(search, 4, "yes")
    with database.transaction() as connection:
        found = searches.find(connection, search_id(search))
        assert found.project == 7 and events.known_annotations(connection, found) == {}
        jobs = connection.execute("SELECT task_name FROM procrastinate_jobs").fetchall()
    assert [job["task_name"] for job in jobs] == ["campaign:learn"]
    assert "already" in problem(vera.post(f"{search}/send", {"top": 5}), 400, "campaign")["message"]


def test_taking_the_project_back_forgets_its_tasks_alone(vera: Visitor, database: Database) -> None:
    search = vera.begin(examples="3")
    number = search_id(search)
    assert database.rows("give_project", campaign=number, project=7)
    assert not database.rows("give_project", campaign=number, project=8)
    database.rows("put_task", campaign=number, task=50, stamp_set="sky", stamp_id=4, audit=False)
    database.rows("take_project", project=8)
    assert database.rows("task_counts", campaign=number)[0]["tasks"] == 1
    database.rows("take_project", project=7)
    assert database.rows("task_counts", campaign=number)[0]["tasks"] == 0
    assert labels_of(database, number) == {3: "yes"}
