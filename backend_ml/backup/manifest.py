"""What a backup says of itself: which release made it when, of what, and the digest of all that is in it."""

import json
from datetime import datetime
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from backend_ml.backup.archive import ArchiveReader, BackupError, Inside, Member
from backend_ml.store.database import MIGRATIONS

FORMAT = 1
CAMPAIGNS, LABEL_STUDIO = (
    "databases/galaxyloop",
    "databases/labelstudio",
)  # members: dumps of PostgreSQL's custom format


class Addresses(BaseModel):
    """Where the installation's servers were, as its settings said: links and webhooks in Label Studio name them."""

    model_config = ConfigDict(frozen=True)

    public_url: str
    backend_url: str
    label_studio_url: str


class KeptCampaign(BaseModel):
    """A campaign of a backup; `labels` are its label events."""

    model_config = ConfigDict(frozen=True)

    name: str
    state: str
    tasks: int
    labels: int


class KeptSet(BaseModel):
    """A stamp set that the database names, and the place of its files in the backup; no features, no place."""

    model_config = ConfigDict(frozen=True)

    name: str
    digest: str
    path: Inside
    features: Inside | None


class Manifest(BaseModel):
    """The last member of a backup.

    Attributes
    ----------
    format : int
        Of the backup itself.
    release : str
        Of Galaxy Loop.
    schema_version : int
        Of the campaign database.
    databases : dict
        Bytes that each database took on disk, by its member's name.
    label_studio : str
        The version of Label Studio whose tables are in it; "" if that is not known.
    left_out : list of str
        What is not in it although it belongs there, in sentences.
    """

    model_config = ConfigDict(frozen=True)

    format: int
    release: str
    schema_version: int
    made_at: datetime
    addresses: Addresses
    campaigns: list[KeptCampaign]
    stamp_sets: list[KeptSet]
    databases: dict[str, int]
    label_studio: str
    left_out: list[str]
    members: list[Member]

    @property
    def size(self) -> int:
        """Bytes of all files in it, unpacked, and of its databases on disk."""
        files = (member.size for member in self.members if member.name not in self.databases)
        return sum(files) + sum(self.databases.values())

    def size_of(self, kind: str) -> int:
        """Bytes of the files below a folder of the backup, unpacked."""
        return sum(member.size for member in self.members if member.name.startswith(f"{kind}/"))

    def member(self, name: str) -> Member:
        """The member of that name.

        Raises
        ------
        BackupError
            If there is none.
        """
        for member in self.members:
            if member.name == name:
                return member
        raise BackupError(f"The backup has no {name}.", "Take another copy.")

    def told(self) -> dict[str, Any]:
        """What people want to know of it."""
        return {
            "made_at": self.made_at,
            "release": self.release,
            "schema": self.schema_version,
            "campaigns": [f"{one.name}: {one.state}, {one.tasks} tasks, {one.labels} labels" for one in self.campaigns],
            "stamp_sets": [one.name for one in self.stamp_sets],
            "label_studio": "its database and files" if LABEL_STUDIO in self.databases else "not in it",
            "files": len(self.members) - len(self.databases),
            "megabytes": round(self.size / 1e6, 1),
            "left_out": self.left_out,
        }


def release() -> str:
    """The release of Galaxy Loop that runs."""
    return version("galaxyloop")


def read_manifest(archive: ArchiveReader) -> Manifest:
    """The manifest of an archive, of this release or an older one.

    Raises
    ------
    BackupError
        If a newer Galaxy Loop made it, or it is no backup.
    """
    try:
        said = json.loads(archive.manifest())
        if said["format"] > FORMAT or said["schema_version"] > len(MIGRATIONS):
            raise BackupError(
                f"Galaxy Loop {said['release']} made {archive.path}, with schema version {said['schema_version']}; this"
                f" is {release()}, which knows {len(MIGRATIONS)}.",
                "Update Galaxy Loop on this host.",
            )
        return Manifest.model_validate(said)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise BackupError(f"What {archive.path} says of itself cannot be read.", "Take another copy.") from error
