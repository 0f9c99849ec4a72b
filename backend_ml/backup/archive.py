"""One file with many members: a tar, each of whose members is packed by zstd, so that `tar` and `zstd` read it too.

A member's size is known when it is packed, so its header is written last. The manifest is the last member: a file that
lacks it was cut off. The member before it is its digest, as `sha256sum` writes it.
"""

import hashlib
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Annotated, BinaryIO, Self

import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict

from lvm_training.errors import GalaxyLoopError

MANIFEST = "manifest.json"
DIGEST = "manifest.sha256"
PACKED = ".zst"
CHUNK = 1 << 20  # bytes read at a time


class BackupError(GalaxyLoopError):
    """A backup that cannot be made, read or loaded."""

    code = "bad_backup"


def _inside(name: str) -> str:
    """A name that leads to no place but below the folder it is unpacked in."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise ValueError("leads out of the backup")
    return name


Inside = Annotated[str, AfterValidator(_inside)]


class Member(BaseModel):
    """A file or a database in a backup.

    Attributes
    ----------
    name : str
        Its path there, without the suffix of what is packed.
    size : int
        Bytes, unpacked.
    sha256 : str
        Digest of these.
    changed : int
        When the file was changed last, ns since the epoch.
    """

    model_config = ConfigDict(frozen=True)

    name: Inside
    size: int
    sha256: str
    changed: int = 0


def chunks(stream: BinaryIO) -> Iterator[bytes]:
    """What a stream holds, a megabyte at a time."""
    while chunk := stream.read(CHUNK):
        yield chunk


class ArchiveWriter:
    """Writes members one after the other into a file that can be gone back in."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def add(self, name: str, content: Iterable[bytes], changed: int = 0) -> Member:
        """Add a member, packed."""
        digest, size = hashlib.sha256(), 0
        with self._entry(name + PACKED, changed), closing(_KeptOpen(self._stream)) as sink:
            packer = pa.CompressedOutputStream(pa.PythonFile(sink, mode="w"), "zstd")
            for chunk in content:
                digest.update(chunk)
                size += len(chunk)
                packer.write(chunk)
            packer.close()
        return Member(name=name, size=size, sha256=digest.hexdigest(), changed=changed)

    def finish(self, manifest: bytes) -> None:
        """Add the manifest, as it is, with its digest, and the tar's end."""
        for name, content in ((DIGEST, _digest_line(manifest)), (MANIFEST, manifest)):
            with self._entry(name, 0):
                self._stream.write(content)
        self._stream.write(bytes(2 * tarfile.BLOCKSIZE))

    @contextmanager
    def _entry(self, name: str, changed: int) -> Iterator[None]:
        begin = self._stream.tell()
        self._stream.write(_header(name, 0, changed))
        start = self._stream.tell()
        yield
        size = self._stream.tell() - start
        self._stream.write(bytes(-size % tarfile.BLOCKSIZE))
        self._stream.seek(begin)
        self._stream.write(_header(name, size, changed))
        self._stream.seek(0, 2)


class ArchiveReader:
    """A finished archive, opened for reading.

    Parameters
    ----------
    path : Path

    Raises
    ------
    BackupError
        If it is no such file, or not whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._tar = tarfile.open(path, "r:", errors="surrogateescape")  # noqa: SIM115 (closed by __exit__)
        except tarfile.ReadError:
            raise BackupError(f"{path} is no backup of Galaxy Loop.", _MADE) from None
        except OSError as error:
            raise BackupError(f"{path} cannot be read: {error.strerror}.", "Name the file of a backup.") from error
        try:
            self._entries = {entry.name: entry for entry in self._tar}
        except tarfile.TarError:
            self._entries = {}

    def manifest(self) -> bytes:
        """What `ArchiveWriter.finish` wrote.

        Raises
        ------
        BackupError
            If it is not there.
        """
        manifest = self._read(MANIFEST)
        if manifest is None:
            raise BackupError(f"{self.path} is no backup of Galaxy Loop, or was cut off.", _MADE)
        return manifest

    def check_manifest(self, members: Iterable[Member]) -> None:
        """Refuse a manifest that is not what was written, or whose members are not those of the archive.

        Raises
        ------
        BackupError
            Names what is missing.
        """
        named, packed = {one.name for one in members}, {name.removesuffix(PACKED) for name in self._entries}
        packed -= {MANIFEST, DIGEST}
        if named - packed:
            raise self._not_whole(f"{_some(named - packed)} not in it")
        if packed - named:
            raise self._not_whole(f"{_some(packed - named)} not in its manifest")
        digest = self._read(DIGEST)  # which the first backups lack
        if digest is not None and digest != _digest_line(self.manifest()):
            raise self._not_whole(f"{MANIFEST} is not what was written")

    def content(self, member: Member) -> Iterator[bytes]:
        """A member's content, unpacked, whatever it is; `checked` compares it with its digest.

        Raises
        ------
        BackupError
            If it is not there or cannot be unpacked.
        """
        try:
            stream = self._tar.extractfile(self._entries[member.name + PACKED])
            yield from chunks(pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd"))
        except (KeyError, OSError, tarfile.TarError) as error:
            raise self._damaged(member) from error

    def checked(self, member: Member) -> Iterator[bytes]:
        """A member's content, refused at its end where it is not what its digest says.

        Raises
        ------
        BackupError
            As `content`, and if it has another digest.
        """
        digest = hashlib.sha256()
        for chunk in self.content(member):
            digest.update(chunk)
            yield chunk
        if digest.hexdigest() != member.sha256:
            raise self._damaged(member)

    def _damaged(self, member: Member) -> BackupError:
        return self._not_whole(f"{member.name} is not what was written")

    def _not_whole(self, why: str) -> BackupError:
        return BackupError(f"{self.path} is damaged: {why}.", "Take another copy.")

    def _read(self, name: str) -> bytes | None:
        """A member that is not packed; None where there is none."""
        entry = self._entries.get(name)
        stream = self._tar.extractfile(entry) if entry else None
        return None if stream is None else stream.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tar.close()


_MADE = "`galaxyloop backup create FILE` makes one; copy it again if it came from elsewhere."


class _KeptOpen:
    """A stream that outlives who packs into it: Arrow closes what it writes to, and after a failure writes again."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.closed = stream, False

    def write(self, content: bytes) -> int:
        """As the stream's; nothing once it is closed."""
        return len(content) if self.closed else self._stream.write(content)

    def flush(self) -> None:
        """Nothing: the stream is flushed when the archive is whole."""

    def close(self) -> None:
        """Nothing but to be closed for Arrow."""
        self.closed = True


def _digest_line(manifest: bytes) -> bytes:
    return f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST}\n".encode()


def _some(names: set[str]) -> str:
    return f"{min(names)} and {len(names) - 1} more are" if len(names) > 1 else f"{min(names)} is"


def _header(name: str, size: int, changed: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o600, changed // 1_000_000_000
    # GNU's own: however large a member is, its header is as long
    return entry.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
