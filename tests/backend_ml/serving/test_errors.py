"""Errors over HTTP: an id that runs through answer and log, ids in paths, and no secrets or tracebacks anywhere."""

import base64
import re
from collections.abc import Iterator

import pytest
import structlog
from fastapi import FastAPI
from fastapi.testclient import TestClient

from backend_ml.app import create_app
from backend_ml.console import log_to_stderr
from backend_ml.serving.errors import REQUEST_ID_HEADER, RequestIds, add_error_handlers
from backend_ml.settings import Settings
from backend_ml.sign_in.person import Person
from lvm_training.errors import GalaxyLoopError

TOKEN, PASSWORD = "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432", "starlight-and-dust"
BASIC = "Basic " + base64.b64encode(b"label-studio:hush-hush").decode()
SECRETS = (TOKEN, PASSWORD, BASIC.split()[1], "hush-hush")
VALUES = {"secret": "hush-hush", "backend_password": "hush-hush", "team_password": PASSWORD}
SETTINGS = Settings.model_validate({**VALUES, "label_studio_token": TOKEN})


@pytest.fixture
def configuration() -> Iterator[None]:
    """Logging as the command line sets it up, and afterwards as before."""
    before = structlog.get_config()
    log_to_stderr("warning")
    yield
    structlog.configure(**before)


@pytest.fixture
def broken() -> TestClient:
    """An app that breaks with secrets at hand."""
    app = FastAPI()
    add_error_handlers(app)
    app.add_middleware(RequestIds)

    @app.get("/{name}")
    def breaks(name: str) -> None:
        token, password, person = TOKEN, PASSWORD, Person("Anne", token=TOKEN)
        raise RuntimeError(f"{name} broke {len(token) + len(password)} {person}")

    return TestClient(app)


@pytest.mark.usefixtures("configuration")
def test_the_log_of_what_breaks_has_a_traceback_and_no_secret(
    broken: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = broken.get("/all", headers={"Authorization": BASIC, "Cookie": f"session={TOKEN}"})
    said = capsys.readouterr().err
    assert answer.status_code == 500
    assert "RuntimeError: all broke" in said and 'raise RuntimeError(f"' in said
    assert not [secret for secret in SECRETS if secret in said]
    assert answer.json()["request_id"] == answer.headers[REQUEST_ID_HEADER]
    assert f"request_id={answer.headers[REQUEST_ID_HEADER]}" in said
    assert "Traceback" not in answer.text and "broke 5" not in answer.text


@pytest.mark.parametrize("given", ["edge-7.c_2", "a" * 64])
def test_a_proxys_request_id_is_kept(broken: TestClient, given: str) -> None:
    assert broken.get("/x", headers={REQUEST_ID_HEADER: given}).headers[REQUEST_ID_HEADER] == given


@pytest.mark.parametrize("given", ["", "a" * 65, "a b", "a\tb", "<script>", "é".encode("latin-1")])
def test_an_odd_request_id_is_replaced(broken: TestClient, given: str | bytes) -> None:
    answer = broken.get("/x", headers={REQUEST_ID_HEADER: given})
    assert re.fullmatch(r"[0-9a-f]{12}", answer.headers[REQUEST_ID_HEADER])
    assert answer.headers[REQUEST_ID_HEADER] == answer.json()["request_id"]


def test_every_answer_has_an_id_of_its_own() -> None:
    client = TestClient(create_app(SETTINGS, "host=/nowhere"))
    answers = [client.get(path) for path in ("/health", "/nowhere", "/explore", "/why.css", "/explore/api/session")]
    assert [answer.status_code for answer in answers] == [401, 404, 200, 200, 200]
    assert len({answer.headers[REQUEST_ID_HEADER] for answer in answers}) == len(answers)


def test_half_a_character_in_a_message_is_quoted_safely() -> None:
    app = FastAPI()
    add_error_handlers(app)
    app.add_middleware(RequestIds)

    @app.get("/")
    def breaks() -> None:
        raise GalaxyLoopError("There is no \ud800 here.")

    assert TestClient(app).get("/").json()["message"] == r"There is no \ud800 here."


def with_ids() -> list[tuple[str, str]]:
    """Operations of the app with an id in their path: {} stands for one id, and 3 for the others."""
    found = []
    for path, methods in create_app(SETTINGS, "host=/nowhere").openapi()["paths"].items():
        for method, one in methods.items():
            ids = [
                each["name"]
                for each in one.get("parameters", [])
                if each["in"] == "path" and each["schema"].get("type") == "integer"
            ]
            for odd in ids:
                values = dict.fromkeys(ids, "3") | {odd: "{}", "stamp_set": "sky", "version": "v", "view": "restored"}
                found.append((method, path.format(**values)))
    return found


WITH_IDS = with_ids()


def test_the_ids_in_paths_are_found() -> None:
    paths = {path for _, path in WITH_IDS}
    assert {"/explore/api/searches/{}", "/explore/api/searches/3/labels/{}", "/neighbours/{}/sky/3"} <= paths
    assert {"/stamps/sky/{}.jpg", "/why/3/sky/{}.json", "/explore/api/searches/{}/pictures/3"} <= paths


@pytest.mark.parametrize(("method", "path"), [*WITH_IDS, ("get", "/explore/{}")])
def test_an_id_that_is_none_is_nowhere_and_asks_no_database(method: str, path: str) -> None:
    """The database is not there: whoever asks it gets a 503, after seconds. Pages ask who is there first."""
    client = TestClient(create_app(SETTINGS, "host=/nowhere"), follow_redirects=False)
    expected = (303,) if path.startswith("/status") and method == "get" else (404, 405)
    for odd in ("9" * 5000, "9" * 19, "-1", "x", "1e3", "0x1", "%D9%A3", "1%00", "nan"):
        answer = client.request(method, path.format(odd), headers={"Authorization": BASIC})
        assert answer.status_code in expected, (odd, answer.text)
