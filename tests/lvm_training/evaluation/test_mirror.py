"""The simulator's mirror: figures of a naive twin, a picture with a row for each class, no word where nothing is."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lvm_training.evaluation.mirror import Reflection, figures, hold_up, main, mirror_sheet, reflections
from lvm_training.evaluation.real_sets import RealSet
from lvm_training.model.encoder import Encoder, save_checkpoint
from lvm_training.scenes.simulated_classes import SIMULATED
from lvm_training.simulated.simulated_set import SimulatedSet, drawn_set, standardised
from lvm_training.simulated.zero_label import zero_label_auc
from lvm_training.stamps.rendering import Rendering
from tests.lvm_training.evaluation.test_real_sets import write_set


@pytest.fixture
def quick(encoder: Encoder) -> Encoder:
    """The tiny encoder with a look at each stamp."""
    return Encoder(encoder.lvm, encoder.rendering, views=1)


@pytest.fixture
def simulated(quick: Encoder) -> SimulatedSet:
    return drawn_set(quick, 120)


def real_set(size: int, n: int = 90) -> RealSet:
    """Pictures of noise, those of class 1 brighter."""
    rng = np.random.default_rng(4)
    labels = np.array(["0", "1", ""])[np.arange(n) % 3]
    pictures = rng.integers(0, 80, (n, 3, size, size)) + 100 * (labels == "1")[:, None, None, None]
    files = tuple(f"{i}.png" for i in range(n))
    return RealSet("noise", torch.from_numpy(pictures.astype(np.uint8)), {"ring": labels}, files)


def test_figures_are_those_of_all_pictures_at_once(quick: Encoder, simulated: SimulatedSet) -> None:
    real, seen = real_set(quick.rendering.size), list[tuple[int, int]]()
    (found,) = reflections(quick, simulated, [real], progress=lambda done, total: seen.append((done, total)))
    features = quick.features(real.pictures.float() / 255).numpy()
    twin = zero_label_auc(simulated, SIMULATED["ring"], standardised(features), real.labels["ring"])
    assert found.auc == pytest.approx(twin, abs=1e-3)
    assert (found.name, found.task) == ("noise", "ring")
    assert seen == [(64, 90), (90, 90)]


def test_classes_of_two_are_one_figure() -> None:
    found = [
        Reflection("a", "ring", {"0": 0.7, "1": 0.7}),
        Reflection("b", "morphology5", {"x": 0.5, "y": 0.6, "z": 1}),
    ]
    assert figures(found) == pytest.approx(
        {"a/ring": 0.7, "b/morphology5": 0.7, "b/morphology5/x": 0.5, "b/morphology5/y": 0.6, "b/morphology5/z": 1}
    )


def test_the_picture_has_real_galaxies_left_and_drawn_ones_right(rendering: Rendering) -> None:
    real = real_set(rendering.size)
    sheet = mirror_sheet([Reflection("noise", "ring", {"0": 0.6, "1": 0.6})], [real], rendering)
    size, title, gap = rendering.size, 26, 24
    assert sheet.size == (12 * size + gap, 2 * (size + title))
    pixels = np.asarray(sheet)
    second = title + size + title
    bright = np.flatnonzero(real.labels["ring"] == "1")[0]
    assert np.array_equal(pixels[second : second + size, :size], real.pictures[bright].permute(1, 2, 0).numpy())
    drawn = pixels[title : title + size, 6 * size + gap :]
    assert drawn.std() > 0 and not (drawn == 255).all()


def test_the_command_measures_each_set(quick: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_checkpoint(Path("model"), quick.lvm, quick.rendering, data="none", code="none", params={}, metrics={})
    write_set(tmp_path / "sky" / "bars", "file,bar_length", [f"{i}.png,{i % 2}" for i in range(12)])
    write_set(tmp_path / "sky" / "colours", "file,colour", ["a.png,red"])
    monkeypatch.setenv("GALAXYLOOP_REAL_DATA", str(tmp_path / "sky"))
    main(real=None, encoder=Path("model"), stamps=60, pictures=4)
    written = json.loads(Path("build/mirror.json").read_text())
    assert list(written["auc"]) == ["bars/bar"] and 0 <= written["auc"]["bars/bar"] <= 1
    assert written["simulated"] == 60 and written["encoder"] == Encoder.load(Path("model")).digest
    with Image.open("build/mirror.png") as sheet:
        assert sheet.height == 2 * (quick.rendering.size + 26)


def test_where_nothing_real_is_it_says_so(
    quick: Encoder,
    simulated: SimulatedSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Encoder, "load", lambda _: pytest.fail("a checkpoint was read for nothing"))
    main(real=Path("nowhere"), encoder=Path("model"), stamps=60, pictures=4)
    assert "there are no sets with a labels.csv in nowhere" in capsys.readouterr().out
    write_set(tmp_path / "sky" / "colours", "file,colour", ["a.png,red"])
    write_set(tmp_path / "sky" / "gone", "file,ring", ["gone,1", "lost,0"])
    assert hold_up(quick, simulated, tmp_path / "sky") == {}
    said = capsys.readouterr().out
    assert "gone is left out. No picture" in said and "no pictures with labels" in said
    assert not Path("build").exists()
