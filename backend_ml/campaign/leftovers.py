"""What the store keeps for nobody: indices of pools that no open campaign has, unfinished trainings of closed ones."""

import re
import shutil
from pathlib import Path

from backend_ml.store.campaigns import all_campaigns
from backend_ml.store.database import Connection, query
from backend_ml.store.features import FeatureError, index_folder, searched_features
from lvm_training.pool.features import FeaturesError

INDEX = re.compile("[0-9a-f]{12}")
UNFINISHED = re.compile("(encoder|finetune|decoder)-([0-9]{1,9})-[0-9a-f]{12}")


def remove_leftovers(connection: Connection, store: Path) -> list[Path]:
    """Delete such folders, and nothing that does not look as if it were made here; those that are gone then.

    Indices are built again, and trainings begun again, by whoever wants them.
    """
    found = [*_indices(connection, store), *_unfinished(connection, store)]
    for folder in found:
        shutil.rmtree(folder)
    return found


def _indices(connection: Connection, store: Path) -> list[Path]:
    needed = set()
    for campaign in all_campaigns(connection):
        if not campaign.is_closed:
            try:
                needed.add(index_folder(store, campaign.encoder, searched_features(connection, campaign)))
            except (FeatureError, FeaturesError):
                continue  # nobody searches it without features
    # one that is being built has a lock and no pointer yet
    there = [path for path in _folders(store / "indices", INDEX) if (path / "current.json").is_file()]
    return [path for path in there if path not in needed and not (path / ".lock").exists()]


def _unfinished(connection: Connection, store: Path) -> list[Path]:
    alive = {campaign.id for campaign in all_campaigns(connection) if not campaign.is_closed}
    found = []
    for path in _folders(store / "resume", UNFINISHED):
        number = int(path.name.split("-")[1])
        # whoever trains for a campaign that was closed meanwhile still writes there
        if number not in alive and query(connection, "encoder_is_free", campaign=number)[0]["taken"]:
            found.append(path)
    return found


def _folders(home: Path, ours: re.Pattern[str]) -> list[Path]:
    """The folders in `home` whose names are such as we give."""
    there = sorted(home.iterdir()) if home.is_dir() else []
    return [path for path in there if path.is_dir() and not path.is_symlink() and ours.fullmatch(path.name)]
