"""Who may call what: basic credentials, the webhook's shared secret, signed picture links."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit

from backend_ml.settings import Settings
from lvm_training.errors import GalaxyLoopError

SECRET_HEADER = "X-GalaxyLoop-Secret"  # noqa: S105

Linked = Literal["stamp", "restored", "residual", "why", "example", "progress"]
"""What a signed link shows: a stamp's picture, restored, what that took away; why it is in the queue; an example of a
class; how far a campaign is."""


class Links(NamedTuple):
    """The signed links of a campaign that hold: those of one series; who rotates them begins the next one."""

    campaign: int
    series: int = 0


class AccessError(GalaxyLoopError):
    """Credentials, a secret or a signature that is missing or wrong."""

    code = "unauthorised"


def has_basic_credentials(authorization: str | None, settings: Settings) -> bool:
    """Whether an `Authorization` header carries the backend's user and password; compares in constant time."""
    scheme, _, encoded = (authorization or "").partition(" ")
    try:
        given = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return False
    wanted = f"{settings.backend_user}:{settings.backend_password.get_secret_value()}".encode()
    return scheme.lower() == "basic" and hmac.compare_digest(given, wanted)


def has_metrics_token(authorization: str | None, settings: Settings) -> bool:
    """Whether an `Authorization` header carries the token for metrics, if one is set; compares in constant time."""
    wanted = settings.metrics_token.get_secret_value()
    scheme, _, given = (authorization or "").partition(" ")
    return bool(wanted) and scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), wanted.encode())


def has_secret(header: str | None, settings: Settings) -> bool:
    """Whether a webhook carries the shared secret; compares in constant time."""
    return hmac.compare_digest((header or "").encode(), webhook_secret(settings).encode())


def webhook_secret(settings: Settings) -> str:
    """The webhook's header value: derived from the secret, so that reading it in Label Studio signs no pictures."""
    return _sign("webhook", settings)


def stamp_path(stamp_set: str, stamp_id: int, links: Links, settings: Settings) -> str:
    """The signed path of a stamp's picture, for one campaign."""
    key = link_key("stamp", stamp_set, stamp_id, links, settings)
    return f"/stamps/{quote(stamp_set, safe='')}/{stamp_id}.jpg?campaign={links.campaign}&key={key}"


def restored_path(
    what: Literal["restored", "residual"], stamp_set: str, stamp_id: int, links: Links, settings: Settings
) -> str:
    """The signed path of a stamp's restored picture, or of what restoration took away, for one campaign."""
    key = link_key(what, stamp_set, stamp_id, links, settings)
    return f"/{what}/{quote(stamp_set, safe='')}/{stamp_id}.jpg?campaign={links.campaign}&key={key}"


def why_path(stamp_set: str, stamp_id: int, links: Links, settings: Settings) -> str:
    """The signed path of the page that says why a stamp is in a campaign's queue."""
    key = link_key("why", stamp_set, stamp_id, links, settings)
    return f"/why/{links.campaign}/{quote(stamp_set, safe='')}/{stamp_id}?key={key}"


def example_path(name: str, number: int, links: Links, settings: Settings) -> str:
    """The signed path of an example of a class, counted from 0, for one campaign."""
    key = link_key("example", name, number, links, settings)
    return f"/examples/{links.campaign}/{number}.jpg?name={quote(name, safe='')}&key={key}"


def progress_path(links: Links, settings: Settings) -> str:
    """The signed path of the picture that says how many of a campaign's tasks are labelled."""
    return f"/progress/{links.campaign}.svg?key={link_key('progress', '', 0, links, settings)}"


def link_key(what: Linked, stamp_set: str, stamp_id: int, links: Links, settings: Settings) -> str:
    """HMAC-SHA256 of what is linked, campaign and stamp, 32 hex digits: a picture's key opens no answers."""
    whose = f"{links.campaign}.{links.series}" if links.series else f"{links.campaign}"
    return _sign(f"{what}/{whose}/{stamp_set}/{stamp_id}", settings)[:32]


def key_of_path(path: str, links: Links, settings: Settings) -> str | None:
    """The key of a path that one of the functions above made, before; None if it is of another campaign."""
    parts = urlsplit(path)
    query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    try:
        kind, *rest = (unquote(part) for part in parts.path.split("/")[1:])
        what, campaign, name, number = LINKED[kind](rest, query)
    except (KeyError, ValueError, IndexError):
        return None
    return link_key(what, name, number, links, settings) if campaign == links.campaign else None


def _number(file: str) -> int:
    return int(file.partition(".")[0])


LINKED: Mapping[str, Callable[[Sequence[str], Mapping[str, str]], tuple[Linked, int, str, int]]] = {
    "stamps": lambda rest, query: ("stamp", int(query["campaign"]), rest[0], _number(rest[1])),
    "restored": lambda rest, query: ("restored", int(query["campaign"]), rest[0], _number(rest[1])),
    "residual": lambda rest, query: ("residual", int(query["campaign"]), rest[0], _number(rest[1])),
    "why": lambda rest, query: ("why", int(rest[0]), rest[1], int(rest[2])),
    "examples": lambda rest, query: ("example", int(rest[0]), query["name"], _number(rest[1])),
    "progress": lambda rest, query: ("progress", _number(rest[0]), "", 0),
}
"""What each path links, by its first part: campaign, name and number, from the other parts and the query."""


def has_link_key(
    key: str, what: Linked, stamp_set: str, stamp_id: int, links: Links | None, settings: Settings
) -> bool:
    """Whether a link's key is right; compares in constant time. None stands for a campaign that is not there."""
    return links is not None and hmac.compare_digest(
        key.encode(), link_key(what, stamp_set, stamp_id, links, settings).encode()
    )


def _sign(message: str, settings: Settings) -> str:
    secret = settings.secret.get_secret_value().encode()
    return hmac.new(secret, message.encode(), hashlib.sha256).hexdigest()
