"""Tasks and answers in a bare project of Label Studio."""

from typing import Any

from tests.installation import Servers


def choice(name: str) -> list[dict[str, Any]]:
    """A region that answers `name`."""
    value = {"choices": [name]}
    return [{"id": "c", "from_name": "morphology", "to_name": "image", "type": "choices", "value": value, "score": 0.9}]


def add_tasks(servers: Servers, project: int, count: int) -> list[int]:
    """Tasks whose data name their place."""
    data = [{"data": {"image": f"http://example.com/{n}.png", "place": n}} for n in range(count)]
    return servers.admin.import_tasks(project, data)


def project_ids(servers: Servers) -> set[int]:
    """Every project; one page of the API, since the SDK asks for another one after a last page that is full."""
    found: dict[str, Any] = servers.admin.call("GET", "api/projects/?page_size=10000")
    assert len(found["results"]) == found["count"]
    return {int(project["id"]) for project in found["results"]}
