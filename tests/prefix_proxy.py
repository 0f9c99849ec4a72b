"""A little reverse proxy that puts a server below a path prefix and takes it off, as many sites' do."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

HOP = {"connection", "content-length", "content-encoding", "date", "keep-alive", "server", "transfer-encoding"}


@contextmanager
def below(prefix: str, target: str, port: int) -> Iterator[None]:
    """Serve `target` at `http://127.0.0.1:<port><prefix>`; all other paths are 404."""

    class Forward(BaseHTTPRequestHandler):
        def forward(self) -> None:
            if self.path != prefix and not self.path.startswith(f"{prefix}/"):
                self.send_error(404)
                return
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = [(name, value) for name, value in self.headers.items() if name.lower() not in HOP]
            address = target + (self.path.removeprefix(prefix) or "/")
            answer = client.request(self.command, address, headers=headers, content=content)
            self.send_response(answer.status_code)
            for name, value in answer.headers.multi_items():
                if name.lower() not in HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            with suppress(BrokenPipeError):  # a browser that has gone on to another page
                self.wfile.write(answer.content)

        do_GET = do_POST = do_PUT = do_DELETE = forward  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = False  # what is under way is waited for

    with (
        httpx.Client(trust_env=False, timeout=60) as client,
        Server(("127.0.0.1", port), Forward) as server,
    ):
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield
        server.shutdown()
        thread.join()
