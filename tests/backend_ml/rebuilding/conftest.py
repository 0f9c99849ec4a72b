"""A checkout that versions are made again with, and a campaign whose encoder is real."""

import shutil
from pathlib import Path

import pytest

from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from tests.backend_ml.rebuilding.made_again import commit
from tests.backend_ml.whole import label, write_campaign
from tests.conftest import REPOSITORY


@pytest.fixture(scope="package")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of the present code: one commit, nothing beside it."""
    folder = tmp_path_factory.mktemp("origin")
    for name in ("backend_ml", "lvm_training", "label_config", "models/parameters-nano"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    left_out = shutil.ignore_patterns("cache", "tmp", "config.local")
    shutil.copytree(REPOSITORY / ".dvc", folder / ".dvc", ignore=left_out)
    for name in (".dvcignore", "dvc.lock"):
        shutil.copy(REPOSITORY / name, folder)
    (folder / ".gitignore").write_text("/build/\n/data/\n__pycache__/\n")
    commit(folder)
    return folder


@pytest.fixture
def whole(database: Database, tmp_path: Path, store: Path) -> Campaign:
    """A campaign with a real encoder, real features and ten labels."""
    made = write_campaign(database, tmp_path, store)
    label(database, made, range(10))
    return made
