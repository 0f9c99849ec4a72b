"""An S3 server on this host: a process of its own that checks each signature, and a line to it that can be cut."""

import json
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx

from backend_ml.local.processes import free_port, own, start, wait_for_http

REGION = "us-east-1"
POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
PROGRAM = "from moto.server import main; main()"
BLOCK = 1 << 14


@dataclass(frozen=True)
class S3Server:
    """A server, and the one key that opens it."""

    address: str
    key: str
    secret: str

    def environment(self, address: str = "") -> dict[str, str]:
        """What says to any S3 client where it is, and opens it; `address` is another way to it."""
        return {
            "AWS_ENDPOINT_URL": address or self.address,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": "/nowhere",
            "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "2",  # clients wait longer each time: 35 s over a cut line
        }

    def client(self) -> Any:
        """A client of it."""
        keys = {"aws_access_key_id": self.key, "aws_secret_access_key": self.secret}
        return boto3.client("s3", endpoint_url=self.address, region_name=REGION, **keys)

    def bucket(self, name: str) -> str:
        """The name of a new bucket."""
        self.client().create_bucket(Bucket=name)
        return name

    @contextmanager
    def open_to_all(self) -> Iterator[None]:
        """Ask nobody for a key meanwhile: signed addresses are beyond moto where it asks."""
        _ask(self.address, after="inf")
        yield
        _ask(self.address, after="0")

    def keys(self, bucket: str) -> dict[str, int]:
        """What lies in a bucket, with the sizes."""
        found = self.client().list_objects_v2(Bucket=bucket)
        return {one["Key"]: one["Size"] for one in found.get("Contents", ())}


@contextmanager
def s3_server(home: Path) -> Iterator[S3Server]:
    """A server that knows one user."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-c", PROGRAM, "-H", "127.0.0.1", "-p", str(port)]
    with own(home) as folder, start(folder, "s3", command) as process:
        wait_for_http(f"{address}/moto-api/data.json", 120, process)
        anybody = {"aws_access_key_id": "none", "aws_secret_access_key": "none"}
        iam = boto3.client("iam", endpoint_url=address, region_name=REGION, **anybody)
        iam.create_user(UserName="team")
        made = iam.create_access_key(UserName="team")["AccessKey"]
        iam.put_user_policy(UserName="team", PolicyName="store", PolicyDocument=json.dumps(POLICY))
        _ask(address, after="0")
        yield S3Server(address, made["AccessKeyId"], made["SecretAccessKey"])


def _ask(address: str, after: str) -> None:
    """Refuse who is not that user, from so many calls on."""
    httpx.post(f"{address}/moto-api/reset-auth", content=after.encode(), trust_env=False).raise_for_status()


class Line:
    """A way to a server that breaks once so many bytes came back, and then connects nobody until it is mended."""

    def __init__(self, address: str, most: int) -> None:
        parts = urlsplit(address)
        self._target = (parts.hostname or "", parts.port or 0)
        self._left, self._lock = most, threading.Lock()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def is_cut(self) -> bool:
        """Whether it broke."""
        return self._left <= 0

    def mend(self) -> None:
        """Let everything through from now on."""
        self._left = 1 << 62

    def cut(self) -> None:
        """Let nothing through from now on."""
        self._left = 0

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._socket.accept()
                if self.is_cut:
                    caller.close()
                    continue
                threading.Thread(target=self._join, args=(caller,), daemon=True).start()

    def _join(self, caller: socket.socket) -> None:
        with caller, socket.create_connection(self._target) as server:
            back = threading.Thread(target=self._carry, args=(server, caller, True), daemon=True)
            back.start()
            self._carry(caller, server, counts=False)
            back.join()

    def _carry(self, source: socket.socket, sink: socket.socket, counts: bool) -> None:
        with suppress(OSError):
            while block := source.recv(BLOCK):
                with self._lock:
                    self._left -= len(block) if counts else 0
                if self.is_cut:
                    break
                sink.sendall(block)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def line_to(server: S3Server, most: int) -> Iterator[tuple[Line, Mapping[str, str]]]:
    """A line to a server, and the environment of who uses it."""
    line = Line(server.address, most)
    try:
        yield line, server.environment(line.address)
    finally:
        line.close()
