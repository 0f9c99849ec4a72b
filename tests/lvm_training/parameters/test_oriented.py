import numpy as np
import torch
from numpy.typing import NDArray

from lvm_training.model.encoder import Encoder
from lvm_training.parameters.oriented import OrientedEncoder, oriented_digest
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.symmetries import SYMMETRIES, symmetry
from tests.tiny_encoder import TINY, tiny_lvm


def tiny_encoder() -> Encoder:
    return Encoder(tiny_lvm(0), Rendering(size=TINY.size))


def doubled(kind: int) -> NDArray[np.float64]:
    """What a symmetry does to (cos 2t, sin 2t), by what it does to a vector."""
    picture = torch.zeros(1, 3, 3, 3)
    picture[0, 0, 0, 1], picture[0, 1, 1, 2] = 1, 1  # up, and right
    seen = symmetry(picture, kind)
    up, right = ((seen[0, band].nonzero()[0] - 1).numpy()[::-1] * (1, -1) for band in (0, 1))
    matrix = np.stack([right, up], axis=1)
    angle = np.radians(20.0)
    x, y = matrix @ (np.cos(angle), np.sin(angle))
    turned = np.arctan2(y, x)
    return np.array([np.cos(2 * turned) / np.cos(2 * angle), np.sin(2 * turned) / np.sin(2 * angle)])


def test_features_turn_as_the_doubled_angle_does() -> None:
    encoder = OrientedEncoder(tiny_encoder())
    size = encoder.rendering.size
    pictures = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    mean, cosine, sine = encoder.features(pictures).numpy().reshape(2, 3, -1).transpose(1, 0, 2)
    assert np.abs(cosine).max() > 1e-3 and np.abs(sine).max() > 1e-3
    for kind in range(SYMMETRIES):
        same, turned, mirrored = encoder.features(symmetry(pictures, kind)).numpy().reshape(2, 3, -1).transpose(1, 0, 2)
        first, second = doubled(kind)
        assert np.allclose(same, mean, atol=1e-5)
        assert np.allclose(turned, first * cosine, atol=1e-5)
        assert np.allclose(mirrored, second * sine, atol=1e-5)


def test_the_first_part_is_what_the_encoder_gives_and_the_digest_is_another() -> None:
    plain = tiny_encoder()
    encoder = OrientedEncoder(plain)
    size = plain.rendering.size
    pictures = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(encoder.features(pictures)[:, : plain.width], plain.features(pictures), atol=1e-6)
    assert encoder.width == 3 * plain.width
    assert encoder.plain == Encoder(plain.lvm, plain.rendering).digest
    assert encoder.digest == oriented_digest(encoder.plain) != encoder.plain
