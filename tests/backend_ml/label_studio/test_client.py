"""What the client asks for again, and what not."""

from collections.abc import Callable

import httpx
import pytest

from backend_ml.label_studio import client as clients
from backend_ml.label_studio.client import LabelStudio
from backend_ml.label_studio.connection import ATTEMPTS, LabelStudioError, connect

Client = Callable[[list[int]], LabelStudio]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    """Makes a client whose server answers with the statuses of a list, each taken out of it."""

    def make(script: list[int]) -> LabelStudio:
        def answer(_: httpx.Request) -> httpx.Response:
            return httpx.Response(script.pop(0), json={"id": 1, "detail": "deadlock detected"})

        hooks = connect("http://server").event_hooks
        http = httpx.Client(base_url="http://server", transport=httpx.MockTransport(answer), event_hooks=hooks)
        monkeypatch.setattr(clients, "connect", lambda *_: http)
        return LabelStudio("http://server", "a" * 40)

    return make


CHANGES: list[Callable[[LabelStudio], None]] = [
    lambda client: client.update_project(1, maximum_annotations=2),
    lambda client: client.set_model_version(1, "morphology-1"),
    lambda client: client.delete_project(1),
]


@pytest.mark.parametrize("change", CHANGES, ids=["update", "version", "delete"])
def test_a_deadlock_of_label_studio_is_tried_again(client: Client, change: Callable[[LabelStudio], None]) -> None:
    script = [500] * (ATTEMPTS - 1) + [200]
    change(client(script))
    assert script == []
    script = [500] * ATTEMPTS + [200]
    with pytest.raises(LabelStudioError, match="deadlock"):
        change(client(script))
    assert script == [200], "an error that stays is told"


@pytest.mark.parametrize("change", CHANGES, ids=["update", "version", "delete"])
def test_a_refusal_is_told_at_once(client: Client, change: Callable[[LabelStudio], None]) -> None:
    script = [400, 200]
    with pytest.raises(LabelStudioError, match="400"):
        change(client(script))
    assert script == [200]
