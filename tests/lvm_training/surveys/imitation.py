"""An imitation of a cutout service and of the ways in which services fail: a real HTTP server on this machine.

It was written after the source of the Legacy Surveys' viewer. Nothing here has asked the real one.
"""

import io
import socket
import struct
import sys
import threading
import time
import zlib
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from PIL import Image

SIZE = 16
SCALE = 0.262
PAGE = b"<!DOCTYPE html><html><body>no such layer</body></html>"
STATUS = {"401", "403", "404", "418", "429", "500", "503"}
DESCRIPTION = """
title = "An imitation"
citation = "Nobody et al."

[service]
url = "{url}/fits-cutout?ra={{ra}}&dec={{dec}}&layer={{layer}}&pixscale={{scale}}&bands={{bands}}&size={{size}}"
layers = ["one", "two"]

[pixels]
scale = 0.262
size = 16
zero_point = 22.5
interpolated = true

[bands]
known = ["g", "r", "i", "z"]
planes = ["g", "r", "z"]

[limits]
size = 64
rate = 1000.0
most_rate = 2000.0
connections = 3
tries = 3
wait = 0.01
timeout = 30.0
failures = 4

[footprint]
note = "This machine."
"""


def sky(ra: float, dec: float, band: str, size: int = SIZE) -> NDArray[np.float32]:
    """What the imitation has at a position in a band, (size, size): noise of its own, nowhere 0."""
    seed = zlib.crc32(f"{ra:.4f} {dec:.4f} {band}".encode())
    return np.random.default_rng(seed).uniform(0.1, 1, (size, size)).astype(np.float32)


class Imitation:
    """The service.

    Attributes
    ----------
    url : str
        Its address.
    faults : dict of (ra, dec) to deque of str
        How it fails the next times that a position (rounded to 4 digits) is asked for, see `_Handler`.
    always : str
        How it fails whatever is asked for; "" if it does not.
    asked : list of (float, dict)
        Each request: when, and what was asked for.
    agents : set of str
        Who asked.
    """

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        self.faults: dict[tuple[float, float], deque[str]] = defaultdict(deque)
        self.always = ""
        self.slowly = 0.0
        self.asked: list[tuple[float, dict[str, str]]] = []
        self.agents: set[str] = set()
        self.accounts: set[str] = set()

    def fail(self, ra: float, dec: float, *faults: str) -> None:
        """Let the next requests of a position fail."""
        self.faults[round(ra, 4), round(dec, 4)].extend(faults)

    def positions(self) -> list[tuple[float, float]]:
        """The position of each request, in order."""
        return [(round(float(query["ra"]), 4), round(float(query["dec"]), 4)) for _, query in self.asked]

    def description(self, folder: Path, **changed: str) -> Path:
        """A description of this service; each change replaces the line of a field, "" leaves it out."""
        lines = DESCRIPTION.format(url=self.url).splitlines()
        for name, value in changed.items():
            place = next(place for place, line in enumerate(lines) if line.startswith(f"{name} ="))
            lines[place] = f"{name} = {value}" if value else ""
        path = folder / "imitation.toml"
        path.write_text("\n".join(lines))
        return path


