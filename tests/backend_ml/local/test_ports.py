"""Which ports the servers of a data folder get: no two of them the same one, whatever is asked for and was before."""

import socket

import pytest

from backend_ml.local import processes, servers
from backend_ml.local.processes import ProcessError, free_port
from backend_ml.local.servers import BACKEND, URL, choose_ports


@pytest.fixture
def usual(monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """The ports that are usual here, of the backend and Label Studio; nobody listens there."""
    backend, label_studio = free_port(), free_port()
    while backend == label_studio:
        label_studio = free_port()
    monkeypatch.setattr(servers, "BACKEND_PORT", backend)
    monkeypatch.setattr(servers, "LABEL_STUDIO_PORT", label_studio)
    return backend, label_studio


def kept(**ports: int) -> dict[str, str]:
    return {{"backend": BACKEND, "label_studio": URL}[name]: f"http://127.0.0.1:{port}" for name, port in ports.items()}


def test_the_first_time_they_are_the_usual_ones(usual: tuple[int, int]) -> None:
    assert choose_ports({}, None, None) == usual


def test_those_of_before_stay(usual: tuple[int, int]) -> None:
    before = kept(backend=usual[1], label_studio=usual[0])
    assert choose_ports(before, None, None) == usual[::-1]
    assert choose_ports(kept(label_studio=usual[1]), None, None) == usual


def test_who_asks_for_the_usual_port_of_the_other_gets_it(usual: tuple[int, int]) -> None:
    """As with `galaxyloop up --port 8080`: Label Studio goes elsewhere."""
    backend, label_studio = choose_ports({}, usual[1], None)
    assert backend == usual[1] and label_studio not in usual
    backend, label_studio = choose_ports({}, None, usual[0])
    assert label_studio == usual[0] and backend not in usual
    backend, label_studio = choose_ports(kept(backend=usual[1]), None, None)
    assert backend == usual[1] and label_studio not in usual


def test_a_port_that_somebody_else_has_is_no_matter_the_first_time(usual: tuple[int, int]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", usual[0]))
        taken.listen()
        backend, label_studio = choose_ports({}, None, None)
        assert backend not in usual and label_studio == usual[1]
        with pytest.raises(ProcessError, match=f"The backend needs port {usual[0]}, which is taken"):
            choose_ports(kept(backend=usual[0]), None, None)
        # another one that is asked for comes before what was
        assert choose_ports(kept(backend=usual[0]), processes.free_port(), None)[0] != usual[0]


@pytest.mark.parametrize(
    ("before", "backend", "label_studio"),
    [
        ({}, 0, 0),
        ({"backend": 0}, None, 0),
        ({"label_studio": 0}, 0, None),
        ({"backend": 0, "label_studio": 0}, None, None),
    ],
    ids=["both asked for", "the backend's of before", "Label Studio's of before", "an odd file"],
)
def test_one_port_for_both_is_refused_at_once(
    usual: tuple[int, int], before: dict[str, int], backend: int | None, label_studio: int | None
) -> None:
    port = usual[0]
    asked = (None if one is None else port for one in (backend, label_studio))
    with pytest.raises(ProcessError, match=f"cannot both have port {port}"):
        choose_ports(kept(**dict.fromkeys(before, port)), *asked)
