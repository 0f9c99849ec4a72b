"""Tasks and answers in a bare project of Label Studio."""

import io
from typing import Any

import numpy as np
from PIL import Image

from backend_ml.label_studio.client import LabelStudio
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


def png(number: int, side: int = 40) -> bytes:
    """A picture of a blob or a disc, each another."""
    y, x = np.mgrid[-side // 2 : side // 2, -side // 2 : side // 2]
    light = 200 * np.exp(-(x**2 + (y * (1 + 4 * (number % 2))) ** 2) / (40 + number))
    stream = io.BytesIO()
    Image.fromarray(np.stack([light] * 3, axis=-1).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def upload(admin: LabelStudio, project: int, *numbers: int) -> None:
    """As people drop files on the import page."""
    for number in numbers:
        files = {"file": (f"J{number:04d}.png", png(number), "image/png")}
        headers = {"Authorization": admin.authorization()}
        admin._http.post(f"{admin.url}/api/projects/{project}/import", files=files, headers=headers)
