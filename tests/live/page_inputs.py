"""What a reader of the pages has before the first line: stamp sets, pictures, tables, encoders, each in miniature."""

import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from lvm_training.model.lvm import LVM
from lvm_training.paths import RELEASED_DETECTOR, RELEASED_LVM
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampWriter
from tests.backend_ml.lenses import write_detector
from tests.conftest import REPOSITORY
from tests.lvm_training.galaxy_zoo.tables import GALAXIES, Row, galaxy_zoo_2, gz_decals, write
from tests.other_encoders import SIZE, network, write_hub_folder, write_onnx
from tests.tiny_encoder import THIN, write_tiny

VOTED, FEW, SIDE, SCALE = 48, 12, 40, 0.262
CLASSES = ("round", "long")


def rows(name: str) -> int:
    """How many stamps a set has: a replay or a comparison needs some of each class."""
    return VOTED if name in {"field-7", "my-stamps"} else 20


def votes_of(n: int) -> tuple[Row, ...]:
    """What ten people said of each galaxy, of five classes and none."""
    return tuple(GALAXIES[row % len(GALAXIES)] for row in range(n))


def sky(name: str) -> dict[str, Any]:
    """Positions of a set's own, degrees: what people labelled elsewhere on the sky is not shown again."""
    start = sum(map(ord, name)) * 7 % 300
    place = np.arange(rows(name)) / 50
    return {"ra": start + place, "dec": -1.5 - place}


def pixels(name: str, n: int) -> NDArray[np.float32]:
    """Blobs (n, 3, SIDE, SIDE) of five forms, nanomaggies."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    noise = np.random.default_rng(list(name.encode())).normal(0, 0.002, (n, 3, SIDE, SIDE))
    light = [np.exp(-(x**2 + (y * (1 + i % 5)) ** 2) / 30) / (1 + i % 3) for i in range(n)]
    return np.asarray(noise + np.stack(light)[:, None], dtype=np.float32)


def write_set(path: Path) -> None:
    """A stamp set of blobs with positions and the columns that pages name."""
    at = sky(path.stem)
    if path.stem == "a":  # where the page of large pools looks
        at["ra"][:2], at["dec"][:2] = (150.1132, 150.1), (-1.5031, 2.2)
    n = rows(path.stem)
    known = {
        "mag_r": np.linspace(16, 19, n),
        "petro_r50": np.linspace(1.5, 4, n),
        "flux_r": 10 ** (0.4 * (22.5 - np.linspace(16, 19, n))),
        "class": np.array([CLASSES[row % 2] for row in range(n)]),
        "ring": np.arange(n) % 2,
    }
    drawn = pixels(path.stem, n)
    if path.stem == "galaxies":  # arcs need room around a galaxy
        drawn = np.pad(drawn, ((0, 0), (0, 0), (12, 12), (12, 12)), mode="wrap")
    writer = StampWriter(path, (drawn.shape[2], drawn.shape[3]))
    writer.append(drawn, at | known)
    writer.finish()


def write_chunk(path: Path) -> None:
    """A chunk of Stein et al. 2021: no attributes, and `inds` beside the pixels."""
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        file["images"] = pixels(path.stem, 8)
        for name, values in sky(path.stem).items():
            file[name] = values[:8]


def write_chunks(folder: Path) -> None:
    """Two chunks, by the names that the page gives them."""
    for first in (0, 1):
        write_chunk(folder / f"images_npix152_{first:03}000000_{first + 1:03}000000.h5")


def write_pool(folder: Path) -> None:
    """Two stamp sets of a large pool."""
    folder.mkdir()
    for name in ("a", "b"):
        write_set(folder / f"{name}.h5")


def write_pictures(folder: Path, first: int = 0, table: str = "") -> None:
    """Pictures called by numbers, with a table of their classes if it has a name."""
    folder.mkdir(parents=True)
    for row, one in enumerate(pixels(folder.name, FEW)):
        Image.fromarray((255 * np.clip(np.moveaxis(one, 0, -1), 0, 1)).astype(np.uint8)).save(
            folder / f"{first + row}.png"
        )
    if table:
        write(folder / table, {"file": [f"{row}.png" for row in range(FEW)], "class": [*CLASSES] * (FEW // 2)})


def write_picture_file(path: Path) -> None:
    """Pictures as arrays, as Galaxy10 has them, and as another file calls them."""
    with h5py.File(path, "w") as file:
        images = np.random.default_rng(1).integers(0, 255, (12, 16, 16, 3)).astype(np.uint8)
        file["images" if path.stem.startswith("Galaxy10") else "X_train"] = images
        file["ans"] = np.arange(12, dtype=np.uint8) % 10


def write_image(path: Path) -> None:
    """A FITS image of 96 pixels with a WCS, in three bands."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [150.0, 2.0], [48.5, 48.5], [-SCALE / 3600, SCALE / 3600]
    light = np.random.default_rng(2).normal(0, 0.01, (3, 96, 96)).astype(np.float32)
    light[:, 30:40, 30:40] += 1
    fits.PrimaryHDU(light, wcs.to_header()).writeto(path)


