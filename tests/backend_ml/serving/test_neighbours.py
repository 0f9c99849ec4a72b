"""Nearest neighbours over HTTP: of a stamp, and of an image that is sent."""

import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from astropy.io import fits
from fastapi.testclient import TestClient
from PIL import Image

from backend_ml.app import create_app
from backend_ml.serving import uploads
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from lvm_training.pool.features import Features
from lvm_training.stamps.stampset import StampSet
from tests.backend_ml.backend_client import BASIC, SETTINGS, problem
from tests.backend_ml.real_features import with_real_features


@pytest.fixture
def client(database: Database, campaign: Campaign, tmp_path: Path) -> Iterator[TestClient]:
    """The backend over the campaign's database."""
    settings = SETTINGS.model_copy(update={"store": tmp_path / "store"})
    with TestClient(create_app(settings, database.url), raise_server_exceptions=False) as opened:
        yield opened


def neighbours(client: TestClient, address: str = "/neighbours/1/sky/1", **options: Any) -> list[dict[str, Any]]:
    answer = client.get(address, headers=BASIC, params=options)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["neighbours"])


def brute_force(path: Path, row: int) -> list[int]:
    matrix = np.asarray(Features.open(path).matrix, np.float64)
    cosines = matrix @ matrix[row] / np.linalg.norm(matrix, axis=1) / np.linalg.norm(matrix[row])
    return [int(i) for i in np.argsort(-cosines, kind="stable") if i != row]


def test_the_neighbours_are_those_of_brute_force(client: TestClient, tmp_path: Path) -> None:
    found = neighbours(client)
    assert [one["rank"] for one in found] == list(range(1, 10))
    assert found[0]["stamp_id"] == brute_force(tmp_path / "sky.npy", 1)[0] == 6
    assert found[0]["similarity"] > 0.99 and all(abs(one["similarity"]) < 0.1 for one in found[1:])
    similarities = [one["similarity"] for one in found]
    assert similarities == sorted(similarities, reverse=True)
    picture = urlsplit(found[0]["picture"])
    assert client.get(f"{picture.path}?{picture.query}").headers["content-type"] == "image/jpeg"
    assert len(neighbours(client, k=3)) == 3


def test_the_index_is_built_once_and_kept_in_the_store(client: TestClient, tmp_path: Path) -> None:
    answers: list[list[dict[str, Any]]] = []
    threads = [threading.Thread(target=lambda: answers.append(neighbours(client))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4 and all(one == answers[0] for one in answers)
    (folder,) = (tmp_path / "store" / "indices").iterdir()
    assert len(list(folder.glob("*/index.faiss"))) == 1


def test_what_was_embedded_anew_is_searched_anew(client: TestClient, tmp_path: Path) -> None:
    assert neighbours(client)[0]["stamp_id"] == 6
    path = tmp_path / "sky.npy"
    matrix = np.load(path)
    matrix[1] = matrix[2]
    np.save(tmp_path / "again.npy", matrix)
    (tmp_path / "again.npy").replace(path)
    origin = Features.open(path).origin.model_copy(update={"content": "mended"})
    path.with_suffix(".json").write_text(origin.model_dump_json(), encoding="utf-8")
    assert neighbours(client)[0]["stamp_id"] == 2
    assert len(list((tmp_path / "store" / "indices").iterdir())) == 2


@pytest.mark.parametrize(("method", "path"), [("GET", "/neighbours/1/sky/1"), ("POST", "/neighbours/1")])
def test_credentials_and_an_open_campaign_are_needed(
    client: TestClient, database: Database, method: str, path: str
) -> None:
    for headers in ({}, {"Authorization": "Basic bHM6d3Jvbmc="}):
        problem(client.request(method, path, headers=headers), 401, "unauthorised")
    problem(client.request(method, path.replace("/1", "/9", 1), headers=BASIC), 404, "unknown_project")
    database.rows("close_campaign", campaign=1)
    problem(client.request(method, path, headers=BASIC), 404, "unknown_project")


@pytest.mark.parametrize("path", ["/neighbours/1/sky/10", "/neighbours/1/nowhere/0"])
def test_stamps_that_the_campaign_does_not_have(client: TestClient, path: str) -> None:
    assert "sky" in problem(client.get(path, headers=BASIC), 404, "no_stamp")["hint"]


@pytest.mark.parametrize("query", ["k=0", "k=-1", "k=1001", "k=x"])
def test_malformed_counts(client: TestClient, query: str) -> None:
    problem(client.get(f"/neighbours/1/sky/1?{query}", headers=BASIC), 422, "malformed")


def test_features_of_another_encoder_are_refused(client: TestClient, database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET encoder = 'ffffffffffff'")
    problem(client.get("/neighbours/1/sky/1", headers=BASIC), 400, "no_features")


def fits_bytes(pixels: np.ndarray[Any, Any]) -> bytes:
    image = fits.PrimaryHDU(pixels.astype(np.float32))
    image.header["BANDS"] = "grz"
    stream = io.BytesIO()
    image.writeto(stream)
    return stream.getvalue()


def test_an_image_is_embedded_as_the_pool_was(
    client: TestClient, database: Database, campaign: Campaign, tmp_path: Path
) -> None:
    assert with_real_features(database, tmp_path / "store").id == campaign.id
    with StampSet(tmp_path / "sky.h5") as stamps:
        content = fits_bytes(stamps.pixels(slice(3, 4))[0])
        scale = stamps.pixel_scale
    answer = client.post("/neighbours/1", headers=BASIC, content=content, params={"k": 2, "pixel_scale": scale})
    assert answer.status_code == 200, answer.text
    first, second = answer.json()["neighbours"]
    assert {first["stamp_id"], second["stamp_id"]} == {3, 8} and first["similarity"] > 0.999
    for kind in ("JPEG", "PNG"):
        stream = io.BytesIO()
        Image.fromarray(np.arange(64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)).save(stream, kind)
        answer = client.post("/neighbours/1", headers=BASIC, content=stream.getvalue(), params={"k": 4})
        assert len(answer.json()["neighbours"]) == 4, answer.text


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"nothing at all", b"\x80\x04\x95pickle"])
def test_what_is_no_image_is_refused(client: TestClient, content: bytes) -> None:
    problem(client.post("/neighbours/1", headers=BASIC, content=content), 400, "bad_upload")


@pytest.mark.parametrize("content", [b"\xff\xd8\xff" + b"x" * 50, b"\x89PNG\r\n\x1a\n", b"SIMPLE  = T"])
def test_broken_images_are_explained(
    client: TestClient, database: Database, campaign: Campaign, tmp_path: Path, content: bytes
) -> None:
    assert with_real_features(database, tmp_path / "store").id == campaign.id
    problem(client.post("/neighbours/1", headers=BASIC, content=content), 400, "bad_stamp")


def test_large_bodies_are_given_up(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_BYTES", 1_000_000)
    found = problem(
        client.post("/neighbours/1", headers=BASIC, content=b"\xff\xd8\xff" + bytes(1_100_000)), 400, "bad_upload"
    )
    assert "1 MB" in found["message"]


def test_without_the_encoder_it_is_said_what_is_missing(client: TestClient) -> None:
    found = problem(client.post("/neighbours/1", headers=BASIC, content=b"\xff\xd8\xff"), 400, "bad_checkpoint")
    assert "encoders" in found["hint"] and "card.json" in found["hint"]
