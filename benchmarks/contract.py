"""Claim: each call of Label Studio's client is answered, and odd ones in words that say what to mend.

What it costs is told beside the official backend: ours looks up a head and keeps events, the other answers a constant.

The same requests go to this backend and, with `--stock`, to the official label-studio-ml-backend with a model that
answers a constant, served as its own Dockerfile does (gunicorn, one worker of eight threads). Its source is a checkout
of commit d02cedf in DIR with an environment of its own in DIR/.venv: Flask, colorama, requests, semver,
label-studio-sdk and gunicorn. Both ask for basic credentials; ours has a head of real features and a real PostgreSQL.
Each request has a connection of its own, as Label Studio's have.

    python -m benchmarks.contract [--stock DIR] [--calls 200]
"""

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend_ml import signing
from backend_ml.local.postgres import start_embedded
from backend_ml.local.processes import free_port, own, wait_until
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database, query, query_many
from benchmarks.report import Row, save
from tests.backend_ml.backend_client import CONFIG, SETTINGS, recorded
from tests.backend_ml.conftest import CLASSES, MORPHOLOGY, PROJECT
from tests.backend_ml.learned import learn_now
from tests.backend_ml.sky import write_features, write_stamps

BASIC = {"Authorization": "Basic " + b64encode(b"ls:word").decode()}
SECRET = {signing.SECRET_HEADER: signing.webhook_secret(SETTINGS)}
LARGE = 10_000_000  # bytes of a stranger's body
MODEL = """
from label_studio_ml.api import init_app
from label_studio_ml.model import LabelStudioMLBase
from label_studio_ml.response import ModelResponse


class Constant(LabelStudioMLBase):
    def predict(self, tasks, context=None, **kwargs):
        value = {"choices": ["spiral"]}
        region = {"from_name": "morphology", "to_name": "image", "type": "choices", "value": value}
        return ModelResponse(predictions=[{"result": [region], "score": 0.5} for _ in tasks])

    def fit(self, event, data, **kwargs):
        return {}


app = init_app(model_class=Constant)
"""


@dataclass(frozen=True)
class Call:
    """A request, and what Label Studio or a stranger means by it."""

    what: str
    method: str
    path: str
    body: bytes = b""
    secret: bool = False
    anonymous: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """Its headers; each backend gets the credentials that Label Studio sends it."""
        access = {} if self.anonymous else BASIC | (SECRET if self.secret else {})
        return {**access, "Content-Type": "application/json"}