def write_encoder(folder: Path, seed: int) -> None:
    torch.manual_seed(seed)
    write_tiny(folder, Rendering(field=SIDE * SCALE), lvm=LVM(THIN).eval())


def write_models(folder: Path, seed: int = 7) -> None:
    """The released models' places, with an encoder and a detector of random weights in them."""
    write_encoder(folder / RELEASED_LVM.name, seed)
    write_detector(folder / RELEASED_DETECTOR.name)


def write_weights(path: Path) -> None:
    save_file(dict(network("convnext_nano", num_classes=0).state_dict()), path)


def votes(path: Path, of: str = "field-7") -> None:
    """Votes on every galaxy of a set, by position."""
    gz_decals(path, votes_of(VOTED), **sky(of))


def write_names(path: Path) -> None:
    places = range(FEW)
    objects = [587722981736120347 + place for place in places]
    write(path, {"objid": objects, "sample": ["original"] * FEW, "asset_id": places})


def write_truth(path: Path) -> None:
    write(path, {"file": [f"{row}.png" for row in range(FEW)], "ring": [row % 2 for row in range(FEW)]})


def write_photometry(path: Path) -> None:
    names = ("w1_w2", "pm_significance", "g_r", "r_z", "mag_r")
    drawn = {name: np.random.default_rng(place).normal(size=FEW).round(3) for place, name in enumerate(names)}
    write(path, {"file": [f"{row}.png" for row in range(FEW)], **{name: list(one) for name, one in drawn.items()}})


def write_positions(path: Path) -> None:
    write(path, {"id": ["one", "two", "three"], "ra": [150.1, 150.2, 150.3], "dec": [2.1, 2.2, 2.3]})


Maker = Callable[[Path], object]
INPUTS: dict[str, Maker] = {
    **dict.fromkeys(("stamps.h5", "others.h5", "field-7.h5", "my-stamps.h5", "galaxies.h5", "all.h5"), write_set),
    "chunks": write_chunks,
    "images_npix152_000000000_001000000.h5": write_chunk,
    "pictures": write_pictures,
    "cutouts": write_pictures,
    "photometry.csv": write_photometry,
    "spectrum.npy": lambda path: np.save(path, np.random.default_rng(3).normal(size=(FEW, 4))),
    "my-pictures": partial(write_pictures, table="labels.csv"),
    "images_gz2": write_pictures,
    "Galaxy10_DECals.h5": write_picture_file,
    "pictures.h5": write_picture_file,
    "image.fits": write_image,
    "gz_decals_volunteers_5.csv": votes,
    "votes.csv": votes,
    "gz2_hart16.csv": partial(galaxy_zoo_2, galaxies=votes_of(FEW)),
    "gz2_filename_mapping.csv": write_names,
    "truth.csv": write_truth,
    "galaxies.csv": write_positions,
    "models": write_models,
    "build": lambda folder: write_encoder(folder / "gpu-lvm", 9),
    "my-encoder": partial(write_hub_folder, size=SIZE),
    "my.safetensors": write_weights,
    "encoder.onnx": write_onnx,
}
"""What pages name and do not make, by its name."""
MADE = {"docs/howto/vote-trees.md": ("votes.csv",), "docs/howto/survey-cutouts.md": ("field-7.h5",)}
"""What of these a page makes itself."""
OWN: dict[tuple[str, str], Maker] = {
    ("docs/howto/large-pool.md", "chunks"): write_pool,
    # an encoder that read no other page's sets: all that one read are searched
    ("docs/howto/find-one-kind.md", "models"): partial(write_models, seed=10),
}
"""What is something else on one page."""


def provide(inputs: Path, folder: Path, page: str, commands: str) -> None:
    """Put what a page names into a folder: made once, so that a set is the same on every page."""
    named = {word.strip("./'").split("/")[0] for word in re.split(r"[\s=,]+", commands)} | {
        RELEASED_LVM.parts[0],
        "field-7.h5",
    }  # the page before makes it
    for name, maker in INPUTS.items():
        if name in MADE.get(page, ()) or name not in named:
            continue
        own = OWN.get((page, name))
        kept = inputs / (f"own-{name}" if own else name)
        if not kept.exists():
            (own or maker)(kept)
        (shutil.copytree if kept.is_dir() else shutil.copy2)(kept, folder / name)
    if page == "docs/howto/measure-parameters.md":  # the released head reads the released encoder's features
        shutil.rmtree(folder / "models")
        (folder / "models").symlink_to(REPOSITORY / "models")