@contextmanager
def imitated() -> Iterator[Imitation]:
    """Run the service."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        service = Imitation(server)
        server.imitation = service  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that are gone: some are killed on purpose."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Answers as a viewer does, or fails: by an HTTP status (`429:1` says Retry-After too), or as a method says."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        service: Imitation = self.server.imitation  # type: ignore[attr-defined]
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        service.asked.append((time.monotonic(), query))
        service.agents.add(self.headers.get("User-Agent", ""))
        service.accounts.add(self.headers.get("Authorization", ""))
        time.sleep(service.slowly)
        faults = service.faults[round(float(query["ra"]), 4), round(float(query["dec"]), 4)]
        fault, _, detail = (service.always or (faults.popleft() if faults else "good")).partition(":")
        if fault in STATUS:
            self._answer(b"", "text/plain", int(fault), {"Retry-After": detail} if detail else {})
        else:
            with suppress(ConnectionError):  # whoever asked may be gone
                getattr(self, f"_{fault}")(query, detail)

    def _answer(
        self, body: bytes, kind: str = "image/fits", status: int = 200, more: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), **(more or {})}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _good(self, query: dict[str, str], detail: str = "") -> None:
        self._answer(cutout(query))

    def _truncated(self, query: dict[str, str], detail: str) -> None:
        self._answer(cutout(query)[:-3000])

    def _short(self, query: dict[str, str], detail: str) -> None:
        body = cutout(query)
        self._answer(body[:3000], more={"Content-Length": str(len(body))})
        self.close_connection = True

    def _reset(self, query: dict[str, str], detail: str) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()
        self.rfile = self.wfile = io.BytesIO()

    def _slow(self, query: dict[str, str], detail: str) -> None:
        time.sleep(float(detail))
        self._good(query)

    def _html(self, query: dict[str, str], detail: str) -> None:
        self._answer(PAGE, "text/html")

    def _empty(self, query: dict[str, str], detail: str) -> None:
        self._answer(b"")

    def _size(self, query: dict[str, str], detail: str) -> None:
        self._answer(cutout(query | {"size": detail}))

    def _bands(self, query: dict[str, str], detail: str) -> None:
        self._answer(cutout(query | {"bands": detail}))

    def _scale(self, query: dict[str, str], detail: str) -> None:
        self._answer(cutout(query | {"pixscale": detail}))

    def _elsewhere(self, query: dict[str, str], detail: str) -> None:
        self._answer(cutout(query | {"ra": str(float(query["ra"]) + float(detail))}))

    def _nowhere(self, query: dict[str, str], detail: str) -> None:
        self._answer(cutout(query, wcs=False))

    def _zero(self, query: dict[str, str], detail: str) -> None:
        self._answer(cutout(query, covered=0.0))

    def _partly(self, query: dict[str, str], detail: str) -> None:
        self._answer(cutout(query, covered=float(detail)))

    def _noband(self, query: dict[str, str], detail: str) -> None:
        self._answer(cutout(query, covered=0.0, plane=int(detail)))

    def _noimage(self, query: dict[str, str], detail: str) -> None:
        self._answer(written(fits.PrimaryHDU(header=fits.Header({"OVERLAP": False}))))

    def _huge(self, query: dict[str, str], detail: str) -> None:
        self._answer(b"SIMPLE", more={"Content-Length": str(10**12)})
        self.close_connection = True

    def _endless(self, query: dict[str, str], detail: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        try:
            while True:
                self.wfile.write(b"SIMPLE  =" + bytes(65536))
        except OSError:
            return

    def _redirect(self, query: dict[str, str], detail: str) -> None:
        self._answer(b"", status=302, more={"Location": detail or self.path + "&again=1"})

    def _picture(self, query: dict[str, str], detail: str = "") -> None:
        size = int(query["size"])
        rgb = np.stack([sky(float(query["ra"]), float(query["dec"]), band, size) for band in "zrg"], axis=-1)
        drawn = io.BytesIO()
        Image.fromarray((rgb * (0 if detail == "black" else 255)).astype(np.uint8)).save(drawn, "PNG")
        self._answer(drawn.getvalue(), "image/png")


def cutout(
    query: dict[str, str],
    *,
    wcs: bool = True,
    covered: float = 1.0,
    plane: int | None = None,
    unit: str = "",
    named: str = "",
) -> bytes:
    """A cutout as the viewer makes it, of which a share of the rows (of one plane, or of all) was observed.

    `unit` is that of its pixels, and `named` what its header calls the bands.
    """
    ra, dec, size = float(query["ra"]), float(query["dec"]), int(query["size"])
    bands = query["bands"] if "bands" in query else query["band"]
    data = np.stack([sky(ra, dec, band, size) for band in bands])
    unseen = slice(round(covered * size), None)
    data[slice(None) if plane is None else plane, unseen] = 0
    header = fits.Header({"BANDS" if len(bands) > 1 else "FILTER": named or bands})
    if unit:
        header["BUNIT"] = unit
    if wcs:
        degrees = float(query["pixscale"]) / 3600
        header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=ra, CRVAL2=dec, CD1_1=-degrees, CD1_2=0.0)
        header.update(CRPIX1=size / 2 + 0.5, CRPIX2=size / 2 + 0.5, CD2_1=0.0, CD2_2=degrees)
    return written(fits.PrimaryHDU(data if len(bands) > 1 else data[0], header))


def written(unit: Any) -> bytes:
    """The bytes of a FITS file of one unit."""
    file = io.BytesIO()
    unit.writeto(file)
    return file.getvalue()
