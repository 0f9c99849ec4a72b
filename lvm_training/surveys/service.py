"""One request to a cutout service: paced, tried again where that may help, bounded, never elsewhere than asked."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, NoReturn, Self, TypeVar
from urllib.parse import urljoin, urlsplit

from lvm_training.errors import SurveyError
from lvm_training.surveys.description import Limits, Survey, is_here

if TYPE_CHECKING:
    import httpx

CONNECT = 10.0  # seconds
REDIRECTS = 3
REFUSED = {401: "asks who is there", 403: "refuses"}
NOTHING = (404, 410)
PASSING = (408, 425, 429, 500, 502, 503, 504)

Read = TypeVar("Read")


class NoStamp(Exception):  # noqa: N818  # no error: a survey ends somewhere
    """Why a position has no stamp; `kind` is how a list of them calls it."""

    kind = "failed"


class Outside(NoStamp):
    """The service has nothing at this position."""

    kind = "outside"


class PartlyCovered(Outside):
    """The service has too little of this position."""

    kind = "partly covered"


class Unusable(NoStamp):
    """An answer that would be the same if it was asked for again."""


class Unavailable(NoStamp):
    """No answer, or one that may be better the next time; `wait` are seconds that the service asks for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class Pace:
    """Requests one after another at a rate; all of them wait when the service asks for it.

    Parameters
    ----------
    rate : float
        Requests a second.
    """

    def __init__(self, rate: float) -> None:
        self._step = 1 / rate
        self._next = self._held = 0.0

    async def turn(self) -> None:
        """Wait until the next request may begin."""
        clock = asyncio.get_running_loop().time
        start = max(clock(), self._next, self._held)
        self._next = start + self._step
        while (wait := max(start, self._held) - clock()) > 0:
            await asyncio.sleep(wait)

    def hold(self, seconds: float) -> None:
        """Let no request begin for some seconds."""
        self._held = max(self._held, asyncio.get_running_loop().time() + seconds)


class Service:
    """A survey's cutout service; use `opened`.

    Attributes
    ----------
    requests : int
        Made so far, those that failed included.
    received : int
        Bytes.
    """

    def __init__(self, survey: Survey, client: "httpx.AsyncClient", rate: float) -> None:
        self.requests = self.received = 0
        self._survey, self._client = survey, client
        self._pace = Pace(rate)

    @classmethod
    @asynccontextmanager
    async def opened(cls, survey: Survey, rate: float) -> AsyncIterator[Self]:
        """Connect to the service of a survey, through the proxy that the environment names.

        Raises
        ------
        SurveyError
            If it needs an account, and ~/.netrc is not there; or if the environment names a proxy or certificates that
            cannot be used.
        """
        async with _client(survey) as client:
            yield cls(survey, client, rate)

    async def get(self, url: str, largest: int, read: Callable[[bytes], Read]) -> Read:
        """What `read` makes of the answer of an address; it may raise the exceptions of this module.

        Parameters
        ----------
        largest : int
            Bytes that the answer may have.

        Raises
        ------
        Outside, Unusable
            At once.
        Unavailable
            After as many tries as the survey's limits say.
        SurveyError
            If the service wants an account, refuses, or asks for a longer wait than the limits say.
        """
        limits = self._survey.limits
        for attempt in range(1, limits.tries + 1):
            await self._pace.turn()
            try:
                return read(await self._bytes(url, largest))
            except Unavailable as error:
                if error.wait > limits.longest_wait:
                    raise SurveyError(
                        f"{self._survey.service.host} asks for a pause of {error.wait / 60:.0f} minutes ({error}).",
                        "What is done is kept: run the same command again by then, with a lower --rate.",
                    ) from error
                if error.wait:
                    self._pace.hold(error.wait)
                if attempt == limits.tries:
                    raise
                await asyncio.sleep(max(error.wait, backoff(limits, attempt)))
        raise AssertionError

    async def _bytes(self, url: str, largest: int) -> bytes:
        import httpx

        self.requests += 1
        try:
            async with asyncio.timeout(self._survey.limits.timeout), self._answer(url) as response:
                self._refuse_status(response)
                return await self._body(response, largest)
        except TimeoutError as error:
            raise Unavailable(f"no whole answer within {self._survey.limits.timeout:g} s") from error
        except httpx.HTTPError as error:
            # the message of an error may hold the address of a proxy, and that a password
            raise Unavailable(f"no answer: {_words(type(error).__name__)}") from error

    def _answer(self, url: str) -> AbstractAsyncContextManager["httpx.Response"]:
        return _following(self._client, url)

    async def _body(self, response: "httpx.Response", largest: int) -> bytes:
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) > largest:
            _too_large(int(length), largest)
        body = bytearray()
        async for part in response.aiter_bytes():
            body += part
            if len(body) > largest:
                _too_large(len(body), largest)
        self.received += len(body)
        return bytes(body)

    def _refuse_status(self, response: "httpx.Response") -> None:
        """Refuse an answer by its status alone."""
        status, host = response.status_code, self._survey.service.host
        if status in REFUSED:
            raise SurveyError(
                f"{host} {REFUSED[status]} (HTTP {status}).",
                f"If it needs an account, write `machine {host} login ... password ...` into ~/.netrc.",
            )
        if status in NOTHING:
            raise Outside(f"the service has nothing there (HTTP {status})")
        if status in PASSING:
            raise Unavailable(f"HTTP {status}", retry_after(response.headers.get("Retry-After", "")))
        if status != 200:
            raise Unusable(f"HTTP {status}")


