"""What is repeated while a server is away, what is not, and what a failure says."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from backend_ml.campaign.projects import ProjectMaker
from backend_ml.label_studio import connection
from backend_ml.label_studio.connection import LabelStudioError, PatientTransport, connect
from backend_ml.local.processes import free_port
from backend_ml.settings import Settings
from backend_ml.store.records import CampaignError

Answer = int | type[httpx.TransportError]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Answer], float], httpx.Client]:
    """Makes a client whose server fails and answers by a script; pauses take no time but count."""
    clock = [0.0]
    monkeypatch.setattr(connection.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(connection.time, "sleep", lambda pause: clock.__setitem__(0, clock[0] + pause))

    def make(script: list[Answer], patience: float = 60) -> httpx.Client:
        def answer(request: httpx.Request) -> httpx.Response:
            step = script.pop(0)
            if isinstance(step, int):
                return httpx.Response(step, text="because")
            raise step("away", request=request)

        hooks = connect("http://server").event_hooks
        return httpx.Client(transport=PatientTransport(patience, httpx.MockTransport(answer)), event_hooks=hooks)

    return make


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_what_never_left_is_repeated(client: Callable[..., httpx.Client], method: str) -> None:
    script: list[Answer] = [httpx.ConnectError, httpx.ConnectTimeout, httpx.ConnectError, 200]
    assert client(script).request(method, "http://server/x").status_code == 200
    assert script == []


@pytest.mark.parametrize("failure", [httpx.ReadError, httpx.RemoteProtocolError, 502, 503])
def test_what_broke_off_is_repeated_only_where_twice_is_once(
    client: Callable[..., httpx.Client], failure: Answer
) -> None:
    assert client([failure, 200]).get("http://server/x").status_code == 200
    script: list[Answer] = [failure, 200]
    with pytest.raises(LabelStudioError):
        client(script).post("http://server/x")
    assert script == [200]


def test_patience_ends(client: Callable[..., httpx.Client]) -> None:
    script: list[Answer] = [httpx.ConnectError] * 1000
    with pytest.raises(LabelStudioError, match="No answer from Label Studio at http://server") as failure:
        client(script, 60).get("http://server/x")
    assert failure.value.status is None
    assert 10 < 1000 - len(script) < 30


def test_who_waits_can_be_called_away() -> None:
    def called_away() -> None:
        raise InterruptedError("called away")

    address = f"http://127.0.0.1:{free_port()}"
    with connect(address, 60, called_away) as real, pytest.raises(InterruptedError):
        real.get(address)


def test_a_late_answer_is_not_asked_for_again(client: Callable[..., httpx.Client]) -> None:
    script: list[Answer] = [httpx.ReadTimeout, 200]
    with pytest.raises(LabelStudioError, match="ReadTimeout"):
        client(script).get("http://server/x")
    assert script == [200]


@pytest.mark.parametrize(("status", "hint"), [(401, "TOKEN"), (404, "deleted"), (400, ""), (500, "log")])
def test_a_refusal_says_what_and_why(client: Callable[..., httpx.Client], status: int, hint: str) -> None:
    with pytest.raises(LabelStudioError, match=f"answered {status} to GET /x: because") as refusal:
        client([status]).get("http://server/x")
    assert refusal.value.status == status
    assert hint in refusal.value.hint


def test_nothing_listening_is_an_error_with_a_hint() -> None:
    with pytest.raises(LabelStudioError) as failure, connect(f"http://127.0.0.1:{free_port()}", 0) as real:
        real.get(f"http://127.0.0.1:{free_port()}/")
    assert "GALAXYLOOP_LABEL_STUDIO_URL" in failure.value.hint


def test_connections_are_kept_over_tls_only() -> None:
    assert "close" not in connect("https://server").headers["Connection"]
    assert connect("http://server").headers["Connection"] == "close"


def test_the_servers_that_settings_name_are_reached_without_the_environments_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with answering() as url:
        with connect(url, 0.1) as client:
            assert client.get(url).status_code == 200
        settings = Settings.model_validate({"secret": "s", "backend_password": "p", "backend_url": url})
        projects = ProjectMaker(settings, None, None, None)  # type: ignore[arg-type]
        projects.check_backend()
    with pytest.raises(CampaignError, match="does not answer"):
        projects.check_backend()


def test_an_answer_that_breaks_off_is_repeated_only_where_twice_is_once() -> None:
    with answering(breaking=1) as url, connect(url) as client:
        assert client.get(url).text == "whole"
    with answering(breaking=1) as url, connect(url) as client:
        with pytest.raises(LabelStudioError, match="No answer from Label Studio"):
            client.post(url)
        assert client.post(url).text == "whole", "the first was sent once"


@contextmanager
def answering(breaking: int = 0) -> Iterator[str]:
    """A server that answers 200 to everything; its first answers, so many, break off in the middle of their body."""
    left = [breaking]

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"wh" if left[0] else b"whole")
            left[0] = max(left[0] - 1, 0)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
