"""What the live tests share: projects, clients of the real Label Studio, a backend that records what it is sent."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from backend_ml.label_studio.client import LabelStudio
from tests.installation import Servers

LABEL_CONFIG = """<View><Image name="image" value="$image"/>
<Choices name="morphology" toName="image"><Choice value="spiral"/><Choice value="elliptical"/></Choices></View>"""


@pytest.fixture
def project(servers: Servers) -> Iterator[int]:
    """A fresh morphology project."""
    project = servers.admin.create_project("Morphology", LABEL_CONFIG, instruction_html="<p>Look.</p>")
    yield project
    servers.admin.delete_project(project)


@pytest.fixture(params=["database", "api"])
def pusher(servers: Servers, request: pytest.FixtureRequest) -> Iterator[LabelStudio]:
    """Label Studio as who pushes sees it: with its database at hand, or its API alone."""
    url = servers.label_studio_database_url if request.param == "database" else ""
    with LabelStudio(servers.label_studio.url, servers.account.token, database_url=url) as client:
        yield client


@dataclass
class Recorder:
    """A backend that answers as Label Studio expects, and keeps what it was sent."""

    url: str
    calls: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def keep(self, method: str, path: str, headers: dict[str, str], body: Any) -> None:
        """Note one call."""
        with self.arrived:
            self.calls.append((method, path, headers, body))
            self.arrived.notify_all()

    def wait_for(self, path: str, action: str = "") -> tuple[dict[str, str], Any]:
        """Headers and body of the first call to a path (and of a webhook action), waited for up to ten seconds."""

        def found() -> tuple[dict[str, str], Any] | None:
            for _, called, headers, body in self.calls:
                if called == path and (not action or body.get("action") == action):
                    return headers, body
            return None

        with self.arrived:
            match = self.arrived.wait_for(found, timeout=10)
            assert match, (
                f"no {path} {action} among {[(call[1], (call[3] or {}).get('action')) for call in self.calls]}"
            )
            return match


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """A recording backend on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            recorded.keep(self.command, self.path, dict(self.headers), body)
            answers: dict[str, Any] = {
                "/setup": {"model_version": "recorder-1"},
                "/versions": {"versions": ["recorder-1"]},
                "/predict": {
                    "results": [
                        {"model_version": "recorder-1", "score": 0.5, "result": []} for _ in body.get("tasks", [])
                    ]
                },
            }
            text = json.dumps(answers.get(self.path, {"status": "UP"})).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    recorded = Recorder(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield recorded
    server.shutdown()
    server.server_close()
    thread.join()
