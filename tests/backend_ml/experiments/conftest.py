"""A repository to clone, a clone that is ready for experiments, and a campaign whose encoder is due."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from backend_ml.experiments.prepare import prepare
from backend_ml.experiments.repository import Pipeline
from backend_ml.learning.learn import learn, stores_of
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from lvm_training.model.encoder import Encoder
from lvm_training.progress import Progress
from lvm_training.stamps.render import render_set
from lvm_training.stamps.stampset import StampSet
from lvm_training.supervised.encoder_training import train_encoder
from tests.backend_ml.experiments.tiny_pipeline import write_origin
from tests.backend_ml.sky import write_stamps
from tests.backend_ml.whole import AUDIT, CLASSES, N, label, truth, write_campaign, write_encoder


@contextmanager
def quiet(title: str) -> Iterator[Progress]:
    yield lambda done, total: None


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose stage gives an encoder that was trained on the labels."""
    folder = tmp_path_factory.mktemp("origin")
    start = Encoder.load(write_encoder(folder / "start"))
    with StampSet(write_stamps(folder, N)) as stamps:
        pictures = render_set(stamps, np.arange(N - AUDIT), start.rendering)
    said = [truth(row) for row in range(N - AUDIT)]
    train_encoder(start, pictures, said, CLASSES, folder / "trained", seed=1, steps=10)
    return write_origin(folder / "galaxyloop", folder / "trained")


@pytest.fixture(scope="session")
def prepared(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clones") / "prepared"
    assert prepare(folder, str(origin), quiet) == ""
    return folder


@pytest.fixture
def pipeline(prepared: Path, tmp_path: Path) -> Pipeline:
    """A clone of its own for each test."""
    return Pipeline(shutil.copytree(prepared, tmp_path / "a pipeline", symlinks=True))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "the store"


@pytest.fixture
def campaign(database: Database, tmp_path: Path, store: Path) -> Campaign:
    """A campaign with 20 labels to learn, 32 to judge by, and a poor first version."""
    made = write_campaign(database, tmp_path, store, blind=True)
    label(database, made, [*range(20), *range(N - AUDIT, N)])
    assert learn(database, stores_of(database, made, store)) == "promoted"
    return made
