"""Whatever comes from outside, no route breaks: every operation of the app, with and without credentials."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend_ml import signing
from backend_ml.app import create_app
from backend_ml.sign_in import credentials, throttle
from backend_ml.sign_in.person import Person
from backend_ml.sign_in.sessions import COOKIE, Sessions
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from tests.backend_ml.backend_client import CONFIG, recorded
from tests.backend_ml.conftest import PROJECT
from tests.backend_ml.explore.conftest import ORIGIN, SETTINGS

ANNE = Person("Anne", session="session")
NOWHERE: Any = None
BASIC = "Basic bGFiZWwtc3R1ZGlvOndvcmQ="  # label-studio:word
CREDENTIALS = {
    "Authorization": BASIC,
    signing.SECRET_HEADER: signing.webhook_secret(SETTINGS),
    "X-CSRF-Token": Sessions(SETTINGS, NOWHERE).csrf(ANNE),
    "Cookie": f"{COOKIE}={ANNE.session}",
    **ORIGIN,
}
LABELS = {"label_config": CONFIG, "schema": CONFIG, "label": "yes", "action": "ANNOTATION_CREATED"}
NAMES = {"stamp_set": "sky", "name": "Rings", "view": "g", "policy": "loop", "examples": "3"}
FITTING: dict[str, Any] = {**LABELS, **NAMES, "project": f"{PROJECT}.1", "password": "starlight", "key": "0" * 32}
FITTING |= {"tasks": [{"id": 1, "data": {"stamp_set": "sky", "stamp_id": 0}}], "size": 3, "top": 3}
"""Values that pass for a parameter or field of that name, so that one odd value beside them gets far."""

TEXTS = st.one_of(
    st.sampled_from(
        ["", "\0", "a\0b", "\ud800", "x\udfffy", "\u202e", "9" * 5000, "1e999", "NaN", "-1", "²", "٣", "{}"]
    ),
    st.text(alphabet=st.characters(), max_size=20),
)
NUMBERS = st.one_of(
    st.sampled_from([2**31, 2**63, -(2**63) - 1, 10**30, 10**4000, -1, 1e308, 0.5]),
    st.floats(),
    st.integers(),
)
ODD = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
IN_PATHS = st.one_of(
    st.sampled_from(["9" * 5000, "9" * 19, "9" * 18, "2147483648", "-1", "0x1", "1e3", "..", "%00", "a%00b", "%ff"]),
    st.sampled_from(["%ed%a0%80", "%2f", "%d9%a3", "%0a", "3.png", "nan", "inf"]),
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).map(quote),
)
IN_HEADERS = st.one_of(
    st.sampled_from(["Basic ÿ", "Basic", "http://[", "http://[::1", "//", f"{COOKIE}=é", "9" * 5000]),
    st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20),
).map(lambda text: text.encode("latin-1"))
BODIES = st.one_of(
    st.sampled_from([b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 5000, b"9" * 5000]),
    st.binary(max_size=40),
)


class Operation(NamedTuple):
    """A way to call the app, as its OpenAPI describes it."""

    method: str
    path: str
    parameters: dict[str, tuple[str, ...]]
    fields: tuple[str, ...]


def operations() -> list[Operation]:
    """All of them."""
    api = create_app(SETTINGS, "host=/nowhere").openapi()
    found = []
    for path, methods in api["paths"].items():
        for method, one in methods.items():
            places: dict[str, tuple[str, ...]] = {"path": (), "query": (), "header": (), "cookie": ()}
            for parameter in one.get("parameters", []):
                places[parameter["in"]] += (parameter["name"],)
            content = one.get("requestBody", {}).get("content", {}).get("application/json", {})
            schema = api["components"]["schemas"].get(content.get("schema", {}).get("$ref", "").rpartition("/")[2], {})
            found.append(Operation(method.upper(), path, places, tuple(schema.get("properties", {}))))
    # those that take nothing are tried less
    return [one for one in found for _ in range(3 if one.method == "POST" else 1)]


OPERATIONS = operations()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for the Label Studio that is not there, or for a minute after odd passwords."""
    monkeypatch.setattr(credentials, "PATIENCE", 0.0)
    monkeypatch.setattr(throttle, "ALLOWED", 10**9)


