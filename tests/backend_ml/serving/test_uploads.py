"""Images that people send: read to a limit, known by how they begin, embedded as the pool was."""

import asyncio
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from astropy.io import fits
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from backend_ml.serving import uploads
from backend_ml.serving.uploads import UploadError, embed_upload, picture_scale, read_upload
from backend_ml.store.encoders import stored_encoder
from lvm_training.errors import CheckpointError, GalaxyLoopError
from lvm_training.stamps.stampset import StampSet, StampWriter
from tests.backend_ml.sky import write_stamps
from tests.backend_ml.whole import stored, write_encoder


def request(parts: list[bytes]) -> Request:
    """A request whose body comes in parts."""
    waiting = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    waiting.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Any:
        return waiting.pop(0)

    return Request({"type": "http", "headers": []}, receive)


@given(parts=st.lists(st.binary(max_size=40), max_size=6), most=st.integers(0, 100))
def test_a_body_is_read_whole_or_given_up(parts: list[bytes], most: int) -> None:
    whole = b"".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uploads, "MOST_BYTES", most)
        if len(whole) <= most:
            assert asyncio.run(read_upload(request(parts))) == whole
        else:
            with pytest.raises(UploadError, match="larger than"):
                asyncio.run(read_upload(request(parts)))


def test_what_is_too_large_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_BYTES", 10)

    async def receive() -> Any:
        left.append(1)
        return {"type": "http.request", "body": b"x" * 6, "more_body": True}

    left: list[int] = []
    with pytest.raises(UploadError):
        asyncio.run(read_upload(Request({"type": "http", "headers": []}, receive)))
    assert len(left) == 2


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def encoder(store: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return stored(store, write_encoder(tmp_path_factory.mktemp("made")))


def picture(kind: str, size: int = 40) -> bytes:
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    light = (255 * np.exp(-4 * (x**2 + 2 * y**2))).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(np.stack([light] * 3, axis=-1)).save(stream, kind)
    return stream.getvalue()


def fits_image(size: int = 40) -> bytes:
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    image = fits.PrimaryHDU(np.exp(-4 * (x**2 + 2 * y**2))[None].repeat(3, axis=0).astype(np.float32))
    image.header["BANDS"] = "grz"
    stream = io.BytesIO()
    image.writeto(stream)
    return stream.getvalue()


def test_each_kind_of_image_is_embedded(store: Path, encoder: str) -> None:
    width = stored_encoder(store, encoder).lvm.preset.width
    found = {kind: embed_upload(picture(kind), store, encoder, None) for kind in ("PNG", "JPEG")}
    found["FITS"] = embed_upload(fits_image(), store, encoder, 0.262)
    for kind, features in found.items():
        assert features.shape == (width,) and np.isfinite(features).all(), kind
    between = np.corrcoef(found["PNG"], found["JPEG"])[0, 1]
    assert between > 0.99, "a JPEG loses little"


@pytest.mark.parametrize(
    "content", [b"", b"GIF89a", b"RIFF0000WEBP", b" \xff\xd8\xff", b"PK\x03\x04", picture("PNG")[1:], b"\x80\x04pickle"]
)
def test_what_does_not_begin_as_an_image_is_refused_before_anything_is_loaded(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(UploadError, match="no JPEG, PNG or FITS"):
        embed_upload(content, tmp_path, "no encoder", None)


def test_an_encoder_that_the_store_lacks(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no encoder"):
        embed_upload(picture("PNG"), tmp_path, "f" * 12, None)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_half_an_image_is_explained(store: Path, encoder: str, kind: str) -> None:
    content = picture(kind)
    with pytest.raises(GalaxyLoopError) as found:
        embed_upload(content[: len(content) // 2], store, encoder, None)
    assert found.value.message and str(store) not in found.value.message


def test_a_picture_is_shown_as_the_pictures_it_is_compared_with(tmp_path: Path) -> None:
    with StampSet(write_stamps(tmp_path)) as measured:
        assert picture_scale(picture("PNG"), measured) is None, "its pixels are no pictures"
    images = torch.rand(4, 3, 16, 16).numpy() * 255
    for name, scale, wanted in (("known", 0.4, 0.4), ("unknown", float("nan"), None)):
        writer = StampWriter(
            tmp_path / f"{name}.h5",
            (16, 16),
            rendering="as-delivered",
            pixel_scale=scale,
            origin="upper",
        )
        writer.append(images.astype(np.uint8), {})
        with StampSet(writer.finish()) as delivered:
            assert picture_scale(picture("PNG"), delivered) == wanted
            assert picture_scale(fits_image(), delivered) is None, "FITS says its own"
