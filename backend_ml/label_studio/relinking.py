"""Signed links in what a project shows: in its tasks, its instruction and its label config. They are signed anew."""

import html
import re
from collections.abc import Mapping
from typing import Any

import httpx

from backend_ml import signing
from backend_ml.label_studio.client import CHUNK, LabelStudio
from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.settings import Settings
from backend_ml.signing import Links
from lvm_training.progress import Progress

KEY = rf"(/(?:{'|'.join(signing.LINKED)})/[^\s\"'<>]*?[?;&]key=)[0-9a-f]{{32}}"


def signed_again(data: Any, former: str, links: Links, settings: Settings) -> Any:
    """The same data with the links in its texts signed as those that hold, and leading to the backend's address.

    Parameters
    ----------
    former : str
        The backend's address in the links that are there.
    """
    if isinstance(data, Mapping):
        return {name: signed_again(value, former, links, settings) for name, value in data.items()}
    if isinstance(data, list):
        return [signed_again(value, former, links, settings) for value in data]
    if not isinstance(data, str):
        return data

    def link(found: re.Match[str]) -> str:
        key = signing.key_of_path(html.unescape(found[1]), links, settings)
        return found[0] if key is None else f"{settings.public_url.rstrip('/')}{found[1]}{key}"

    return re.sub(re.escape(former) + KEY, link, data)


def relink_texts(label_studio: LabelStudio, project: int, links: Links, settings: Settings) -> None:
    """Give a project's instruction and label config the links that hold; nobody else may change its fields meanwhile.

    Raises
    ------
    LabelStudioError
        If Label Studio cannot be reached or refuses.
    """
    found = label_studio.call("GET", f"api/projects/{project}/")
    there = {name: found[name] for name in ("expert_instruction", "label_config")}
    new = signed_again(there, settings.public_url.rstrip("/"), links, settings)
    changed = {name: text for name, text in new.items() if text != there[name]}
    if changed:
        label_studio.update_project(project, **changed)


def relink_tasks(
    label_studio: LabelStudio, project: int, links: Links, settings: Settings, on_progress: Progress | None = None
) -> int:
    """Give the tasks of a project the links that hold, and change nothing else of them; how many got some.

    Raises
    ------
    LabelStudioError
        If Label Studio cannot be reached or refuses.
    """
    address, changed = settings.public_url.rstrip("/"), 0
    total = label_studio.project(project).tasks
    # as they are stored: addresses of storages would be written as they are resolved for a moment
    for number, task in enumerate(label_studio.data_manager(project, [], CHUNK, resolve_uri="false"), start=1):
        data = signed_again(task["data"], address, links, settings)
        if data != task["data"]:
            changed += _write(label_studio, task["id"], data)
        if on_progress:
            on_progress(number, max(number, total))
    return changed


def _write(label_studio: LabelStudio, task: int, data: Any) -> bool:
    """Give a task other data; False if it was deleted meanwhile."""
    try:
        label_studio.call("PATCH", f"api/tasks/{task}/", {"data": data})
    except LabelStudioError as error:
        if error.status != httpx.codes.NOT_FOUND:
            raise
        return False
    return True
