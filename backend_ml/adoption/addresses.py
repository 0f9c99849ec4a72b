"""Where the pictures of somebody's tasks are, and whether they may be fetched from there."""

import base64
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from lvm_training.errors import GalaxyLoopError

OWN_PATHS = ("/data/upload/", "/data/local-files/", "/storage-data/uploaded/")
"""Of Label Studio's, under which it serves pictures; any other could make it do something."""
RESOLVED = re.compile(r"/(?:tasks|projects)/[0-9]{1,10}/(?:resolve|presign)/")
STORAGES = ("s3", "gs", "azure-blob")
LONGEST = 4096  # characters of an address
PORTS = {"http": 80, "https": 443}
UPLOADS, LOCAL, STORAGE = "uploaded", "local files", "cloud storage"


class AddressError(GalaxyLoopError):
    """A picture that cannot be fetched from where its task says it is."""

    code = "picture_address"


@dataclass(frozen=True)
class Address:
    """Where a picture is fetched from.

    Attributes
    ----------
    url : str
    ours : bool
        Whether Label Studio itself serves it, and so is shown the token.
    source : str
        How a report calls where it is: uploaded, local files, cloud storage, or a host.
    name : str
        What its file is called.
    """

    url: str
    ours: bool
    source: str
    name: str


def picture_text(data: Mapping[str, Any], key: str) -> str:
    """What a task's data say of where its picture is.

    Raises
    ------
    AddressError
        If they say nothing that can be read.
    """
    value = data.get(key)
    if not isinstance(value, str) or not value.strip():
        raise AddressError(f"its {key!r} is {str(value)[:40]!r}, which is no address of a picture")
    if len(value) > LONGEST or not value.isprintable():
        what = "the picture itself" if value.startswith("data:") else "no address that can be used"
        raise AddressError(f"its {key!r} is {what}")
    return value


def find_address(text: str, label_studio: str, allowed: Collection[str], task: int) -> Address:
    """What to ask for to get a picture.

    Parameters
    ----------
    text : str
        As a task's data say it.
    label_studio : str
        Label Studio's address.
    allowed : collection of str
        Other hosts that may be asked, each with its port if that is not the scheme's.

    Raises
    ------
    AddressError
        If it is neither Label Studio's nor on an allowed host.
    """
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise AddressError("its address cannot be read") from error
    scheme = parts.scheme.lower()
    if scheme in STORAGES:
        coded = base64.urlsafe_b64encode(text.encode()).decode()
        return Address(f"{label_studio}/tasks/{task}/resolve/?fileuri={coded}", True, STORAGE, _name(parts.path))
    if scheme == "" and host == "" and text.startswith("/"):
        return _of_label_studio(_joined(label_studio, text), label_studio)
    if scheme not in PORTS or not host:
        raise AddressError(f"its address begins with {text[:24]!r}, which is not http, https or a storage's")
    if same_origin(text, label_studio):
        return _of_label_studio(text, label_studio)
    if not is_allowed(text, allowed):
        raise AddressError(f"its host {host_of(text)} is not allowed (--allow-host {host_of(text)})")
    return Address(text, False, host_of(text), _name(parts.path))


def is_allowed(url: str, allowed: Collection[str]) -> bool:
    """Whether an address is http or https, without a user in it, and on one of some hosts."""
    parts = urlsplit(url)
    return parts.scheme in PORTS and parts.username is None and host_of(url) in {one.lower() for one in allowed}


def host_of(url: str) -> str:
    """The host of an address, with its port unless that is the scheme's."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    return host if parts.port in (None, PORTS.get(parts.scheme)) else f"{host}:{parts.port}"


def same_origin(one: str, other: str) -> bool:
    """Whether two addresses are of the same server."""
    return urlsplit(one).scheme == urlsplit(other).scheme and host_of(one) == host_of(other)


def _joined(label_studio: str, path: str) -> str:
    """A path of Label Studio's, which may live under one itself and write it or not."""
    own = urlsplit(label_studio)
    prefix = "" if own.path and path.startswith(f"{own.path}/") else own.path
    return f"{own.scheme}://{own.netloc}{prefix}{path}"


def _of_label_studio(url: str, label_studio: str) -> Address:
    parts = urlsplit(url)
    path = unquote(parts.path).removeprefix(urlsplit(label_studio).path)
    asked = parse_qs(parts.query)
    files = [path, *(unquote(one) for name in ("d", "filepath") for one in asked.get(name, ()))]
    if parts.username is not None or any(".." in PurePosixPath(one).parts or "\\" in one for one in files):
        raise AddressError("its address leads out of the storage")
    if RESOLVED.fullmatch(path):
        return Address(url, True, STORAGE, "")
    if not path.startswith(OWN_PATHS):
        raise AddressError(f"its address is {path[:40]!r} of Label Studio, where it serves no pictures")
    return Address(url, True, LOCAL if "local-files" in path else UPLOADS, _name(files[-1]))


def _name(path: str) -> str:
    return PurePosixPath(unquote(path)).name
