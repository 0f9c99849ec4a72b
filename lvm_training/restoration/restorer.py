"""Restores stamps: the decoder's picture of them and what was observed, each as far as it can be trusted.

A decoder alone takes the noise away, but not only that: white cores have lost their light in the picture that it reads,
and a percent of a bright pixel of the picture is a multiple of its noise. So the decoded light m, of error s, and the
observed one o, of noise n, are joined by inverse variances,

    x = m + w (o - m),  w = s^2 / (s^2 + n^2),

with s read off simulated stamps (`error_table.py`); where the picture is white, w = 1. The light that is then missing
over `SMOOTH` pixels, o - x behind a Gaussian, is put back: noise averages out over so many, and what is left is flux.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from lvm_training.backbones.backbone import weights_digest
from lvm_training.images.unmeasured import MAD
from lvm_training.model.encoder import load_checkpoint
from lvm_training.model.lvm import LVM
from lvm_training.model.precision import Precision, fast_precision
from lvm_training.model.ranks import fastest_device
from lvm_training.observation.exposure import SKY
from lvm_training.params import ParamsError
from lvm_training.restoration.error_table import ErrorTable
from lvm_training.restoration.tiles import Decoded, as_picture, decoded
from lvm_training.scenes.scenes import draw_scenes
from lvm_training.stamps.render import stretch
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE, Pixels, RenderingKind
from lvm_training.stamps.symmetries import SYMMETRIES

VIEWS = 4
METHOD = 1  # part of the digest: changed with what is computed
SMOOTH = 8.0  # pixels
WHITE = 0.97  # of the picture, from which on it says nothing of the light
LUMP = 1.5  # pixels that what is left over is smoothed by, to look for light that was taken away or put in
CALIBRATED, CHECKED = 32, 16  # simulated stamps
SIDE = 96  # pixels of a simulated stamp, or the decoder's if that is larger
SEEDS = (20_261_127, 20_261_128)  # trainings draw from small ones
SCALES = (0.15, 0.8)  # arcsec, for which the simulated survey's seeing and noise make sense
APERTURES = 3.0  # arcsec, radius

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Restored:
    """Restored stamps.

    Attributes
    ----------
    pixels : ndarray (n, 3, H, W)
        In the unit of the stamps: nanomaggies per pixel, or 0 to 255 of a picture; NaN where nothing was observed.
    uncertainty : ndarray (n, 3, H, W)
        Error of one standard deviation, in the same unit.
    lumps : ndarray (n, H, W)
        What was taken away (above 0) or put in (below), smoothed, in standard deviations; noise alone has a standard
        deviation of 1. The band counts in which it is largest.
    """

    pixels: Floats
    uncertainty: Floats
    lumps: Floats

    @property
    def worst_lump(self) -> Floats:
        """The largest of each stamp's lumps (n,), whichever its sign."""
        flat = np.abs(self.lumps).reshape(len(self.lumps), -1)
        return np.asarray(flat.max(axis=1, initial=0), dtype=np.float32)


@dataclass(frozen=True)
class Accuracy:
    """What restoration is worth on simulated stamps of the survey that were used for nothing else.

    Attributes
    ----------
    gain : float
        Mean gain of PSNR over the observed stamp, dB, as a picture.
    flux_bias, flux_error : float
        Median over stamps and bands of the restored over the observed flux within 3 arcsec of the middle, less 1; and
        what 95 in a hundred do not exceed of its size.
    coverage, coverage95 : float
        Share of pixels that lie within one and within two of their errors of the truth.
    """

    gain: float
    flux_bias: float
    flux_error: float
    coverage: float
    coverage95: float


@dataclass(frozen=True)
class Calibration:
    """Errors of the decoder alone and of what is made of it, and the accuracy of that."""

    decoder: ErrorTable
    whole: ErrorTable
    accuracy: Accuracy


