"""Pictures are fetched from a real server that redirects, hangs, sends too much, and breaks off."""

import io
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from backend_ml.adoption.addresses import Address, find_address
from backend_ml.adoption.fetching import AT_ONCE, Limits, PictureFetcher, place

LIMITS = Limits(most_bytes=20_000, seconds=1.0, pause=0.0)


def picture(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (9, 30, 60)).save(stream, kind)
    return stream.getvalue()


@dataclass
class Site:
    """A server of pictures; `asked` counts paths, `tokens` are those it was shown."""

    url: str = ""
    elsewhere: str = ""
    asked: Counter[str] = field(default_factory=Counter)
    tokens: list[str | None] = field(default_factory=list)
    busy: int = 0
    most: int = 0


def serve(site: Site) -> ThreadingHTTPServer:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with lock:
                site.asked[self.path] += 1
                site.tokens.append(self.headers.get("Authorization"))
                site.busy += 1
                site.most = max(site.most, site.busy)
            try:
                self.answer(self.path.rpartition("/")[2])
            finally:
                with lock:
                    site.busy -= 1

        def answer(self, name: str) -> None:
            if name.startswith("to-"):
                self.send_response(303)
                where = {"to-here": "/data/upload/1/a.png", "to-there": f"{site.elsewhere}/b.png", "to-loop": self.path}
                self.send_header("Location", where.get(name, "http://["))
                self.end_headers()
                return
            if name == "busy.png" and site.asked[self.path] < 3:
                self.send_error(503)
                return
            if name == "gone.png":
                self.send_error(404)
                return
            self.send_response(200)
            self.end_headers()
            if name == "drip.png":
                for _ in range(100):
                    self.wfile.write(b"\x89")
                    self.wfile.flush()
                    time.sleep(0.05)
            elif name == "huge.png":
                self.wfile.write(b"\x89PNG" * 10_000)
            elif name == "page.png":
                self.wfile.write(b"<html>Sign in</html>")
            else:
                time.sleep(0.02)
                self.wfile.write(picture("JPEG" if "jpg" in name else "PNG"))

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

        def handle_error(self) -> None:
            """A client that hung up is none."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that hung up is none."""

    server = Server(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture
def sites() -> Iterator[tuple[Site, Site]]:
    """Label Studio, and another host that it may redirect to."""
    here, there = Site(), Site()
    servers = [serve(here), serve(there)]
    here.elsewhere = there.url
    yield here, there
    for server in servers:
        server.shutdown()
        server.server_close()


def fetcher(site: Site, *allowed: str) -> PictureFetcher:
    return PictureFetcher(site.url, lambda: "Token hush", [one.removeprefix("http://") for one in allowed], LIMITS)


def address(site: Site, name: str) -> Address:
    return find_address(f"/data/upload/1/{name}", site.url, (), 1)


def test_pictures_get_the_suffix_of_what_they_are(sites: tuple[Site, Site], tmp_path: Path) -> None:
    here, _ = sites
    wanted = {7: address(here, "a.png"), 9: address(here, "b%20c.jpg.txt")}
    found = fetcher(here).fetch(wanted, tmp_path)
    assert found.failures == {} and [Path(one).name for one in found.files.values()] == ["a.png", "b_c.jpg"]
    assert all((tmp_path / one).read_bytes() for one in found.files.values())
    assert [int(one[:10]) for one in found.files.values()] == [7, 9]
    assert here.tokens == ["Token hush"] * 2


def test_what_is_there_is_not_fetched_again_and_what_is_not_wanted_goes(
    sites: tuple[Site, Site], tmp_path: Path
) -> None:
    here, _ = sites
    wanted = {n: address(here, f"p{n}.png") for n in range(12)}
    fetcher(here).fetch(wanted, tmp_path)
    half = tmp_path / place(3, wanted[3])
    (half / "p3.png").rename(half / "p3.png.partial")  # a kill while it was written
    again = {n: wanted[n] for n in range(4)} | {20: address(here, "new.png"), 1: address(here, "other.png")}
    found = fetcher(here).fetch(again, tmp_path)
    assert found.failures == {} and found.files.keys() == again.keys()
    assert here.asked["/data/upload/1/p0.png"] == 1 and here.asked["/data/upload/1/p3.png"] == 2
    assert {path.name for path in tmp_path.iterdir()} == {place(n, one) for n, one in again.items()}
    assert 1 < here.most <= AT_ONCE


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("gone.png", "HTTP 404"),
        ("page.png", "no PNG, JPEG or FITS"),
        ("huge.png", "more than 0.02 MB"),
        ("drip.png", "more than 1 s"),
        ("to-there", "which is not allowed"),
        ("to-here", "which is not allowed"),
        ("to-nowhere", "redirected to what cannot be read"),
    ],
)
def test_what_cannot_be_fetched_has_a_reason_and_costs_no_other(
    sites: tuple[Site, Site], tmp_path: Path, name: str, why: str
) -> None:
    here, there = sites
    found = fetcher(here).fetch({1: address(here, name), 2: address(here, "a.png")}, tmp_path)
    assert why in found.failures[1] and list(found.files) == [2]
    assert there.asked.total() == 0


def test_a_redirect_to_an_allowed_host_carries_no_token(sites: tuple[Site, Site], tmp_path: Path) -> None:
    here, there = sites
    found = fetcher(here, there.url).fetch({1: address(here, "to-there")}, tmp_path)
    assert list(found.files) == [1] and there.tokens == [None]


def test_allowed_hosts_see_no_token_and_lead_nowhere_else(sites: tuple[Site, Site], tmp_path: Path) -> None:
    here, there = sites
    there.elsewhere = here.url
    allowed = [there.url.removeprefix("http://")]
    wanted = {
        n: find_address(f"{there.url}/{name}", here.url, allowed, n)
        for n, name in enumerate(("a.png", "to-there", "to-loop"))
    }
    found = fetcher(here, there.url).fetch(wanted, tmp_path)
    assert list(found.files) == [0] and set(there.tokens) == {None} and here.asked.total() == 0
    assert "not allowed" in found.failures[1] and "redirects" in found.failures[2]


def test_a_server_that_is_busy_is_asked_again(sites: tuple[Site, Site], tmp_path: Path) -> None:
    here, _ = sites
    assert list(fetcher(here).fetch({1: address(here, "busy.png")}, tmp_path).files) == [1]


def test_a_server_that_is_away_is_named(tmp_path: Path) -> None:
    gone = Site("http://127.0.0.1:9")
    assert "no answer from uploaded" in fetcher(gone).fetch({1: address(gone, "a.png")}, tmp_path).failures[1]
