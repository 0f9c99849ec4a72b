"""Fetches pictures of tasks: a few at a time, bounded in size and time, from nowhere else than allowed."""

import hashlib
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import httpx

from backend_ml.adoption.addresses import Address, AddressError, host_of, is_allowed, same_origin
from lvm_training.files import write_atomically
from lvm_training.progress import Progress

AT_ONCE = 4  # the server of people who label at this moment
MOST_BYTES = 64_000_000  # of a picture
SECONDS = 60.0  # for a whole picture
CONNECT = 5.0  # seconds
REDIRECTS = 3
TRIES = 3
PAUSE = 1.0  # seconds before a second try
PASSING = (408, 429, 500, 502, 503, 504)
GZIP = b"\x1f\x8b"
KINDS = ((b"\x89PNG\r\n\x1a\n", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"SIMPLE  =", ".fits"))
PLAIN = re.compile(r"[^A-Za-z0-9._+-]+")


class _Again(Exception):  # noqa: N818 - a failure that another try may mend
    """No answer, or one that may be better the next time."""


@dataclass(frozen=True)
class Limits:
    """What a picture may cost."""

    most_bytes: int = MOST_BYTES
    seconds: float = SECONDS
    pause: float = PAUSE


@dataclass(frozen=True)
class Fetched:
    """What came of fetching.

    Attributes
    ----------
    files : dict
        Paths within the folder by task.
    failures : dict
        Why a picture is not there, by task.
    """

    files: Mapping[int, str]
    failures: Mapping[int, str]


class PictureFetcher:
    """Fetches pictures into a folder; those that are there are not fetched again.

    Parameters
    ----------
    label_studio : str
        Its address: it alone is shown `authorization`.
    authorization : callable
        Gives the header of that name, at each request anew: tokens are short-lived.
    allowed : collection of str
        Other hosts that may be asked, and redirected to.
    """

    def __init__(
        self,
        label_studio: str,
        authorization: Callable[[], str],
        allowed: Collection[str],
        limits: Limits | None = None,
    ) -> None:
        self._label_studio, self._authorization, self._allowed = label_studio, authorization, allowed
        self._limits = limits or Limits()
        self._client = httpx.Client(
            # what is compressed has no size that could be bounded before it is unpacked; a transport of its own leaves
            # out the environment's proxies, which know no loopback of ours
            headers={"Accept-Encoding": "identity", "User-Agent": "galaxyloop"},
            transport=httpx.HTTPTransport(),
            timeout=httpx.Timeout(self._limits.seconds, connect=CONNECT),
            follow_redirects=False,
        )

    def fetch(self, addresses: Mapping[int, Address], folder: Path, progress: Progress | None = None) -> Fetched:
        """Fetch the picture of each task into a folder, under its task, its address and its own name."""
        files: dict[int, str] = {}
        failures: dict[int, str] = {}
        _remove_others(folder, addresses)
        with self._client, ThreadPoolExecutor(AT_ONCE) as pool:
            found = pool.map(lambda task: self._kept(addresses[task], folder / place(task, addresses[task])), addresses)
            for done, (task, (path, why)) in enumerate(zip(addresses, found, strict=True), start=1):
                if path is None:
                    failures[task] = why
                else:
                    files[task] = path.relative_to(folder).as_posix()
                if progress:
                    progress(done, len(addresses))
        return Fetched(files, failures)

    def _kept(self, address: Address, folder: Path) -> tuple[Path | None, str]:
        """Where a picture is, or why it is nowhere."""
        # what a kill left half-written has a name of its own
        there = [path for path in sorted(folder.glob("*")) if path.suffix != ".partial"]
        if there:
            return there[0], ""
        try:
            content = self._content(address)
            suffix = _suffix(content)
        except AddressError as error:
            return None, error.message
        path = folder / f"{_stem(address.name)}{suffix}"
        write_atomically(path, lambda partial: partial.write_bytes(content))
        return path, ""

    def _content(self, address: Address) -> bytes:
        for attempt in range(1, TRIES + 1):
            try:
                return self._once(address)
            except _Again as error:
                if attempt == TRIES:
                    raise AddressError(f"{error}") from error
                time.sleep(self._limits.pause * attempt)
        raise AssertionError

    def _once(self, address: Address) -> bytes:
        end = time.monotonic() + self._limits.seconds
        try:
            with self._answer(address) as response:
                if response.status_code in PASSING:
                    raise _Again(f"HTTP {response.status_code} from {address.source}")
                if response.status_code not in (200, 206):
                    raise AddressError(f"HTTP {response.status_code} from {address.source}")
                return self._body(response, end)
        except httpx.HTTPError as error:
            raise _Again(f"no answer from {address.source} ({type(error).__name__})") from error
        except httpx.InvalidURL as error:
            raise AddressError("its address cannot be read") from error

    def _body(self, response: httpx.Response, end: float) -> bytes:
        most, body = self._limits.most_bytes, bytearray()
        for part in response.iter_raw():
            body += part
            if len(body) > most:
                raise AddressError(f"it has more than {most / 1e6:g} MB")
            # the timeout of a read begins anew with each byte
            if time.monotonic() > end:
                raise AddressError(f"it took more than {self._limits.seconds:g} s")
        return bytes(body)

    @contextmanager
    def _answer(self, address: Address) -> Iterator[httpx.Response]:
        """The answer behind redirects, none of which may lead to a host that is not allowed."""
        url = address.url
        for _ in range(REDIRECTS + 1):
            # never behind a redirect: it may lead anywhere on an allowed host
            headers = {"Authorization": self._authorization()} if address.ours and url == address.url else {}
            with self._client.stream("GET", url, headers=headers) as response:
                if not response.has_redirect_location:
                    yield response
                    return
                url = self._redirected(url, response.headers["Location"], address)
        raise AddressError(f"more than {REDIRECTS} redirects")

    def _redirected(self, url: str, location: str, address: Address) -> str:
        try:
            there = urljoin(url, location)
            host = host_of(there)
        except ValueError as error:
            raise AddressError("it is redirected to what cannot be read") from error
        # Label Studio redirects to its own pages too, to sign in for example: no picture is there
        if same_origin(there, self._label_studio) or not is_allowed(there, self._allowed):
            raise AddressError(f"it is redirected to {host}, which is not allowed (--allow-host {host})")
        return there


def place(task: int, address: Address) -> str:
    """The folder of a task's picture: another address is another picture."""
    return f"{task:010d}-{hashlib.sha256(address.url.encode()).hexdigest()[:8]}"


def _remove_others(folder: Path, addresses: Mapping[int, Address]) -> None:
    """Delete what an interrupted run fetched for tasks that are not asked for any more, or show another picture."""
    wanted = {place(task, address) for task, address in addresses.items()}
    for old in folder.iterdir() if folder.is_dir() else ():
        if old.name not in wanted:
            for path in old.iterdir():
                path.unlink()
            old.rmdir()


def _suffix(content: bytes) -> str:
    for start, suffix in KINDS:
        if content.startswith(start):
            return suffix
    if content.startswith(GZIP):
        return ".fits.gz"
    raise AddressError("it is no PNG, JPEG or FITS file")


def _stem(name: str) -> str:
    plain = PLAIN.sub("_", name).lstrip(".")
    while (cut := plain.rpartition("."))[1] and len(cut[2]) <= 5 and cut[0]:
        plain = cut[0]
    return plain[:80] or "picture"
