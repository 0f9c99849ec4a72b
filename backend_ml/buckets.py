"""Files and folders of an S3 bucket, and the copies of them that this host keeps.

What lies at an address never changes: it is named by its content, or by people who give something else another name.
So a copy never grows old. Keys and server are what any S3 client takes from its environment.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import structlog

from lvm_training.errors import GalaxyLoopError
from lvm_training.files import alone
from lvm_training.paths import CARD

log = structlog.get_logger(__name__)

SCHEME = "s3:"
CONNECT, READ, TRIES = 5, 60, 3
REFUSALS = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "403"}


class BucketError(GalaxyLoopError):
    """A bucket that is not there, does not let us in, or whose server does not answer."""

    code = "bucket"


def copies() -> Path:
    """The folder of all copies of this host; it may be deleted when nothing runs.

    Paths stand in the database as addresses, which every process must find alike, so this is no setting among others.
    """
    return Path(os.environ.get("GALAXYLOOP_CACHE") or Path.home() / ".cache" / "galaxyloop").absolute()


def in_bucket(path: Path) -> bool:
    """Whether a path is an address, `s3://bucket/...`, as somebody wrote it."""
    return path.parts[:1] == (SCHEME,)


def here(text: str | Path) -> Path:
    """Where a file or folder is here: of an address its copy, there or not, and else the same."""
    path = Path(text)
    return copies() / path if in_bucket(path) else path


def address(path: Path) -> str:
    """What other hosts know a path by: of a copy its address, and else the absolute path."""
    whole, kept = path.absolute(), copies() / SCHEME
    return f"s3://{whole.relative_to(kept).as_posix()}" if whole.is_relative_to(kept) else str(whole)


def bring(path: Path) -> Path:
    """The same path; if it is a copy that is not here, and the bucket has it whole, it is here afterwards.

    Raises
    ------
    BucketError
        If the bucket cannot be asked.
    """
    if path.exists() or not _is_copy(path):
        return path
    with alone(path.with_name(f".{path.name}.lock")):
        if not path.exists():
            _bring(path)
    return path


def share(path: Path, source: Path | None = None, *, theirs: bool = False) -> None:
    """Let the bucket have a copy's file or folder, if `path` is one; what it has already is not sent again.

    A folder's card is the last that is sent: what has it is whole.

    Parameters
    ----------
    source : Path, optional
        Where the content is, if not there yet.
    theirs : bool
        Whether people chose the name: what they put there meanwhile is not written over.

    Raises
    ------
    BucketError
        If the bucket does not take it, or has another file of theirs.
    """
    if not _is_copy(path):
        return
    content = source or path
    bucket, key = _parts(path)
    files = {key: content} if content.is_file() else {f"{key}/{one.name}": one for one in sorted(content.iterdir())}
    with _blamed(bucket) as client:
        there = _listed(client, bucket, key)
        for name, file in sorted(files.items(), key=lambda one: one[1].name == CARD):
            if there.get(name) != file.stat().st_size:
                if theirs and name in there:
                    raise BucketError(
                        f"{address(path)} is another file than the copy of it here, {path}.",
                        "Give what changed another name; or delete the copy, if nothing has learned of it.",
                    )
                log.info("sending to the bucket", bucket=bucket, key=name, bytes=file.stat().st_size)
                client.upload_file(str(file), bucket, name)


def fetched(path: Path) -> Path:
    """A file that somebody names, here: of an address its copy, and else the same.

    Raises
    ------
    BucketError
        If the bucket does not have it, or cannot be asked.
    """
    file = bring(here(path))
    if in_bucket(path) and not file.exists():
        raise BucketError(f"There is no {address(file)}.", "Correct the address, or put the file there.")
    return file


def check(path: Path) -> None:
    """Ask a bucket for what is below a copy's place.

    Raises
    ------
    BucketError
        If it is not there, does not let us in, or does not answer.
    """
    bucket, key = _parts(path)
    with _blamed(bucket) as client:
        client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)


def _is_copy(path: Path) -> bool:
    return address(path).startswith(f"{SCHEME}//")


def _parts(path: Path) -> tuple[str, str]:
    bucket, _, key = address(path).removeprefix(f"{SCHEME}//").partition("/")
    return bucket, key


def _bring(path: Path) -> None:
    bucket, key = _parts(path)
    part = path.with_name(f".{path.name}.part")
    with _blamed(bucket) as client:
        sizes = _listed(client, bucket, key)
        if not sizes.keys() & {key, f"{key}/{CARD}"}:
            return
        shutil.rmtree(part, ignore_errors=True)
        for name, size in ({key: sizes[key]} if key in sizes else sizes).items():
            log.info("fetching from the bucket", bucket=bucket, key=name, bytes=size)
            file = part / name[len(key) + 1 :] if key not in sizes else part / path.name
            file.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(bucket, name, str(file))
            if file.stat().st_size != size:
                raise BucketError(f"{name} in bucket {bucket!r} changed while it was fetched.", "Try again.")
    (part / path.name if key in sizes else part).rename(path)
    shutil.rmtree(part, ignore_errors=True)


def _listed(client: Any, bucket: str, key: str) -> dict[str, int]:
    """Sizes of an object and of those below it, by their keys."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
    found = {one["Key"]: int(one["Size"]) for page in pages for one in page.get("Contents", ())}
    return {name: size for name, size in found.items() if name == key or name.startswith(f"{key}/")}


@lru_cache(maxsize=1)
def _client() -> Any:
    import boto3
    from botocore.config import Config

    patience = Config(connect_timeout=CONNECT, read_timeout=READ, retries={"total_max_attempts": TRIES})
    try:
        return boto3.Session().client("s3", config=patience)
    except ValueError:
        raise BucketError(
            "AWS_ENDPOINT_URL is no address.", "Write it with its beginning, as https://s3.example.org:7070."
        ) from None


@contextmanager
def _blamed(bucket: str) -> Iterator[Any]:
    """A client; what goes wrong with it is said in our words, without keys and signatures.

    Raises
    ------
    BucketError
        In place of the client's own errors.
    """
    try:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
    except ModuleNotFoundError as error:
        raise BucketError("What speaks to S3 is not installed.", "pip install 'galaxyloop[s3]'") from error
    try:
        yield _client()
    except (NoCredentialsError, PartialCredentialsError):
        raise BucketError(
            f"There are no keys for bucket {bucket!r}.", "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        ) from None
    except ClientError as error:
        raise _refused(bucket, str(error.response.get("Error", {}).get("Code", ""))) from None
    except Boto3Error as error:
        # of an upload, which tells its cause in its text alone
        raise _refused(bucket, next((code for code in ("NoSuchBucket", *REFUSALS) if code in str(error)), "")) from None
    except BotoCoreError as error:
        raise BucketError(
            f"The S3 server of bucket {bucket!r} does not answer ({type(error).__name__}).",
            "Check AWS_ENDPOINT_URL, and that it runs; what is here already is used meanwhile.",
        ) from None


def _refused(bucket: str, code: str) -> BucketError:
    if code == "NoSuchBucket":
        return BucketError(f"There is no bucket {bucket!r}.", "Make it, or correct the address.")
    if code in REFUSALS:
        return BucketError(
            f"Bucket {bucket!r} does not let us in ({code}).",
            "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they may do.",
        )
    return BucketError(f"Bucket {bucket!r} did not do what was asked ({code or 'no reason given'}).", "Try again.")
