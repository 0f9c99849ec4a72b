"""Archives: what standard tools read of them, and every way in which one is not what was written."""

import gc
import hashlib
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from backend_ml.backup.archive import DIGEST, MANIFEST, PACKED, ArchiveReader, ArchiveWriter, BackupError, Member

CONTENTS = {
    "store/a": b"",
    "store/" + "long/" * 60 + "name": b"one" * 1_000_000,
    "stamps/Андромеда \udcff": bytes(range(256)) * 9,
}


def write(path: Path, contents: dict[str, bytes] = CONTENTS) -> list[Member]:
    """An archive of some contents."""
    with path.open("w+b") as stream:
        archive = ArchiveWriter(stream)
        members = [archive.add(name, iter([content]), changed=7_000_000_001) for name, content in contents.items()]
        archive.finish(b"said")
    return members


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A whole archive."""
    write(tmp_path / "all.backup")
    return tmp_path / "all.backup"


def test_what_was_written_is_read(path: Path) -> None:
    members = write(path)
    assert [member.sha256 for member in members] == [hashlib.sha256(one).hexdigest() for one in CONTENTS.values()]
    assert [member.size for member in members] == [len(one) for one in CONTENTS.values()]
    with ArchiveReader(path) as archive:
        assert archive.manifest() == b"said"
        # in any order, and twice
        for member in [*reversed(members), members[0]]:
            assert b"".join(archive.checked(member)) == CONTENTS[member.name]
    assert path.stat().st_size < 50_000


def test_tar_reads_it_too(path: Path) -> None:
    listed = subprocess.run(["tar", "--list", "--file", path], capture_output=True, check=True).stdout.decode()
    assert listed.split()[0] == "store/a.zst" and listed.split()[-1] == MANIFEST
    subprocess.run(["tar", "--extract", "--file", path, DIGEST, MANIFEST], cwd=path.parent, check=True)
    subprocess.run(["sha256sum", "--check", DIGEST], cwd=path.parent, capture_output=True, check=True)
    with tarfile.open(path) as tar:
        assert {(entry.mode, entry.isreg()) for entry in tar} == {(0o600, True)}


def test_a_file_that_is_none_or_was_cut_off_is_refused(path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    for size in (0, 100, 512, len(whole) // 2, len(whole) - 2000):
        path.write_bytes(whole[:size])
        with pytest.raises(BackupError, match="is no backup of Galaxy Loop"), ArchiveReader(path) as archive:
            archive.manifest()
    path.write_text("Galaxies\n" * 1000)
    with pytest.raises(BackupError, match="is no backup of Galaxy Loop"):
        ArchiveReader(path)
    for other in (tmp_path / "nothing", tmp_path):
        with pytest.raises(BackupError, match="cannot be read: "):
            ArchiveReader(other)


def flipped(whole: bytes) -> Iterator[bytes]:
    """The same with one bit turned in the packed content of the long member."""
    start = whole.index(b"\x28\xb5\x2f\xfd", whole.index(b"long/"))
    for place in (start, start + 8, start + 60):
        yield whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :]


def test_one_bit_that_turned_is_noticed(path: Path) -> None:
    members = write(path)
    for damaged in list(flipped(path.read_bytes())):
        path.write_bytes(damaged)
        with ArchiveReader(path) as archive:
            with pytest.raises(BackupError, match=r"is damaged: store/long/.* is not what was written"):
                list(archive.checked(members[1]))
            assert b"".join(archive.checked(members[2])) == CONTENTS[members[2].name]


def test_a_member_that_is_another_or_missing_is_noticed(path: Path) -> None:
    members = write(path)
    write(path, {members[0].name: b"other"})
    with ArchiveReader(path) as archive:
        for member in members:
            with pytest.raises(BackupError, match="is damaged"):
                list(archive.checked(member))


def test_a_manifest_that_is_not_the_archives_is_noticed(path: Path) -> None:
    members = write(path)
    with ArchiveReader(path) as archive:
        archive.check_manifest(members)
        for named, told in (
            (members[1:], "store/a is not in its manifest."),
            ([], f"{members[2].name} and 2 more are not in its manifest."),
            ([*members, Member(name="store/b", size=0, sha256="")], "store/b is not in it."),
        ):
            with pytest.raises(BackupError, match=re.escape(f"is damaged: {told}")):
                archive.check_manifest(named)
    path.write_bytes(path.read_bytes().replace(b"said", b"sbid"))
    with ArchiveReader(path) as archive, pytest.raises(BackupError, match=f"{MANIFEST} is not what was written"):
        archive.check_manifest(members)
    # the first backups have no digest of it
    subprocess.run(["tar", "--delete", "--file", path, DIGEST], check=True)
    with ArchiveReader(path) as archive:
        archive.check_manifest(members)


@pytest.mark.parametrize("name", ["/etc/passwd", "../outside", "store/../../outside", "", "store/\0"])
def test_no_name_leads_out_of_a_backup(name: str) -> None:
    with pytest.raises(ValidationError):
        Member(name=name, size=0, sha256="")


def test_a_failure_while_packing_is_the_callers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def fails() -> Iterator[bytes]:
        yield b"some"
        raise RuntimeError("moon")

    with (tmp_path / "part").open("w+b") as stream, pytest.raises(RuntimeError, match="moon") as caught:
        ArchiveWriter(stream).add("a" + PACKED, fails())
    # who tells of it keeps what was being packed until the stream is closed
    del caught
    gc.collect()
    assert capfd.readouterr().err == "", "Arrow has nothing to add"
