"""The files of an installation: store, stamp sets and features that its database names, Label Studio's uploads."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import Any, BinaryIO

from backend_ml.backup.archive import ArchiveReader, ArchiveWriter, BackupError, Member, chunks
from backend_ml.backup.manifest import KeptSet, Manifest
from backend_ml.buckets import bring, here
from backend_ml.store.features import bring_features
from lvm_training.errors import StampError
from lvm_training.progress import Progress
from lvm_training.stamps.stampset import StampSet

STORE, STAMPS, UPLOADS = "store", "stamps", "label-studio"  # the folders of a backup, and of a data folder
MEGABYTE = 1_000_000
UNFINISHED = re.compile(r"\.|downloads$|.*\.(part|partial|lock)(\W|$)")
"""Names of what a kill left, or somebody writes just now: it is not there yet, and whoever wants it begins again."""
WORKING = re.compile("resume|experiments")
"""Folders of the store with what workers write for hours: trainings that go on, links to stamp sets, logs."""
HIDDEN = re.compile(r"\.")
"""Of uploads these alone: one has Label Studio's own secret. What people call their files says nothing."""


class Collected:
    """What belongs into a backup of some stamp sets, a store and a data folder.

    Parameters
    ----------
    rows : sequence of mapping
        Name, path, digest and features of each stamp set, as the database has them.
    vectors : sequence of str
        Names of the files that lie beside sets which have them: see `heads.beside`.
    store, home : Path
        Folders of the store and the data.

    Attributes
    ----------
    files : dict of str to Path
        By their names in the backup.
    stamp_sets : list of KeptSet
    left_out : list of str
        What is named in the database but not there, in sentences.

    Raises
    ------
    BackupError
        If a joined set names its parts by absolute paths, which another host does not have.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], vectors: Sequence[str], store: Path, home: Path) -> None:
        self._store, self._vectors = store, vectors
        for row in rows:
            # what is fetched from a bucket now is in the store that is walked next
            path = bring(here(row["path"]))
            for name in vectors:
                bring(path.with_name(name))
            bring_features(here(row["features"]))
        self.files: dict[str, Path] = dict(_walked(STORE, store, UNFINISHED, WORKING))
        self.files |= dict(_walked(UPLOADS, home / UPLOADS, HIDDEN))
        self.left_out: list[str] = []
        self.stamp_sets = [self._kept(row) for row in rows]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.files.values() if path.is_file())

    def _kept(self, row: Mapping[str, Any]) -> KeptSet:
        path, features = self._stamps(row["name"], here(row["path"])), self._features(row["features"])
        return KeptSet(name=row["name"], digest=row["digest"], path=path, features=features)

    def _stamps(self, name: str, path: Path) -> str:
        """Take a set along, and what it joins and vectors at the same places beside it; its own place."""
        try:
            with StampSet(path) as stamps:
                parts = _all_parts(stamps)
        except StampError as error:
            self.left_out.append(f"The stamp set {name}: {error.message}")
            return f"{STAMPS}/{name}/{path.name}"
        inside = self._in_store(path)
        if inside and not parts:
            return inside
        # the parts of a joined set are found from where it really lies
        own = path.resolve().parent / path.name
        beside = {own.parent / name: path.parent / name for name in self._vectors if (path.parent / name).is_file()}
        root = Path(os.path.commonpath([own.parent, *(part.parent for part in parts)]))
        for place, source in {own: path, **{part: part for part in parts}, **beside}.items():
            self.files[f"{STAMPS}/{name}/{place.relative_to(root).as_posix()}"] = source
        return f"{STAMPS}/{name}/{own.relative_to(root).as_posix()}"

    def _features(self, said: str) -> str | None:
        """Take features along that lie elsewhere than in the store, with those of other encoders beside them."""
        if not said:
            return None
        path = here(said)
        if inside := self._in_store(path):
            return inside
        # NAME-STAMPS-ENCODER.npy, and its JSON
        base = path.stem.rpartition("-")[0]
        others = path.parent.glob(f"{escape(base)}-*") if base else ()
        for file in (path, path.with_suffix(".json"), *others):
            if file.is_file() and not UNFINISHED.match(file.name):
                self.files[f"{STORE}/features/{file.name}"] = file
        if not path.is_file():
            self.left_out.append(f"Features: there are none at {path}.")
        return f"{STORE}/features/{path.name}"

    def _in_store(self, path: Path) -> str | None:
        name = f"{STORE}/{path.relative_to(self._store).as_posix()}" if path.is_relative_to(self._store) else ""
        return name if name in self.files else None


def _all_parts(stamps: StampSet) -> list[Path]:
    """The files that a set joins, and those that these join."""
    found: dict[Path, None] = {}
    for name, part in stamps.parts().items():
        if Path(name).is_absolute():
            raise BackupError(
                f"{stamps.path} joins {name} by its absolute path, which another host does not have.",
                "Join its parts anew with `galaxyloop data join`.",
            )
        place = Path(os.path.normpath(part))
        found[place] = None
        with StampSet(place) as inner:
            found |= dict.fromkeys(_all_parts(inner))
    return list(found)


def _walked(
    name: str, folder: Path, left: re.Pattern[str], working: re.Pattern[str] | None = None
) -> Iterator[tuple[str, Path]]:
    """The files below a folder, in order, but for names that are `left` and its own folders that are `working`.

    A folder that links lead to is at each of them; a link to a folder that it lies in leads nowhere.
    """
    for place, folders, files in os.walk(folder, followlinks=True):
        inside = Path(place)
        above = {one.resolve() for one in (inside, *inside.parents) if one.is_relative_to(folder)}
        folders[:] = sorted(one for one in folders if not left.match(one) and (inside / one).resolve() not in above)
        if inside == folder and working is not None:
            folders[:] = [one for one in folders if not working.fullmatch(one)]
        for file in sorted(files):
            path = inside / file
            if path.is_file() and not left.match(file):
                yield f"{name}/{path.relative_to(folder).as_posix()}", path


def pack(collected: Collected, archive: ArchiveWriter, progress: Progress) -> list[Member]:
    """Put files into an archive; each as it is in one moment.

    Raises
    ------
    BackupError
        If one is gone or was written into meanwhile.
    """
    members, done, total = [], 0, collected.size // MEGABYTE
    for name, path in collected.files.items():
        try:
            with path.open("rb") as stream:
                before = os.fstat(stream.fileno())
                members.append(archive.add(name, _shown(stream, done, total, progress), before.st_mtime_ns))
                after = os.fstat(stream.fileno())
        except FileNotFoundError:
            raise _moving(path) from None
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise _moving(path)
        done += before.st_size
    return members


def _moving(path: Path) -> BackupError:
    return BackupError(f"{path} was changed while it was copied.", "Try again when nobody writes into it.")


def _shown(stream: BinaryIO, done: int, total: int, progress: Progress) -> Iterator[bytes]:
    for chunk in chunks(stream):
        done += len(chunk)
        progress(done // MEGABYTE, total)
        yield chunk


def unpack(archive: ArchiveReader, manifest: Manifest, folders: Mapping[str, Path], progress: Progress) -> None:
    """Put the files of a backup below the folders of their kinds, which are empty.

    Raises
    ------
    BackupError
        If one is not what its digest says.
    """
    done, total = 0, sum(member.size for member in manifest.members if member.name not in manifest.databases)
    for member in manifest.members:
        if member.name in manifest.databases:
            continue
        kind, _, rest = member.name.partition("/")
        path = folders[kind] / rest
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            for chunk in archive.checked(member):
                stream.write(chunk)
                done += len(chunk)
                progress(done // MEGABYTE, total // MEGABYTE)
        os.utime(path, ns=(member.changed, member.changed))
