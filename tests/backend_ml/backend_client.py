"""Calls of the ML backend as Label Studio makes them, and the errors it answers."""

import base64
import json
from pathlib import Path
from typing import Any

import httpx
from fastapi.testclient import TestClient

from backend_ml.kinds.installed import find_kind
from backend_ml.settings import Settings
from tests.backend_ml.conftest import PROJECT

CONTRACT = Path(__file__).parents[1] / "contract"
SETTINGS = Settings.model_validate({"secret": "hush", "backend_password": "word", "backend_user": "ls"})
BASIC = {"Authorization": "Basic " + base64.b64encode(b"ls:word").decode()}
CONFIG = find_kind("morphology").label_config()


def recorded(name: str) -> Any:
    """A recorded payload, readdressed to the campaign's project."""
    body = json.loads((CONTRACT / f"{name}.json").read_text())
    if isinstance(body["project"], dict):
        body["project"]["id"] = PROJECT
    else:
        body["project"] = f"{PROJECT}.1795225282"
    return body


def predict(client: TestClient, *tasks: dict[str, Any], config: str = CONFIG) -> httpx.Response:
    return client.post("/predict", headers=BASIC, json={**recorded("predict"), "tasks": tasks, "label_config": config})


def problem(response: httpx.Response, status: int, code: str) -> dict[str, str]:
    """A structured error, and no traceback in it."""
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"code", "message", "hint", "request_id"}
    assert body["code"] == code and body["message"] and body["hint"]
    assert "Traceback" not in response.text and ".py" not in response.text
    return dict(body)
