"""What every answer says to browsers, and which pages of other sites may read pictures."""

import re
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend_ml.settings import Settings

SAFE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""Of an answer that says nothing else: it is data, kept by no cache and run, framed or guessed at by nobody."""
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


class SafeHeaders:
    """Gives each answer the headers of `SAFE` that its route has not set."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""

        async def safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SAFE.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, safe if scope["type"] == "http" else send)


def drawing_origins(settings: Settings) -> str:
    """A pattern of the origins whose pages may draw pictures on a canvas: Label Studio's and our own.

    The names of this host itself are one: people open what is told as 127.0.0.1 as localhost too.
    """
    return "|".join(map(_origin, (settings.label_studio_public_url or settings.label_studio_url, settings.public_url)))


def _origin(address: str) -> str:
    parts = urlsplit(address)
    place = parts.netloc.rpartition("@")[2]
    host = place if place.endswith("]") or ":" not in place else place.rpartition(":")[0]
    hosts = LOOPBACK if host in LOOPBACK else (host,)
    return f"{parts.scheme}://(?:{'|'.join(map(re.escape, hosts))}){re.escape(place.removeprefix(host))}"
