"""Restored looks at a galaxy on the search page."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from backend_ml.app import create_app
from backend_ml.store.database import Database
from backend_ml.store.encoders import encoder_folder
from lvm_training.restoration.restorer import Restorer
from lvm_training.stamps.rendering import Rendering
from tests.backend_ml.backend_client import problem
from tests.backend_ml.explore.conftest import SETTINGS, Visitor, visit
from tests.backend_ml.sky import ENCODER
from tests.tiny_encoder import TINY, write_tiny


@pytest.fixture
def vera(database: Database, sky: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Visitor]:
    """Vera at a page whose store is empty so far; errors are read off few stamps."""
    monkeypatch.setattr(Restorer.__init__, "__kwdefaults__", dict(Restorer.__init__.__kwdefaults__) | {"stamps": 2})
    app = create_app(SETTINGS.model_copy(update={"store": tmp_path / "store"}), database.url)
    with TestClient(app):
        yield visit(app, "Vera")


def test_a_galaxy_is_restored_where_the_encoder_has_a_decoder(vera: Visitor, tmp_path: Path) -> None:
    search = vera.begin()
    assert vera.get(f"{search}/stamps/3").json()["restores"] is False
    problem(vera.get(f"{search}/stamps/3/restored.jpg"), 400, "bad_checkpoint")
    write_tiny(encoder_folder(tmp_path / "store", ENCODER), Rendering(size=TINY.size, field=8.0))
    assert vera.get(f"{search}/stamps/3").json()["restores"] is True
    looks = [vera.get(f"{search}/stamps/3/{view}.jpg") for view in ("restored", "residual")]
    assert {look.headers["content-type"] for look in looks} == {"image/jpeg"}
    restored, residual = (cv2.imdecode(np.frombuffer(look.content, np.uint8), cv2.IMREAD_COLOR) for look in looks)
    assert restored is not None and residual is not None and restored.shape == residual.shape == (960, 960, 3)
    assert abs(float(np.median(residual)) - 128) < 40
    problem(vera.get(f"{search}/stamps/3/sharpened.jpg"), 422, "malformed")
    problem(vera.get(f"{search}/stamps/4000/restored.jpg"), 404, "no_stamp")
    vera.delete("/session")
    problem(vera.get(f"{search}/stamps/3/restored.jpg"), 401, "signed_out")
