"""Images of strangers are decoded where they can do no harm: sizes are refused by headers, the rest has limits."""

import io
import json
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from backend_ml.serving import decoder, uploads
from backend_ml.serving.uploads import UploadError, decoded
from lvm_training.errors import StampError


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def photograph(side: int = 40) -> Image.Image:
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    return Image.fromarray(np.stack([(255 * np.exp(-4 * (x**2 + 2 * y**2))).astype(np.uint8)] * 3, axis=-1))


def encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    photograph().save(stream, kind)
    return stream.getvalue()


def png_bomb(side: int) -> bytes:
    """A PNG whose header says a side of so many pixels, all of them black."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = side.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    rows = zlib.compress(bytes(side + 1) * min(side, 2000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def tiled(**cards: int) -> bytes:
    """A tile-compressed FITS image of 40 x 40 pixels, with other words in its header."""
    stream = io.BytesIO()
    hdu = fits.CompImageHDU(np.zeros((3, 40, 40), np.int16), compression_type="GZIP_1")
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(stream)
    content = stream.getvalue()
    for name, value in cards.items():
        place = content.index(f"{name:<8}=".encode())
        content = content[:place] + f"{name:<8}= {value:>20}".encode().ljust(80) + content[place + 80 :]
    return content


def flat(side: int = 6000) -> bytes:
    """144 MB of zeros in a hundredth of that and less."""
    stream = io.BytesIO()
    image = fits.CompImageHDU(np.zeros((side, side), np.float32), compression_type="GZIP_2", tile_shape=(side, side))
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(stream)
    return stream.getvalue()


def plain(naxis: int) -> bytes:
    """A header that says a cube of which the file has nothing."""
    cards = [f"{'SIMPLE':<8}= {'T':>20}", f"{'BITPIX':<8}= {-32:>20}", f"{'NAXIS':<8}= {3:>20}"]
    cards += [f"{f'NAXIS{i}':<8}= {naxis:>20}" for i in (1, 2, 3)]
    return "".join(card.ljust(80) for card in [*cards, "END"]).ljust(2880).encode()


BOMBS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "a PNG of 400 megapixels": ("a.png", lambda: png_bomb(20_000), "too large"),
    "a PNG of 60 megapixels": ("a.png", lambda: png_bomb(7_700), "too large"),
    "half a JPEG": ("a.jpg", lambda: encoded("JPEG")[:400], "cannot be|can be read"),
    "a thousand million planes": ("a.fits", lambda: tiled(ZNAXIS3=10**9), "too large"),
    "an image larger than its tiles": ("a.fits", lambda: tiled(ZNAXIS1=60_000, ZNAXIS2=60_000), "too large"),
    "a tile larger than its image": ("a.fits", lambda: tiled(ZTILE1=10**9, ZTILE2=10**9), "tiles larger"),
    "zeros that unpack to 144 MB": ("a.fits", flat, "too large"),
    "a cube of nothing": ("a.fits", lambda: plain(30_000), "truncated|can be read"),
    "a side that is negative": ("a.fits", lambda: plain(-5), "can be read"),
}


@pytest.mark.parametrize(("name", "make", "says"), BOMBS.values(), ids=BOMBS)
def test_sizes_are_refused_by_the_header(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], name: str, make: Callable[[], bytes], says: str
) -> None:
    """In this process, without the limits: nothing is left for them to do."""
    content = make()
    assert len(content) < 2_000_000
    decoder.main(str(written(tmp_path, name, content)))
    said = json.loads(capfdbinary.readouterr().out)
    with pytest.raises(StampError, match=says):
        raise StampError(said["error"], said["hint"])


def test_what_is_decoded_elsewhere_is_what_is_read_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GALAXYLOOP_SECRET", "hush")
    seen: list[Any] = []
    run = subprocess.run

    def watched(command: list[str], **how: Any) -> Any:
        seen.append(how["env"])
        return run(command, **how)

    monkeypatch.setattr(subprocess, "run", watched)
    image = decoded(written(tmp_path, "a.png", encoded("PNG")), 0.4)
    assert np.array_equal(image.pixels, np.moveaxis(np.asarray(photograph()), -1, 0))
    assert (image.rendering, image.pixel_scale, image.origin) == ("as-delivered", 0.4, "upper")
    assert not any("SECRET" in name for name in seen[0]), "who breaks a decoder finds no secrets"
    with pytest.raises(StampError, match="read"):
        decoded(written(tmp_path, "b.png", encoded("PNG")[:60]), None)


def test_a_decoder_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PATIENCE", 0.01)
    with pytest.raises(UploadError, match="time and memory"):
        decoded(written(tmp_path, "a.png", encoded("PNG")), None)


def test_a_decoder_that_breaks_is_told_from_a_bad_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(UploadError, match="time and memory"):
        decoded(written(tmp_path, "a.png", encoded("PNG")), None)


@pytest.mark.parametrize(
    ("code", "ends"),
    [("bytearray(3 << 30)", 1), ("while True: pass", -signal.SIGXCPU)],
)
def test_the_system_keeps_the_limits(code: str, ends: int) -> None:
    limits = "from backend_ml.serving import decoder; decoder.MOST_SECONDS = 1; decoder.limit()"
    done = subprocess.run([sys.executable, "-c", f"{limits}\n{code}"], capture_output=True, check=False)
    # a soft limit that is the hard one ends a process with either signal
    assert done.returncode in (ends, -signal.SIGKILL if ends < 0 else ends), done.stderr