def calls() -> list[Call]:
    """Every call that Label Studio's client has, and what may come instead."""
    setup = {**recorded("setup"), "schema": CONFIG}
    tasks = [{"id": 101 + row, "data": {"stamp_set": "sky", "stamp_id": row, "image": "x.png"}} for row in range(3)]
    odd = [tasks[0], {"id": 1, "data": {}}, tasks[2]]
    foreign = {**setup, "project": "99.1"}
    events = [
        "annotation_created",
        "annotation_updated",
        "annotations_created",
        "annotations_deleted",
        "start_training",
    ]
    return [
        Call("health", "GET", "/health"),
        Call("setup", "POST", "/setup", written(setup)),
        Call("predict, one task", "POST", "/predict", predict(tasks[:1])),
        Call("predict, three tasks", "POST", "/predict", predict(tasks)),
        Call("predict, one of three is no task of ours", "POST", "/predict", predict(odd)),
        Call("versions", "GET", "/versions"),
        *(Call(f"webhook {name}", "POST", "/webhook", written(recorded(name)), secret=True) for name in events),
        Call("webhook without a project", "POST", "/webhook", b'{"action": "ANNOTATION_CREATED"}', secret=True),
        *(Call(name, "POST", f"/{name}", written(body)) for name, body in others.items()),
        Call("setup of a foreign project", "POST", "/setup", written(foreign)),
        Call("setup without a body", "POST", "/setup"),
        Call("predict, no JSON", "POST", "/predict", b"{"),
        Call("predict, tasks are none", "POST", "/predict", b'{"tasks": 1, "project": "7.1", "label_config": ""}'),
        Call("a stranger's predict", "POST", "/predict", predict(tasks[:1]), anonymous=True),
        Call("a stranger's 10 MB", "POST", "/predict", b'{"tasks": [' + b"1," * (LARGE // 2), anonymous=True),
    ]


def written(body: Any) -> bytes:
    """A body as it is sent."""
    return json.dumps(body).encode()


def predict(tasks: list[dict[str, Any]]) -> bytes:
    """A recorded body with other tasks."""
    return written({**recorded("predict"), "tasks": tasks, "label_config": CONFIG})


def answer(port: int, call: Call) -> tuple[int, bytes]:
    """What a backend answers; status 0 if it hangs up."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        client.request(call.method, call.path, body=call.body or None, headers=call.headers)
        response = client.getresponse()
        return response.status, response.read()
    except OSError:
        return 0, b""
    finally:
        client.close()


def asked(ports: dict[str, int], call: Call, count: int) -> Row:
    """What each backend answers: status, the beginning of the answer, and the median of milliseconds.

    They take turns, so that what else the machine does meets both.
    """
    row: Row = {"request": call.what}
    times: dict[str, list[float]] = {whose: [] for whose in ports}
    for whose, port in ports.items():
        status, body = answer(port, call)
        row[whose] = f"{status} {' '.join(body.decode(errors='replace').split())[:40]}"
    for _ in range(count):
        for whose, port in ports.items():
            started = time.perf_counter()
            answer(port, call)
            times[whose].append(1000 * (time.perf_counter() - started))
    return row | {f"{whose} ms": statistics.median(found) for whose, found in times.items()}


@contextmanager
def process(command: list[str], port: int, folder: Path, **environment: str) -> Iterator[int]:
    """A backend that answers on a port; its output is in the folder."""
    with (folder / "log").open("wb") as log:
        started = subprocess.Popen(command, cwd=folder, env=os.environ | environment, stdout=log, stderr=log)
        try:
            up = Call("up", "GET", "/health")
            wait_until(lambda: answer(port, up)[0] == 200, 120, what=f"{command[0]} to answer")
            yield port
        finally:
            started.terminate()
            started.wait(20)


@contextmanager
def ours(folder: Path) -> Iterator[int]:
    """Our backend with a campaign of ten tasks and a head, on a port."""
    with own(folder / "home") as home, start_embedded(home) as server, Database(server.url("galaxyloop")) as database:
        stamps = write_stamps(folder)
        features = write_features(stamps)
        with database.transaction() as connection:
            query(connection, "put_stamp_set", name="sky", path=str(stamps), digest="d", features=str(features))
            made = add_campaign(connection, **MORPHOLOGY, name="Contract", project=PROJECT)
            shown = {"campaign": made.id, "stamp_set": "sky", "audit": False}
            query_many(connection, "put_task", [{**shown, "task": 101 + row, "stamp_id": row} for row in range(10)])
            for row, label in enumerate(CLASSES):
                query(connection, "put_snapshot_label", campaign=made.id, stamp_set="sky", stamp_id=row, label=label)
        learn_now(database, made)
        port = free_port()
        command = [sys.executable, "-m", "backend_ml", "--log", "error", "serve", "--port", str(port)]
        access = {"SECRET": "hush", "BACKEND_USER": "ls", "BACKEND_PASSWORD": "word", "HOME": str(home)}
        named = {f"GALAXYLOOP_{name}": value for name, value in access.items()}
        with process(command, port, folder, GALAXYLOOP_DATABASE_URL=database.url, **named):
            yield port


@contextmanager
def stock(folder: Path, checkout: Path) -> Iterator[int]:
    """The official backend with a model that answers a constant, on a port."""
    (folder / "constant.py").write_text(MODEL)
    port = free_port()
    command = [str(checkout / ".venv/bin/gunicorn"), "--bind", f"127.0.0.1:{port}", "--workers", "1", "--threads", "8"]
    access = {"BASIC_AUTH_USER": "ls", "BASIC_AUTH_PASS": "word", "MODEL_DIR": str(folder)}
    with process([*command, "constant:app"], port, folder, PYTHONPATH=f"{checkout}:{folder}", **access):
        yield port


def main() -> None:
    """Ask both, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--stock", type=Path, help="Checkout of the official backend, with its environment in .venv.")
    parser.add_argument("--calls", type=int, default=200, help="Of which each median is.")
    options = parser.parse_args()
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2)]
        ports = {"ours": stack.enter_context(ours(folders[0]))}
        if options.stock is not None:
            ports["stock"] = stack.enter_context(stock(folders[1], options.stock.absolute()))
        save("contract", [asked(ports, call, options.calls) for call in calls()])


if __name__ == "__main__":
    main()