@pytest.fixture
def client(database: Database, campaign: Campaign, head: str) -> Iterator[TestClient]:
    """The backend with a campaign, number 1, that has a head, and a search, number 2."""
    Sessions(SETTINGS, database).cookie(ANNE)
    with TestClient(create_app(SETTINGS, database.url)) as opened:
        begun = {"name": "Comets", "stamp_set": "sky", "examples": "3"}
        assert opened.post("/explore/api/searches", json=begun, headers=CREDENTIALS).json()["id"] == 2
        for number in (1, 2):
            features = np.zeros(16, np.float32).tobytes()
            (kept,) = database.rows("put_example", campaign=2, name="a.png", person=ANNE.name, features=features)
            assert kept["id"] == number
        yield opened


def fitting(name: str, path: str) -> Any:
    """A value that is not odd."""
    return FITTING.get(name, 2 if path.startswith("/explore") else 1)


def address(operation: Operation, draw: Any) -> str:
    """The path and query, signed where it needs to be, some of it odd."""
    names = [*operation.parameters["path"], *operation.parameters["query"]]
    odd = draw(st.sets(st.sampled_from(names), max_size=2)) if names else set()
    values = {
        name: draw(IN_PATHS) if name in odd else quote(str(fitting(name, operation.path)), safe="") for name in names
    }
    if "key" in names and "key" not in odd:
        values["key"] = signed(operation.path, values)
    path = operation.path
    for name in operation.parameters["path"]:
        path = path.replace(f"{{{name}}}", values[name])
    return f"{path}?{'&'.join(f'{name}={values[name]}' for name in operation.parameters['query'])}"


def signed(path: str, values: dict[str, str]) -> str:
    """The key for these values, if they can be signed."""
    what = {"examples": "example", "stamps": "stamp"}.get(path.split("/")[1], path.split("/")[1])
    named, number = {"example": ("name", "number"), "progress": ("", "")}.get(what, ("stamp_set", "stamp_id"))
    try:
        place, campaign = int(values.get(number, 0)), int(values["campaign"])
    except ValueError:
        return "0" * 32
    return signing.link_key(what, unquote(values.get(named, "")), place, signing.Links(campaign), SETTINGS)


def headers(operation: Operation, draw: Any) -> dict[str, Any]:
    """Credentials or none, and now and then an odd header."""
    given: dict[str, Any] = {} if draw(st.integers(0, 5)) == 5 else dict(CREDENTIALS)
    if draw(st.integers(0, 5)) == 5:
        name = draw(st.sampled_from([*operation.parameters["header"], "Origin", "Cookie", "X-Request-ID", "Host"]))
        given = {key: value for key, value in given.items() if key.lower() != name.lower()}
        given[name] = draw(IN_HEADERS)
    return given


def body(operation: Operation, draw: Any) -> bytes:
    """Bytes that are no JSON, JSON of any shape, or the right document with odd values in a place or two."""
    shape = draw(st.integers(0, 9))
    if shape == 9:
        return bytes(draw(BODIES))
    if shape == 8:
        return json.dumps(draw(ODD)).encode()
    document: Any = {name: fitting(name, operation.path) for name in operation.fields}
    if operation.path == "/webhook":
        document = recorded("annotation_created")
    document = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(0, 2))):
        spoil(document, draw)
    return json.dumps(document).encode()


def spoil(document: Any, draw: Any) -> None:
    """Put an odd value somewhere into a JSON document."""
    while document:
        key = draw(st.sampled_from(sorted(document) if isinstance(document, dict) else range(len(document))))
        if not isinstance(document[key], dict | list) or draw(st.booleans()):
            document[key] = draw(ODD)
            return
        document = document[key]


HOW: dict[str, Any] = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}


@settings(max_examples=500, **HOW)
@given(data=st.data())
def test_no_route_breaks_on_odd_input(client: TestClient, data: st.DataObject) -> None:
    call(client, data)


@pytest.mark.soak
@settings(max_examples=5000, **HOW)
@given(data=st.data())
def test_no_route_breaks_on_much_odd_input(client: TestClient, data: st.DataObject) -> None:
    call(client, data)


def call(client: TestClient, data: st.DataObject) -> None:
    """Call an operation with odd values in a place or two; it may refuse, but not break."""
    operation = data.draw(st.sampled_from(OPERATIONS))
    client.cookies.clear()
    sent = {"Content-Type": "application/json", **headers(operation, data.draw)}
    asked, content = address(operation, data.draw), body(operation, data.draw)
    answer = client.request(operation.method, asked, headers=sent, content=content)
    away = answer.status_code == 502 and answer.json()["code"] == "label_studio"
    assert answer.status_code < 500 or away, answer.text
