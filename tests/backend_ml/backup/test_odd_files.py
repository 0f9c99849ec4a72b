"""Files of any name and kind: what is in a folder comes back byte for byte, and what is no file is no harm."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from backend_ml.backup.archive import ArchiveReader, ArchiveWriter
from backend_ml.backup.create import create
from backend_ml.backup.files import STORE, UPLOADS, Collected, pack, unpack
from backend_ml.backup.load import verify
from backend_ml.backup.manifest import Addresses, Manifest, read_manifest
from backend_ml.settings import Settings
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from tests.installation import quiet

LATIN = os.fsdecode(b"caf\xe9.png")  # as an old disk names it: no UTF-8
NAMES = {
    "plain": "a.png",
    "no UTF-8": LATIN,
    "of a folder that is no UTF-8": f"folder {LATIN}/inner.bin",
    "two lines": "first\nsecond.txt",
    "blanks and quotes": " a 'b' \"c\" \\d ",
    "a sign for options": "--force",
    "another script": "银河/Ανδρομέδα 🌌.fits",
    "composed in two ways": "e\u0301.txt",
    "packed already": "a.png.zst",
    "the manifest's": "manifest.json",
    "as long as a name can be": "n" * 255,
    "deep": "/".join(["d" * 60] * 9) + "/end",
    "a colon and a star": "C:*?.txt",
}


def manifest(members: list[object]) -> Manifest:
    addresses = Addresses(public_url="http://a", backend_url="http://b", label_studio_url="http://c")
    return Manifest(
        format=1, release="0", schema_version=0, made_at="2026-01-01T00:00:00Z", addresses=addresses, campaigns=[],
        stamp_sets=[], databases={}, label_studio="", left_out=[], members=members,
    )  # type: ignore[arg-type]  # fmt: skip


def tree(folder: Path) -> dict[bytes, tuple[bytes, int]]:
    """What is below a folder, by names as the disk has them: content and time."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {os.fsencode(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def carried(home: Path, out: Path) -> Mapping[bytes, tuple[bytes, int]]:
    """The uploads of a data folder, through an archive."""
    archive = out / "all.backup"
    with archive.open("w+b") as stream:
        writer = ArchiveWriter(stream)
        whole = manifest(list(pack(Collected([], [], home / "store", home), writer, lambda *_: None)))
        writer.finish(b"{}")
    with ArchiveReader(archive) as reader:
        verify(reader, whole, quiet)
        unpack(reader, whole, {UPLOADS: out / "uploads", STORE: out / "store"}, lambda *_: None)
    return tree(out / "uploads")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data folder with an upload of each name, of other content and time each."""
    home = tmp_path / "home"
    for number, name in enumerate(NAMES.values()):
        path = home / UPLOADS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * (number * 100_003))
        os.utime(path, ns=(0, 1_700_000_000_123_456_789 + number))
    return home


def test_every_name_comes_back_as_it_was(home: Path, tmp_path: Path) -> None:
    before = tree(home / UPLOADS)
    assert len(before) == len(NAMES)
    assert carried(home, tmp_path) == before


@pytest.mark.parametrize("seconds", [-86_400, 0, 4_294_967_296, 9_000_000_000])
def test_files_of_any_time(tmp_path: Path, seconds: int) -> None:
    """Clocks of instruments, and of disks, are wrong at times."""
    path = tmp_path / "home" / UPLOADS / "old.fits"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    os.utime(path, ns=(0, seconds * 1_000_000_000 + 5))
    assert carried(tmp_path / "home", tmp_path) == {b"old.fits": (b"x", seconds * 1_000_000_000 + 5)}


@pytest.mark.parametrize(
    "odd",
    [
        lambda place: os.mkfifo(place / "pipe"),
        lambda place: (place / "nowhere").symlink_to("gone"),
        lambda place: (place / "circle").symlink_to("circle"),
        lambda place: (place / "above").symlink_to(".."),
        lambda place: (place / "itself").symlink_to(place, target_is_directory=True),
        lambda place: (place / "empty").mkdir(),
    ],
    ids=["a pipe", "a link to nothing", "a link to itself", "a link upwards", "a folder in itself", "an empty folder"],
)
def test_what_is_no_file_keeps_nobody_waiting(tmp_path: Path, odd: Callable[[Path], object]) -> None:
    place = tmp_path / "home" / UPLOADS
    place.mkdir(parents=True)
    (place / "a.png").write_bytes(b"picture")
    odd(place)
    found = carried(tmp_path / "home", tmp_path)
    assert {content for content, _ in found.values()} == {b"picture"} and b"a.png" in found


def test_a_folder_that_several_links_lead_to_comes_back_at_each(tmp_path: Path) -> None:
    """Also where one of them is beside it, or two folders link to each other."""
    disk, place = tmp_path / "a large disk", tmp_path / "home" / UPLOADS
    (disk / "deep").mkdir(parents=True)
    (disk / "deep" / "sky.fits").write_bytes(b"sky")
    for name in ("left", "right"):
        (place / name).mkdir(parents=True)
        (place / name / f"{name}.png").write_bytes(name.encode())
        (place / name / "disk").symlink_to(disk)
    (place / "again").symlink_to("left")
    (place / "left" / "to right").symlink_to("../right")
    (place / "right" / "to left").symlink_to("../left")
    (place / "right" / "all").symlink_to("..")
    found = {os.fsdecode(name): content for name, (content, _) in carried(tmp_path / "home", tmp_path).items()}
    right = {"right.png": b"right", "disk/deep/sky.fits": b"sky"}
    left = {"left.png": b"left", "disk/deep/sky.fits": b"sky"}
    wanted = {
        **{
            f"{there}/{name}": content for there in ("left", "again", "right/to left") for name, content in left.items()
        },
        **{
            f"{there}/{name}": content
            for there in ("right", "left/to right", "again/to right")
            for name, content in right.items()
        },
    }
    assert found == wanted


def test_a_backup_says_what_is_in_it_whatever_the_names(database: Database, campaign: Campaign, tmp_path: Path) -> None:
    """Whoever cannot write down one name has copied for hours in vain."""
    settings = Settings.model_validate({"database_url": database.url, "home": tmp_path / "home"})
    for name in NAMES.values():
        path = settings.store_folder / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode(errors="surrogateescape"))
    made = create(tmp_path / "all.backup", settings, quiet)
    there = {member.name.removeprefix("store/models/") for member in made.members if "store/models/" in member.name}
    assert there == set(NAMES.values())
    with ArchiveReader(tmp_path / "all.backup") as archive:
        assert read_manifest(archive) == made and json.loads(archive.manifest())["campaigns"][0]["tasks"] == 10
        verify(archive, made, quiet)