class Restorer:
    """A decoder, and how far it can be trusted.

    Parameters
    ----------
    lvm : LVM
        The model, in evaluation mode.
    rendering : Rendering
        How its pictures are made; their field does not matter, since stamps keep their own pixels.
    views : int
        In how many symmetries each tile is restored: four are nearly as good as eight.
    stamps : int
        Simulated ones that errors are read off; half as many check them.

    Raises
    ------
    ParamsError
        If there are not 1 to 8 views.
    """

    def __init__(
        self,
        lvm: LVM,
        rendering: Rendering,
        *,
        views: int = VIEWS,
        stamps: int = CALIBRATED,
        precision: Precision | None = None,
    ) -> None:
        if not 1 <= views <= SYMMETRIES:
            raise ParamsError(f"Stamps are restored in 1 to {SYMMETRIES} views, not {views}.", f"Ask for {VIEWS}.")
        self.lvm, self.rendering, self.views, self._stamps = lvm.eval(), rendering, views, stamps
        self.precision = precision or fast_precision(lvm.device)
        made_with = [METHOD, views, stamps, rendering.model_dump_json(), self.precision]
        self.digest = weights_digest(made_with, lvm.state_dict())
        self._calibrating = threading.Lock()
        self._calibrations: dict[tuple[RenderingKind, float], Calibration] = {}

    @classmethod
    def load(cls, folder: Path, *, views: int = VIEWS) -> Self:
        """The decoder of a checkpoint of ours, on the GPU where there is one.

        Raises
        ------
        CheckpointError
            If it has none, as other encoders have not, or as `load_checkpoint`.
        """
        lvm, card = load_checkpoint(folder)
        return cls(lvm.to(fastest_device()), card.rendering, views=views)

    def calibration(self, kind: RenderingKind, pixel_scale: float) -> Calibration:
        """Errors on simulated stamps of that kind and scale; drawn and restored when first asked for."""
        scale = float(np.clip(_known(pixel_scale), *SCALES))
        with self._calibrating:
            if (kind, scale) not in self._calibrations:
                self._calibrations[kind, scale] = self._calibrated(kind, scale)
            return self._calibrations[kind, scale]

    def restore(self, pixels: Pixels, kind: RenderingKind, pixel_scale: float) -> Restored:
        """Stamps (n, 3, H, W) restored.

        Parameters
        ----------
        pixels : ndarray
            Nanomaggies per pixel or the bytes of pictures, as `kind` says; NaN is what was not observed.
        pixel_scale : float
            Arcsec; NaN where unknown, which counts as 0.262.
        """
        unit = unit_of(kind, pixel_scale)
        unseen = ~np.isfinite(pixels)
        values = torch.from_numpy(np.where(unseen, 0, pixels).astype(np.float32) / unit)
        calibration = self.calibration(kind, pixel_scale)
        found = self._decoded(values, kind)
        noise = _noise(values, found, kind, unseen)
        joined = self._joined(values, found, noise, unseen, calibration.decoder, kind)
        sigma = calibration.whole.sigma(found.mean.numpy(), found.spread.numpy(), noise)
        lumps = _lumps(values.numpy() - joined, noise, unseen)
        blank = np.where(unseen, np.float32(np.nan), np.float32(unit))
        return Restored(joined * blank, sigma * blank, lumps)

    def _decoded(self, values: torch.Tensor, kind: RenderingKind) -> Decoded:
        return decoded(self.lvm, values, self.rendering, kind, views=self.views, precision=self.precision)

    def _joined(
        self,
        values: torch.Tensor,
        found: Decoded,
        noise: Floats,
        unseen: NDArray[np.bool_],
        errors: ErrorTable,
        kind: RenderingKind,
    ) -> Floats:
        """What was decoded and observed, joined, with the flux that was observed (module docstring)."""
        observed, mean = values.numpy(), found.mean.numpy()
        sigma = errors.sigma(mean, found.spread.numpy(), noise)
        weight = sigma**2 / (sigma**2 + noise**2)
        white = as_picture(values, self.rendering, kind).amax(1, keepdim=True).numpy() >= WHITE
        weight = np.where(white, 1, weight) * ~unseen
        joined = mean + weight * (observed - mean)
        missing = np.where(unseen, 0, observed - joined)
        smooth = ndimage.gaussian_filter(missing, (0, 0, SMOOTH, SMOOTH), mode="reflect")
        seen = ndimage.gaussian_filter((~unseen).astype(np.float32), (0, 0, SMOOTH, SMOOTH), mode="reflect")
        return np.asarray(joined + smooth / np.maximum(seen, 0.1), dtype=np.float32)

    def _calibrated(self, kind: RenderingKind, scale: float) -> Calibration:
        observed, truth = _simulated(self._stamps, SEEDS[0], scale, self.rendering, kind)
        found, unseen = self._decoded(observed, kind), np.zeros(observed.shape, dtype=bool)
        noise = _noise(observed, found, kind, unseen)
        known = (found.mean.numpy(), found.spread.numpy(), noise)
        decoder = ErrorTable.fit(found.mean.numpy() - truth.numpy(), *known)
        joined = self._joined(observed, found, noise, unseen, decoder, kind)
        whole = ErrorTable.fit(joined - truth.numpy(), *known)
        return Calibration(decoder, whole, self._accuracy(decoder, whole, kind, scale))

    def _accuracy(self, decoder: ErrorTable, whole: ErrorTable, kind: RenderingKind, scale: float) -> Accuracy:
        observed, truth = _simulated(max(1, self._stamps // 2), SEEDS[1], scale, self.rendering, kind)
        found, unseen = self._decoded(observed, kind), np.zeros(observed.shape, dtype=bool)
        noise = _noise(observed, found, kind, unseen)
        joined = self._joined(observed, found, noise, unseen, decoder, kind)
        off = np.abs(joined - truth.numpy()) / whole.sigma(found.mean.numpy(), found.spread.numpy(), noise)
        flux = flux_ratios(joined, observed.numpy(), scale) - 1
        squares = [
            (as_picture(one, self.rendering, kind) - as_picture(truth, self.rendering, kind)).square().mean((1, 2, 3))
            for one in (observed, torch.from_numpy(joined))
        ]
        return Accuracy(
            gain=float(10 * torch.log10(squares[0] / squares[1].clamp(min=1e-9)).mean()),
            flux_bias=float(np.nanmedian(flux)),
            flux_error=float(np.nanquantile(np.abs(flux), 0.95)),
            coverage=float((off < 1).mean()),
            coverage95=float((off < 2).mean()),
        )


def flux_ratios(restored: Floats, observed: Pixels, pixel_scale: float) -> Floats:
    """Restored over observed flux (n, 3) within `APERTURES` of the middle; NaN where nothing shines there.

    Where the pixel scale is unknown, the inner quarter of the stamp counts.
    """
    height, width = observed.shape[2:]
    radius = APERTURES / pixel_scale if np.isfinite(pixel_scale) else min(height, width) / 4
    rows, columns = np.ogrid[:height, :width]
    inside = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2) <= radius
    both = np.isfinite(observed) & np.isfinite(restored) & inside
    lights = [np.where(both, one, 0).sum(axis=(2, 3), dtype=np.float64) for one in (restored, observed)]
    shines = lights[1] > 0
    return np.where(shines, lights[0] / np.where(shines, lights[1], 1), np.nan).astype(np.float32)


def _known(pixel_scale: float) -> float:
    return LEGACY_PIXEL_SCALE if np.isnan(pixel_scale) else pixel_scale


def unit_of(kind: RenderingKind, pixel_scale: float) -> float:
    """By what pixels are divided to be what the decoder's pictures are made of."""
    return 255.0 if kind == "as-delivered" else (_known(pixel_scale) / LEGACY_PIXEL_SCALE) ** 2


def _noise(values: torch.Tensor, found: Decoded, kind: RenderingKind, unseen: NDArray[np.bool_]) -> Floats:
    """Standard deviation of the noise of each pixel (n, 3, H, W): what the decoder took away of the sky, and photons.

    The median deviation of a band's pixels is that of its sky, which is most of a stamp; bright light has the noise of
    its photons as `exposure.noisy` has it. Pictures have one noise a band.
    """
    taken = np.where(unseen, np.nan, values.numpy() - found.mean.numpy()).reshape(*values.shape[:2], -1)
    # a band that nobody observed has no median
    taken[np.isnan(taken).all(axis=2)] = 0
    middle = np.nanmedian(taken, axis=2, keepdims=True)
    sky = MAD * np.nanmedian(np.abs(taken - middle), axis=2)[..., None, None]
    # stamps without any noise are simulated, or blank: what float32 may lose is left
    least = np.maximum(np.abs(values.numpy()).max(axis=(2, 3), keepdims=True), 1) * 1e-5
    noise = np.maximum(sky, least)
    if kind == "nanomaggies":
        noise = noise * np.sqrt(1 + np.maximum(found.mean.numpy(), 0) / SKY[:, None, None])
    return np.broadcast_to(noise, values.shape).astype(np.float32)


def _lumps(taken: Floats, noise: Floats, unseen: NDArray[np.bool_]) -> Floats:
    """`Restored.lumps` of what was taken away (n, 3, H, W)."""
    smooth = ndimage.gaussian_filter(np.where(unseen, 0, taken / noise), (0, 0, LUMP, LUMP))
    spread = MAD * np.median(np.abs(smooth), axis=(2, 3), keepdims=True)
    over = smooth / np.maximum(spread, np.finfo(np.float32).eps)
    band = np.abs(over).argmax(axis=1)[:, None]
    return np.asarray(np.take_along_axis(over, band, axis=1)[:, 0], dtype=np.float32)


def _simulated(
    count: int, seed: int, scale: float, rendering: Rendering, kind: RenderingKind
) -> tuple[torch.Tensor, torch.Tensor]:
    """Stamps as observed and without noise, in the unit that the decoder's pictures are made of."""
    side = max(SIDE, rendering.size)
    scenes = draw_scenes(count, np.random.default_rng(seed), size=side, field=side * scale, realism=True)
    if kind == "nanomaggies":
        return scenes.observed, scenes.noiseless
    return stretch(scenes.observed, rendering), stretch(scenes.noiseless, rendering)


def told(accuracy: Accuracy) -> Mapping[str, float]:
    """An accuracy in the digits that it deserves, by name."""
    return {name: round(value, 4) for name, value in vars(accuracy).items()}