@asynccontextmanager
async def _following(client: "httpx.AsyncClient", url: str) -> AsyncIterator["httpx.Response"]:
    """The answer of an address behind its redirects, of which none may lead to another host or out of encryption."""
    for _ in range(REDIRECTS + 1):
        async with client.stream("GET", url) as response:
            if not response.has_redirect_location:
                yield response
                return
            url = _redirected(url, response.headers["Location"])
    raise Unusable(f"more than {REDIRECTS} redirects")


def _redirected(url: str, location: str) -> str:
    here, there = urlsplit(url), urlsplit(urljoin(url, location))
    host = there.hostname or ""
    if host != here.hostname or not (there.scheme == "https" or (is_here(host) and there.scheme == here.scheme)):
        raise Unusable(f"a redirect to {there.scheme}://{host}, which is not followed")
    return there.geturl()


def _too_large(size: int, largest: int) -> NoReturn:
    raise Unusable(f"an answer of {size} bytes or more where a cutout has {largest} at most")


def _client(survey: Survey) -> "httpx.AsyncClient":
    import httpx

    account = _account(survey)
    try:
        return httpx.AsyncClient(
            # what is compressed has no size that could be bounded before it is unpacked
            headers={"User-Agent": user_agent(), "Accept-Encoding": "identity"},
            timeout=httpx.Timeout(survey.limits.timeout, connect=CONNECT, pool=None),
            limits=httpx.Limits(max_connections=survey.limits.connections),
            follow_redirects=False,
            auth=account,
        )
    except (ValueError, OSError, ImportError, httpx.InvalidURL):
        raise SurveyError(
            "The proxy or the certificates that the environment names cannot be used.",
            "Look at HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and SSL_CERT_FILE; SOCKS needs the package socksio.",
        ) from None  # what was raised may quote a password


def _account(survey: Survey) -> "httpx.NetRCAuth | None":
    if not survey.service.account:
        return None
    from netrc import NetrcParseError

    from httpx import NetRCAuth

    hint = f"Write `machine {survey.service.host} login ... password ...` into it; nobody else may read the file."
    try:
        return NetRCAuth()
    except FileNotFoundError as error:
        raise SurveyError(f"{survey.name} needs an account, and there is no ~/.netrc.", hint) from error
    except (OSError, NetrcParseError) as error:
        # what the parser says may quote the file
        raise SurveyError(f"{survey.name} needs an account, and ~/.netrc cannot be read.", hint) from error


def user_agent() -> str:
    """How requests say who asks."""
    try:
        return f"galaxyloop/{version('galaxyloop')}"
    except PackageNotFoundError:
        return "galaxyloop"


def backoff(limits: Limits, attempt: int) -> float:
    """Seconds before the try after `attempt`: twice as many each time, and drawn from the upper half of that.

    Many clients that failed together would otherwise come back together.
    """
    return min(limits.wait * 2.0 ** (attempt - 1), limits.longest_wait) * random.uniform(0.5, 1)


def retry_after(text: str, now: datetime | None = None) -> float:
    """Seconds that the header Retry-After asks to wait, which it says as a number or as a date; 0 if it does neither.

    Source: RFC 9110, section 10.2.3.
    """
    if text.strip().isdecimal():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    at = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (at - (now or datetime.now(UTC))).total_seconds())


def _words(name: str) -> str:
    """The name of an exception in words: ConnectError is "connect error"."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()
